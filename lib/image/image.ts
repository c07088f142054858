/** Images on disk: which exist, and whether they have changed. */

import { exists } from "@std/fs/exists";
import { HotbootError } from "../base/error.ts";
import { sha256File } from "../base/hash.ts";
import { readQcow2Header } from "../vm/qcow2.ts";
import { writeJson } from "../base/files.ts";
import { sleep } from "../base/wait.ts";
import { type Emulator, imageKey } from "../instance/emulator.ts";
import { imageLock, isLocked, lockImage, tryLock } from "../instance/locks.ts";
import type { ImagePart, ImagePaths } from "../instance/machine.ts";
import { isPublished } from "../profile/profile.ts";
import type { Provenance } from "../sigstore/provenance.ts";

const LOOK_MS = 50;

/** The endings of their names. */
export const IMAGE_PARTS: Record<ImagePart, string> = { disk: ".qcow2", kernel: ".kernel", initrd: ".initrd" };

/** An image's file as it was put in place. */
export interface ImageFile {
  /** Bytes. */
  size: number;
  /** When it was last written, milliseconds since 1970. */
  mtime: number;
  /** When it was last touched in any way, in the same unit; no program can set this one. */
  ctime: number;
  /** SHA-256 of all of it, in hex. */
  sha256: string;
}

/** Where an image came from. */
export type ImageOrigin =
  /** Built here, by the recipe with this digest. */
  | { kind: "build"; recipe: string }
  /** From a release, with its date; if it was put together from chunks, with the digest of their index. */
  | { kind: "release"; repository: string; tag: string; published: string; version: string; index?: string }
  /** From a registry: the name that it was pulled by, without a digest; the digests of what that named, and of the image; its date. */
  | { kind: "oci"; reference: string; digest: string; version: string; published: string }
  /** From a workflow run, with its date. */
  | { kind: "run"; repository: string; run: number; branch?: string; published: string; version: string }
  /** Not put there by hotboot. */
  | { kind: "adopted" };

/** An image's description, `NAME-ARCH.json` beside it; written last, so an image that has one is complete. */
export interface ImageRecord {
  /** Where it came from. */
  origin: ImageOrigin;
  /** When it was put in place, ISO 8601. */
  created: string;
  /** Its files. */
  files: { disk: ImageFile } & Partial<Record<ImagePart, ImageFile>>;
  /** Who built it, as its attestation shows; `null` if it has none; absent if the profile did not want to know. */
  provenance?: Provenance | null;
}

/** An installed image, with its description. */
export interface Image {
  /** Its description. */
  record: ImageRecord;
  /** The absolute paths of its files. */
  paths: ImagePaths;
}

/** The path of one part of the emulator's image. */
export function imagePath(emulator: Emulator, part: ImagePart): string {
  return `${emulator.home.images}/${imageKey(emulator)}${IMAGE_PARTS[part]}`;
}

/** The path of the image's description. */
export function imageRecordPath(emulator: Emulator): string {
  return `${emulator.home.images}/${imageKey(emulator)}.json`;
}

/** The directory of a download of it that is under way, or broke off. */
export function downloadPath(emulator: Emulator): string {
  return `${emulator.home.images}/.pull-${imageKey(emulator)}`;
}

/**
 * Where a command that puts the image in place says so, with the description of the earlier one: until the new description is
 * there, the files may be a half of one, and are nobody's. A kill or a power cut can leave them so.
 */
export function placingPath(emulator: Emulator): string {
  return `${emulator.home.images}/.placing-${imageKey(emulator)}`;
}

/** How closely to look at an image. */
export interface ReadImageOptions {
  /** `only`: change nothing and hash nothing; this may miss changed content of the same size. */
  look?: "only";
  /** The caller holds the image's lock. */
  isOwner?: boolean;
}

/**
 * The emulator's image, or `undefined` if there is none. Waits while another command is putting one in place.
 *
 * Hashes a file again if its times have changed: it may have been copied with the home, or replaced.
 *
 * @throws {HotbootError} if a file is not what was put there.
 */
export async function readImage(emulator: Emulator, options: ReadImageOptions = {}): Promise<Image | undefined> {
  if (options.isOwner) return await readImageNow(emulator, options);
  let image: Image | undefined;
  try {
    image = await readImageNow(emulator, options);
  } catch (error) {
    if (!(error instanceof DamagedImage)) throw error;
  }
  if (image) return image;
  await untilPlaced(emulator); // of one that was being replaced, some files were the old ones, or none
  return await readImageNow(emulator, options);
}

async function untilPlaced(emulator: Emulator): Promise<void> {
  const { home, signal } = emulator;
  while (await exists(placingPath(emulator)) && await isLocked(home, imageLock(imageKey(emulator)))) {
    await sleep(LOOK_MS, signal);
  }
}

async function readImageNow(
  emulator: Emulator,
  { look, isOwner = false }: ReadImageOptions,
): Promise<Image | undefined> {
  const record = await readImageRecord(emulator) ?? (look === "only" ? undefined : await adopt(emulator, isOwner));
  if (!record) return undefined;
  const paths: Image["paths"] = { disk: imagePath(emulator, "disk") };
  let touched = false;
  for (const [part, file] of Object.entries(record.files) as [ImagePart, ImageFile][]) {
    const path = paths[part] = imagePath(emulator, part);
    const times = await sizeAndTimes(path).catch((error) => {
      throw error instanceof Deno.errors.NotFound ? damaged(emulator, `its ${part} is missing`) : error;
    });
    if (times.size !== file.size) {
      throw damaged(emulator, `its ${part} has ${times.size} bytes instead of ${file.size}`);
    }
    if (look === "only" || (times.mtime === file.mtime && times.ctime === file.ctime)) continue;
    if (await sha256File(path, emulator.signal) !== file.sha256) {
      throw damaged(emulator, `its ${part} differs from what was put there`);
    }
    Object.assign(file, times);
    touched = true;
  }
  if (touched) await correctRecord(emulator, record, isOwner);
  return { record, paths };
}

/** Rewrites a description, unless another command is putting a new image in place: it would not fit that one. */
async function correctRecord(emulator: Emulator, record: ImageRecord, isOwner: boolean): Promise<void> {
  using lock = isOwner ? undefined : await tryLock(emulator.home, imageLock(imageKey(emulator)));
  if (!lock && !isOwner) return;
  const now = await readImageRecord(emulator).catch(() => undefined);
  if (now?.files.disk.sha256 === record.files.disk.sha256) {
    await writeJson(imageRecordPath(emulator), record, { flush: true });
  }
}

/** Records who built an image that is in place. @param isOwner The caller holds the image's lock. */
export async function writeProvenance(
  emulator: Emulator,
  { record }: Image,
  provenance: Provenance | null,
  isOwner = false,
): Promise<void> {
  if (JSON.stringify(record.provenance) === JSON.stringify(provenance)) return;
  record.provenance = provenance;
  await correctRecord(emulator, record, isOwner);
}

/** Whether there is a disk in the image's place that hotboot did not put there. */
export async function hasUnknownImage(emulator: Emulator): Promise<boolean> {
  return !await readImageRecord(emulator) && await hasUndescribedDisk(emulator);
}

async function hasUndescribedDisk(emulator: Emulator): Promise<boolean> {
  return await exists(imagePath(emulator, "disk"), { isFile: true }) && !await exists(placingPath(emulator));
}

/**
 * Records an image that hotboot did not put in place.
 *
 * @throws {HotbootError} if its disk cannot be used.
 */
async function adopt(emulator: Emulator, isOwner: boolean): Promise<ImageRecord | undefined> {
  if (!await hasUndescribedDisk(emulator)) return undefined;
  using _lock = isOwner ? undefined : await lockImage(emulator);
  const described = await readImageRecord(emulator); // by now
  if (described || !await hasUndescribedDisk(emulator)) return described;
  await requireOwnDisk(imagePath(emulator, "disk"), `put another image there, or remove it`);
  emulator.report.step(`adopt the image at ${imagePath(emulator, "disk")}`);
  const files: Partial<Record<ImagePart, ImageFile>> = {};
  for (const part of Object.keys(IMAGE_PARTS) as ImagePart[]) {
    const path = imagePath(emulator, part);
    if (!await exists(path, { isFile: true })) continue;
    files[part] = { ...await sizeAndTimes(path), sha256: await sha256File(path, emulator.signal) };
  }
  const record = { origin: { kind: "adopted" }, created: new Date().toISOString(), files } as ImageRecord;
  await writeJson(imageRecordPath(emulator), record, { flush: true });
  return record;
}

/**
 * A disk that refers to other files could show the guest any of the user's files.
 *
 * @throws {HotbootError} if it does, or is not a qcow2 disk.
 */
export async function requireOwnDisk(path: string, remedy: string): Promise<void> {
  const { needsOthers } = await readQcow2Header(path).catch((error) => {
    throw error instanceof HotbootError ? new HotbootError(`${error.message}: ${remedy}`) : error;
  });
  if (needsOthers) {
    throw new HotbootError(`${path} refers to other files, which an image's disk may not do: ${remedy}`);
  }
}

/** The image's description, or `undefined` if there is none. @throws {HotbootError} if it is damaged. */
export async function readImageRecord(emulator: Emulator): Promise<ImageRecord | undefined> {
  let record: ImageRecord;
  try {
    record = JSON.parse(await Deno.readTextFile(imageRecordPath(emulator)));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    if (error instanceof SyntaxError) throw damaged(emulator, "its description is not JSON");
    throw error;
  }
  if (typeof record?.files?.disk?.sha256 !== "string") throw damaged(emulator, "its description lists no disk");
  return record;
}

/** A file's size and times, without reading it. */
export async function sizeAndTimes(path: string): Promise<Omit<ImageFile, "sha256">> {
  const { size, mtime, ctime } = await Deno.stat(path);
  return { size, mtime: mtime?.getTime() ?? 0, ctime: ctime?.getTime() ?? 0 };
}

class DamagedImage extends HotbootError {}

function damaged(emulator: Emulator, why: string): DamagedImage {
  const how = isPublished(emulator.profile) ? "pull" : "build";
  return new DamagedImage(
    `the image of '${emulator.profile.name}' is damaged: ${why}; 'hotboot ${how} --force' replaces it`,
  );
}
