/**
 * Files that are compressed within an image: zisofs, as mkzftree(1) and `xorriso -zisofs` make it.
 *
 * Source: the ZF field and the file header in the zisofs specification, version 1, as Linux reads it.
 */

import { badImage, shown } from "./entry.ts";

const MAGIC = [0x37, 0xe4, 0x53, 0x96, 0xc9, 0xdb, 0xd6, 0x07];
const HEADER_BYTES = 16;
/** What Linux takes: blocks of 32 to 128 KiB. */
const BLOCK_SHIFTS = [15, 16, 17];
/** What is inflated at a time: it may become a thousand times as long. */
const SLICE = 4096;

/** A compressed file as it stands in the image. */
export interface CompressedFile {
  /** For errors. */
  path: string;
  /** How many bytes the file has. */
  size: number;
  /** How many they are in the image. */
  stored: number;
  /** Reads from those. */
  read(offset: number, into: Uint8Array): Promise<void>;
}

/** A file's own bytes, a block at a time. */
export async function* inflateFile(file: CompressedFile): AsyncGenerator<Uint8Array> {
  const { path, size, stored } = file;
  const require = (isTrue: boolean, why: string) => {
    if (!isTrue) throw badImage(`${shown(path)}: its zisofs compression is wrong: ${why}`);
  };
  const bytes = async (offset: number, length: number) => {
    require(offset + length <= stored, "a part of it is missing");
    const into = new Uint8Array(length);
    await file.read(offset, into);
    return into;
  };
  const header = await bytes(0, HEADER_BYTES);
  require(MAGIC.every((byte, at) => header[at] === byte), "unknown format");
  require(BLOCK_SHIFTS.includes(header[13]), `blocks of 2^${header[13]} bytes`);
  require(new DataView(header.buffer).getUint32(8, true) === size, "two different sizes");
  const block = 2 ** header[13];
  const count = Math.ceil(size / block);
  const ends = new DataView((await bytes(4 * header[12], 4 * (count + 1))).buffer);
  for (let index = 0; index < count; index++) {
    const start = ends.getUint32(4 * index, true);
    const length = ends.getUint32(4 * index + 4, true) - start;
    require(length >= 0 && length <= 2 * block, `block ${index} has ${length} bytes`);
    const inflated = new Uint8Array(Math.min(block, size - index * block)); // a block without bytes is zeros
    if (length > 0) require(await inflate(await bytes(start, length), inflated), `block ${index} is damaged`);
    yield inflated;
  }
}

/** Inflates exactly as much as there is room for; false when it is more, less or no such thing. */
async function inflate(bytes: Uint8Array, into: Uint8Array): Promise<boolean> {
  const slices = function* () {
    for (let at = 0; at < bytes.length; at += SLICE) yield bytes.slice(at, at + SLICE);
  };
  let used = 0;
  try {
    for await (const part of ReadableStream.from(slices()).pipeThrough(new DecompressionStream("deflate"))) {
      if (used + part.length > into.length) return false;
      into.set(part, used);
      used += part.length;
    }
  } catch {
    return false;
  }
  return used === into.length;
}
