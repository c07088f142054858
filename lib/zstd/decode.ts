/** Decompresses frames of any length in order, in constant memory. */

import { compressBound, type Decoder, type Engine } from "./engine.ts";
import {
  BLOCK_HEADER,
  BLOCK_LIMIT,
  CHECKSUM,
  damaged,
  frameEnd,
  type FrameHeader,
  LONGEST_HEADER,
  readBlock,
  readHeader,
  tooLarge,
  truncated,
  wrongSize,
} from "./frame.ts";
import type { Input } from "./input.ts";
import { FRAME } from "./jobs.ts";

/** What the decoder gets at once: few blocks, because each may become 128 KiB from four bytes; and not all of the input. */
const MOST_BLOCKS = 16;
const PART = 512 * 1024;
/** Content of at most this size is decompressed at once, which is faster. hotboot's own frames have no more. */
const WHOLE = FRAME;

/**
 * The content of all frames.
 *
 * @param limit The most bytes it may be.
 * @returns Pieces, each valid until the next one is requested.
 * @throws {ZstdError} if it is damaged, truncated, followed by something else or larger than the limit.
 */
export async function* decodeFrames(input: Input, engine: Engine, limit: number): AsyncGenerator<Uint8Array> {
  let left = limit;
  for (let isFirst = true; isFirst || await input.need(1); isFirst = false) {
    for await (const piece of decodeFrame(input, engine, left, isFirst)) {
      left -= piece.length;
      yield piece;
    }
  }
}

/** Whether there is another frame, of little content or of unknown length: not worth another thread. */
export async function isNextSmall(input: Input): Promise<boolean> {
  if (!await input.need(1)) return false;
  await input.need(LONGEST_HEADER); // or as many as there are
  const header = readHeader(input.bytes, false);
  return header !== undefined && header.skip === undefined && (header.contentSize ?? 0) <= BLOCK_LIMIT;
}

/** One frame's content, which is empty for a skippable frame. See {@linkcode decodeFrames}. */
export async function* decodeFrame(
  input: Input,
  engine: Engine,
  limit: number,
  isFirst: boolean,
): AsyncGenerator<Uint8Array> {
  await input.need(LONGEST_HEADER); // or as many as there are
  const header = readHeader(input.bytes, isFirst);
  if (!header) throw truncated();
  if (header.skip !== undefined) {
    if (!await input.skip(header.length + header.skip)) throw truncated();
    return;
  }
  const { contentSize = Infinity } = header;
  if (contentSize !== Infinity && contentSize > limit) throw tooLarge(limit);
  const whole = contentSize <= WHOLE && await wholeFrame(input, header, compressBound(contentSize));
  if (whole) {
    const content = engine.decompress(input.bytes.subarray(0, whole), contentSize);
    if (content.length !== contentSize) throw wrongSize();
    if (content.length > 0) yield content;
    return input.take(whole);
  }
  const decoder = await engine.decoder(header);
  let produced = 0;
  try {
    for await (const piece of decodeBlocks(input, decoder, header)) {
      produced += piece.length;
      if (produced > limit) throw tooLarge(limit);
      if (produced > contentSize) throw wrongSize();
      if (piece.length > 0) yield piece;
    }
  } finally {
    decoder.close();
  }
  if (contentSize !== Infinity && produced !== contentSize) throw wrongSize();
}

/** Looks for the frame's end. @returns Its length, if that is no more than `most`: one of many small blocks may be longer. */
async function wholeFrame(input: Input, header: FrameHeader, most: number): Promise<number | undefined> {
  const end = frameEnd(header, () => input.bytes);
  for (;;) {
    const { done, value } = end.next();
    if (done) return value;
    if (value > most) return undefined;
    if (!await input.need(value)) throw truncated();
  }
}

/** Feeds the decoder the frame in parts of whole blocks, the first with the header, the last with the checksum. */
async function* decodeBlocks(input: Input, decoder: Decoder, header: FrameHeader): AsyncGenerator<Uint8Array> {
  const most = Math.min(BLOCK_LIMIT, Math.max(header.windowSize, 1));
  let length = header.length;
  let isLast = false;
  while (!isLast) {
    let blocks = 0;
    do {
      if (!await input.need(length + BLOCK_HEADER)) throw truncated();
      const block = readBlock(input.bytes, length);
      length += BLOCK_HEADER + block.length;
      if (!await input.need(length)) throw truncated();
      isLast = block.isLast;
      blocks++;
    } while (!isLast && blocks < MOST_BLOCKS && length < PART);
    if (isLast && header.hasChecksum) {
      length += CHECKSUM;
      if (!await input.need(length)) throw truncated();
    }
    const room = blocks * most;
    const piece = decoder.write(input.bytes.subarray(0, length), room);
    if (piece.length > room) throw damaged("a block becomes more than it may");
    yield piece;
    input.take(length);
    length = 0;
  }
}
