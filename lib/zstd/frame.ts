/**
 * The structure of zstd data: frames of blocks. Enough of it to find where each ends, and to reject what cannot or must not be
 * decompressed, before a decoder sees it: decoders mistake a truncated stream for a shorter one.
 *
 * Source: RFC 8878, by its section numbers.
 */

import { HotbootError } from "../base/error.ts";

/** zstd data, or a file of it, that cannot be made or read; the one-line message says why. */
export class ZstdError extends HotbootError {
  /** The class's name, for logs. */
  override name = "ZstdError";
}

/** The largest window to decompress, which is the default of the `zstd` tool and library. */
export const WINDOW_LIMIT = 2 ** 27;
/** The most that a block decompresses to (3.1.1.2.4). */
export const BLOCK_LIMIT = 128 * 1024;
/** The bytes of the longest frame header with its magic number (3.1.1.1). */
export const LONGEST_HEADER = 18;
/** The bytes of a block's header (3.1.1.2). */
export const BLOCK_HEADER = 3;
/** The bytes of a content checksum (3.1.1). */
export const CHECKSUM = 4;

const FIRST_BYTES = [0x28, 0xb5, 0x2f, 0xfd];
const FIRST_SKIPPABLE_BYTES = [0x50, 0x2a, 0x4d, 0x18]; // or the first one up to 0x5f
const SKIPPABLE_HEADER = 8;

/** The start of a frame (3.1.1.1). */
export interface FrameHeader {
  /** The bytes of the header, including the magic number. */
  length: number;
  /** How far back the decoder may have to look, in bytes. */
  windowSize: number;
  /** How many bytes the frame decompresses to, if stated. */
  contentSize?: number;
  /** Whether a checksum of the content follows the last block. */
  hasChecksum: boolean;
  /** The bytes to skip after the header of a frame without data (3.1.2). */
  skip?: number;
}

/**
 * Reads a frame's header.
 *
 * @param bytes From the frame's first byte on.
 * @param isFirst Whether it is the first frame, for the error.
 * @returns `undefined` if more bytes are needed.
 * @throws {ZstdError} if it is not a frame, or one that hotboot cannot decompress.
 */
export function readHeader(bytes: Uint8Array, isFirst: boolean): FrameHeader | undefined {
  if (bytes.length === 0 && isFirst) throw new ZstdError("there is no zstd data, it is empty: get it again");
  if (![FIRST_BYTES, FIRST_SKIPPABLE_BYTES].some((begin) => isBegin(bytes, begin))) throw notAFrame(isFirst);
  if (bytes.length < FIRST_BYTES.length) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (isBegin(bytes, FIRST_SKIPPABLE_BYTES)) {
    if (bytes.length < SKIPPABLE_HEADER) return undefined;
    return { length: SKIPPABLE_HEADER, windowSize: 0, hasChecksum: false, skip: view.getUint32(4, true) };
  }
  if (bytes.length < 5) return undefined;
  const descriptor = bytes[4];
  const isSingleSegment = (descriptor & 0x20) !== 0;
  if (descriptor & 0x08) throw damaged("a frame's header has its reserved bit set");
  const idLength = [0, 1, 2, 4][descriptor & 3];
  const sizeLength = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6];
  const idAt = isSingleSegment ? 5 : 6;
  const length = idAt + idLength + sizeLength;
  if (bytes.length < length) return undefined;
  if (bytes.subarray(idAt, idAt + idLength).some((byte) => byte !== 0)) {
    throw new ZstdError("the zstd data needs a dictionary, which hotboot does not support: compress it without one");
  }
  const contentSize = readSize(view, idAt + idLength, sizeLength);
  const windowSize = isSingleSegment ? contentSize! : readWindow(bytes[5]);
  if (windowSize > WINDOW_LIMIT) {
    throw new ZstdError(
      `the zstd data needs a window of ${Math.ceil(windowSize / 2 ** 20)} MiB, and at most ` +
        `${WINDOW_LIMIT / 2 ** 20} MiB are used: compress it without --ultra and with --long=27 or less`,
    );
  }
  return {
    length,
    windowSize,
    ...(contentSize !== undefined && { contentSize }),
    hasChecksum: (descriptor & 0x04) !== 0,
  };
}

/** The content size at this place (3.1.1.1.4). */
function readSize(view: DataView, at: number, length: number): number | undefined {
  if (length === 0) return undefined;
  if (length === 1) return view.getUint8(at);
  if (length === 2) return view.getUint16(at, true) + 256;
  if (length === 4) return view.getUint32(at, true);
  const size = Number(view.getBigUint64(at, true));
  if (size > Number.MAX_SAFE_INTEGER) {
    throw damaged("a frame states an impossible size");
  }
  return size;
}

/** The window's size (3.1.1.1.2). */
function readWindow(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >> 3));
  return base + (base / 8) * (descriptor & 7);
}

/** A block's header. */
export interface BlockHeader {
  /** Whether it is the frame's last block. */
  isLast: boolean;
  /** The bytes that follow the header. */
  length: number;
  /** How many bytes it becomes; unknown for a compressed block. */
  contentSize?: number;
}

/**
 * Reads a block's header (3.1.1.2).
 *
 * @param bytes Its three bytes are here,
 * @param at from this place on.
 * @throws {ZstdError} if no such block can exist.
 */
export function readBlock(bytes: Uint8Array, at: number): BlockHeader {
  const header = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16);
  const type = (header >> 1) & 3;
  const size = header >> 3;
  if (type === 3 || size > BLOCK_LIMIT) throw damaged("there is no such block");
  return {
    isLast: (header & 1) === 1,
    length: type === 1 ? 1 : size, // type 1 is one byte, over and over
    ...(type !== 2 && { contentSize: size }),
  };
}

/**
 * Finds a frame's end, block by block.
 *
 * @param bytes Gives the frame's bytes, from its first one on.
 * @returns The frame's length; before that, again and again, the number of bytes that it needs next.
 * @throws {ZstdError} if it has a block that cannot exist.
 */
export function* frameEnd(header: FrameHeader, bytes: () => Uint8Array): Generator<number, number> {
  let length = header.length;
  for (let isLast = false; !isLast;) {
    yield length + BLOCK_HEADER;
    const block = readBlock(bytes(), length);
    yield length += BLOCK_HEADER + block.length;
    isLast = block.isLast;
  }
  if (header.hasChecksum) yield length += CHECKSUM;
  return length;
}

/**
 * The length of the frame that these bytes begin with, if all of it is there.
 *
 * @throws {ZstdError} as {@linkcode frameEnd}.
 */
export function frameLength(header: FrameHeader, bytes: Uint8Array): number | undefined {
  const walk = frameEnd(header, () => bytes);
  let step = walk.next();
  for (; !step.done; step = walk.next()) if (step.value > bytes.length) return undefined;
  return step.value;
}

/** The error for data that ends before its last frame. */
export function truncated(): ZstdError {
  return new ZstdError("the zstd data is truncated: it ends in the middle of a frame; get all of it");
}

/** The error for damage that a decoder found. @param why Its message. */
export function damaged(why: string): ZstdError {
  return new ZstdError(`the zstd data is damaged (${why}): get it again`);
}

/** The error for more data than the caller accepts. */
export function tooLarge(limit: number): ZstdError {
  return new ZstdError(
    `the zstd data becomes more than the ${limit} bytes that are expected: get it again, or allow more`,
  );
}

/** The error for a frame whose content has another size than stated. */
export function wrongSize(): ZstdError {
  return damaged("a frame's content has another size than its header says");
}

/** Whether the bytes, as far as there are any, match a frame's magic number. */
function isBegin(bytes: Uint8Array, begin: number[]): boolean {
  const mask = begin === FIRST_SKIPPABLE_BYTES ? 0xf0 : 0xff;
  return begin.every((byte, at) => at >= bytes.length || (at === 0 ? bytes[0] & mask : bytes[at]) === byte);
}

function notAFrame(isFirst: boolean): ZstdError {
  return new ZstdError(
    isFirst
      ? "this is no zstd data, it begins with something else: name another file"
      : "the zstd data is followed by something else: get it again",
  );
}
