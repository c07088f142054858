/** Puts images in place: whole, or not at all. */

import { ensureDir } from "@std/fs/ensure-dir";
import { exists } from "@std/fs/exists";
import { HotbootError, messageOf } from "../base/error.ts";
import { removeIfThere, syncFile, writeJson } from "../base/files.ts";
import { type Emulator, imageKey } from "../instance/emulator.ts";
import { privateDirectory } from "../instance/home.ts";
import { lockImage } from "../instance/locks.ts";
import type { ImagePart } from "../instance/machine.ts";
import { removeSpares } from "../instance/spares.ts";
import { requireUnused } from "../instance/users.ts";
import {
  hasUnknownImage,
  type Image,
  IMAGE_PARTS,
  type ImageFile,
  type ImageOrigin,
  imagePath,
  type ImageRecord,
  imageRecordPath,
  placingPath,
  readImage,
  readImageRecord,
  sizeAndTimes,
} from "./image.ts";

/** Files of a future image, with their digests. They are on the same disk as the home's images. */
export type NewFiles = { disk: NewFile } & Partial<Record<ImagePart, NewFile>>;

/** One of them. */
export interface NewFile {
  path: string;
  sha256: string;
}

/** Locks out others that put an image of this emulator in place; makes the directory, and clears leftovers. */
export async function openStore(emulator: Emulator): Promise<Disposable> {
  const { home } = emulator;
  // A directory that the user named may be shared.
  await (home.places.includes(home.images) ? ensureDir(home.images) : privateDirectory(home.images));
  const lock = await lockImage(emulator);
  await removeLeftovers(emulator);
  return lock;
}

/** @throws {HotbootError} if hotboot did not put the image in place: then it is not replaced without `--force`. */
export async function requireKnown(emulator: Emulator, image: Image | undefined): Promise<void> {
  if (image ? image.record.origin.kind !== "adopted" : !await hasUnknownImage(emulator)) return;
  throw new HotbootError(
    `${
      imagePath(emulator, "disk")
    } was not put there by hotboot, so it stays: --force replaces it, 'hotboot start' uses it`,
  );
}

/**
 * Renames the files into place. The old description goes first and the new one comes last: a concurrent start records what it
 * depends on, and then finds that the image has changed.
 *
 * @throws {HotbootError} if an instance uses the current image, even one started while the new image was made.
 */
export async function putInPlace(
  emulator: Emulator,
  made: NewFiles,
  origin: ImageOrigin,
  provenance?: ImageRecord["provenance"],
): Promise<Image> {
  for (const { path } of Object.values(made)) await syncFile(path);
  const before = await readImageRecord(emulator).catch(() => undefined);
  await writeJson(placingPath(emulator), before ?? null, { sync: true });
  await Deno.remove(imageRecordPath(emulator)).catch(() => {});
  await requireUnused(emulator, before?.files.disk.sha256).catch(async (error) => {
    await writeJson(imageRecordPath(emulator), before, { flush: true });
    await Deno.remove(placingPath(emulator));
    throw error;
  });
  await removeSpares(emulator).catch((error) =>
    emulator.report.warn(`a spare is left: ${messageOf(error)}; 'hotboot snapshot prune' removes it`)
  );
  const files: Partial<Record<ImagePart, ImageFile>> = {};
  for (const part of Object.keys(IMAGE_PARTS) as ImagePart[]) {
    const path = imagePath(emulator, part);
    const file = made[part];
    if (file) {
      await Deno.rename(file.path, path);
      files[part] = { ...await sizeAndTimes(path), sha256: file.sha256 };
    } else {
      await Deno.remove(path).catch(() => {});
    }
  }
  const created = new Date().toISOString();
  const record = { origin, created, files, ...(provenance !== undefined && { provenance }) };
  await writeJson(imageRecordPath(emulator), record, { sync: true });
  await Deno.remove(placingPath(emulator));
  return (await readImage(emulator, { isOwner: true }))!;
}

/** A path beside the images that the next hotboot removes if this one does not. */
export function temporaryPath(emulator: Emulator): string {
  return `${emulator.home.images}/${temporaryPrefix(emulator)}${crypto.randomUUID()}`;
}

/** Removes leftovers of killed commands; the image's lock proves that no other command is working. */
async function removeLeftovers(emulator: Emulator): Promise<void> {
  for await (const { name } of Deno.readDir(emulator.home.images)) {
    if (name.startsWith(temporaryPrefix(emulator))) {
      await Deno.remove(`${emulator.home.images}/${name}`, { recursive: true });
    }
  }
  if (!await exists(placingPath(emulator))) return;
  if (!await exists(imageRecordPath(emulator)) && !await restoreEarlier(emulator)) {
    for (const part of Object.keys(IMAGE_PARTS) as ImagePart[]) await removeIfThere(imagePath(emulator, part));
  }
  await Deno.remove(placingPath(emulator)); // last
}

/** Describes the earlier image again, if nothing of it has been replaced yet: an instance may use it. Gives whether it is so. */
async function restoreEarlier(emulator: Emulator): Promise<boolean> {
  let before: ImageRecord | null;
  try {
    before = JSON.parse(await Deno.readTextFile(placingPath(emulator)));
  } catch {
    return false; // earlier versions wrote nothing there
  }
  if (!before?.files) return false;
  for (const part of Object.keys(IMAGE_PARTS) as ImagePart[]) {
    const now = await sizeAndTimes(imagePath(emulator, part)).catch(() => undefined);
    const then = before.files[part];
    const isSame = now?.size === then?.size && now?.mtime === then?.mtime && now?.ctime === then?.ctime;
    if (!isSame) return false;
  }
  await writeJson(imageRecordPath(emulator), before, { sync: true });
  return true;
}

function temporaryPrefix(emulator: Emulator): string {
  return `.tmp-${imageKey(emulator)}-`;
}
