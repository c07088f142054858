/** Writes files without their zeros: whatever is not written of a new file is a hole, which takes no space on disk. */

import { messageOf } from "../base/error.ts";
import { ZstdError } from "./frame.ts";

/** The unit of comparison: a page of memory, and a block of most file systems. */
export const PAGE = 4096;
const WORD = 4;

/** Whether all of it is zeros. */
export function isZero(bytes: Uint8Array): boolean {
  const head = -bytes.byteOffset & (WORD - 1); // what is before the first whole word
  if (bytes.length < head) return bytes.every((byte) => byte === 0);
  for (let at = 0; at < head; at++) if (bytes[at] !== 0) return false;
  const count = Math.floor((bytes.length - head) / WORD);
  if (!areZero(new Uint32Array(bytes.buffer, bytes.byteOffset + head, count), 0, count)) return false;
  for (let at = head + count * WORD; at < bytes.length; at++) if (bytes[at] !== 0) return false;
  return true;
}

/** Whether these words are zeros: eight at a time, which is near the speed of memory. */
function areZero(words: Uint32Array, from: number, to: number): boolean {
  let at = from;
  for (; at + 8 <= to; at += 8) {
    const any = words[at] | words[at + 1] | words[at + 2] | words[at + 3] | words[at + 4] | words[at + 5] |
      words[at + 6] | words[at + 7];
    if (any !== 0) return false;
  }
  for (; at < to; at++) if (words[at] !== 0) return false;
  return true;
}

/** The ranges to write: those between the file's pages of zeros. */
export function* stretches(bytes: Uint8Array, offset: number): Generator<{ start: number; end: number }> {
  let start = -1;
  for (let at = 0; at < bytes.length;) {
    const end = Math.min(bytes.length, at + PAGE - (offset + at) % PAGE);
    if (!isZero(bytes.subarray(at, end))) {
      if (start < 0) start = at;
    } else if (start >= 0) {
      yield { start, end: at };
      start = -1;
    }
    at = end;
  }
  if (start >= 0) yield { start, end: bytes.length };
}

/**
 * Writes the bytes to their place in a file that is still empty there.
 *
 * @throws {ZstdError} if they cannot be written.
 */
export function writeSparse(file: Deno.FsFile, bytes: Uint8Array, offset: number): void {
  for (const { start, end } of stretches(bytes, offset)) {
    try {
      file.seekSync(offset + start, Deno.SeekMode.Start);
      for (let at = start; at < end;) at += file.writeSync(bytes.subarray(at, end));
    } catch (error) {
      throw cannotWrite(error);
    }
  }
}

/** The error for a full disk, and the like. */
export function cannotWrite(error: unknown): ZstdError {
  return new ZstdError(
    `the decompressed file cannot be written (${messageOf(error)}): free some space, or use another disk`,
  );
}
