/**
 * Snappy, with which GitHub packs attestations.
 *
 * Source: Snappy's "Format description": a block begins with the length of its content, in 7 bits of each byte.
 */

import { snappyUncompress } from "hysnappy";

/** The content of a block. @throws {Error} if it is longer than `most` bytes, or the block is damaged. */
export function unpackSnappy(block: Uint8Array, most: number): Uint8Array {
  let length = 0;
  for (let at = 0;; at++) {
    const byte = block[at];
    if (byte === undefined || at === 5) throw new Error("it is not packed by snappy");
    length += (byte & 0x7f) * 2 ** (7 * at);
    if (byte < 0x80) break;
  }
  if (length > most) throw new Error(`it would have ${length} bytes`);
  return snappyUncompress(block, length);
}
