/** Images on disk: what there is, and whether it is still what was put there. */

import { encodeHex } from "@std/encoding/hex";
import { HotbootError } from "../error.ts";
import { type Emulator, imageKey } from "./emulator.ts";
import { writeJson } from "./home.ts";

/** One of an image's files. */
export type ImagePart = "disk" | "kernel" | "initrd";

/** How their names end. */
export const IMAGE_PARTS: Record<ImagePart, string> = { disk: ".qcow2", kernel: ".kernel", initrd: ".initrd" };

/** What an image's file looked like when it was put in place. */
export interface ImageFile {
  /** Bytes. */
  size: number;
  /** When it was last written, milliseconds since 1970. */
  mtime: number;
  /** SHA-256 of all of it, in hex. */
  sha256: string;
}

/** An image's description, `NAME-ARCH.json` beside it; written last, so that an image with one is complete. */
export interface ImageRecord {
  /** Where it came from: the digest of the recipe that built it. */
  origin: { kind: "build"; recipe: string };
  /** When it was put in place, ISO 8601. */
  created: string;
  /** Its files. */
  files: { disk: ImageFile } & Partial<Record<ImagePart, ImageFile>>;
}

/** An image that is in place and what it was. */
export interface Image {
  /** Its description. */
  record: ImageRecord;
  /** The absolute paths of its files. */
  paths: { disk: string } & Partial<Record<ImagePart, string>>;
}

/** The path of one part of the emulator's image. */
export function imagePath(emulator: Emulator, part: ImagePart): string {
  return `${emulator.home.images}/${imageKey(emulator)}${IMAGE_PARTS[part]}`;
}

/** The path of the image's description. */
export function imageRecordPath(emulator: Emulator): string {
  return `${emulator.home.images}/${imageKey(emulator)}.json`;
}

/**
 * The emulator's image, or `undefined` when there is none.
 *
 * A file whose time has changed is hashed again: it may have been copied along with the home, or exchanged.
 *
 * @throws {HotbootError} when a file is not what was put there.
 */
export async function readImage(emulator: Emulator): Promise<Image | undefined> {
  const recordPath = imageRecordPath(emulator);
  let record: ImageRecord;
  try {
    record = JSON.parse(await Deno.readTextFile(recordPath));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    if (error instanceof SyntaxError) throw damaged(emulator, "its description is no JSON");
    throw error;
  }
  if (!record?.files?.disk) throw damaged(emulator, "its description lists no disk");
  const paths: Image["paths"] = { disk: imagePath(emulator, "disk") };
  let touched = false;
  for (const [part, file] of Object.entries(record.files) as [ImagePart, ImageFile][]) {
    const path = paths[part] = imagePath(emulator, part);
    const stat = await Deno.stat(path).catch(() => undefined);
    if (!stat) throw damaged(emulator, `its ${part} is missing`);
    if (stat.size !== file.size) throw damaged(emulator, `its ${part} has ${stat.size} bytes instead of ${file.size}`);
    const mtime = stat.mtime?.getTime() ?? 0;
    if (mtime === file.mtime) continue;
    if (await sha256File(path, emulator.signal) !== file.sha256) {
      throw damaged(emulator, `its ${part} has other content than was put there`);
    }
    file.mtime = mtime;
    touched = true;
  }
  if (touched) await writeJson(recordPath, record);
  return { record, paths };
}

/** Describes a file that is about to become part of an image. */
export async function describeImageFile(path: string, signal: AbortSignal): Promise<ImageFile> {
  const { size, mtime } = await Deno.stat(path);
  return { size, mtime: mtime?.getTime() ?? 0, sha256: await sha256File(path, signal) };
}

/** SHA-256 of a file of any size, in hex. */
export async function sha256File(path: string, signal?: AbortSignal): Promise<string> {
  const { createHash } = await import("node:crypto"); // Web Crypto cannot hash a stream
  const hash = createHash("sha256");
  using file = await Deno.open(path);
  const buffer = new Uint8Array(1 << 20);
  for (let read; (read = await file.read(buffer)) !== null;) {
    signal?.throwIfAborted();
    hash.update(buffer.subarray(0, read));
  }
  return encodeHex(new Uint8Array(hash.digest()));
}

function damaged(emulator: Emulator, why: string): HotbootError {
  const { name } = emulator.profile;
  return new HotbootError(`the image of '${name}' is damaged: ${why}; run 'hotboot build --profile ${name} --force'`);
}
