/**
 * Files that are compressed within an image: zisofs, as mkzftree(1) and `xorriso -zisofs` make it.
 *
 * Source: the ZF field and the file header in the zisofs specification, version 1, as Linux reads it; version 2, as
 * libisofs' doc/zisofs2_format.txt describes it and xorriso 1.5.4 writes it.
 */

import { badImage, shown } from "./entry.ts";

const MAGIC = [0x37, 0xe4, 0x53, 0x96, 0xc9, 0xdb, 0xd6, 0x07];
const MAGIC_2 = [0xef, 0x22, 0x55, 0xa1, 0xbc, 0x1b, 0x95, 0xa0];
const HEADER_BYTES = 16;
/** Blocks of 32 to 128 KiB, which Linux takes; of up to 1 MiB in version 2. */
const [SMALLEST_SHIFT, LARGEST_SHIFT, LARGEST_SHIFT_2] = [15, 17, 20];
/** Version 2's number for zlib, the only algorithm that version 1 has. */
const ZLIB = 1;
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
  const isVersion2 = MAGIC_2.every((byte, at) => header[at] === byte);
  require(isVersion2 || MAGIC.every((byte, at) => header[at] === byte), "unknown format");
  const [words, shift] = isVersion2 ? [header[9], header[11]] : header.subarray(12, 14);
  if (isVersion2) require(header[10] === ZLIB, `algorithm ${header[10]}, where hotboot knows only ${ZLIB} (zlib)`);
  require(
    shift >= SMALLEST_SHIFT && shift <= (isVersion2 ? LARGEST_SHIFT_2 : LARGEST_SHIFT),
    `blocks of 2^${shift} bytes`,
  );
  const width = isVersion2 ? 8 : 4;
  const number = (view: DataView, at: number) =>
    isVersion2 ? Number(view.getBigUint64(at, true)) : view.getUint32(at, true);
  const told = isVersion2
    ? number(new DataView((await bytes(12, width)).buffer), 0)
    : new DataView(header.buffer).getUint32(8, true);
  require(told === size, "two different sizes");
  const block = 2 ** shift;
  const count = Math.ceil(size / block);
  const ends = new DataView((await bytes(4 * words, width * (count + 1))).buffer);
  for (let index = 0; index < count; index++) {
    const start = number(ends, width * index);
    const length = number(ends, width * (index + 1)) - start;
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
