/** Compresses and decompresses: one interface for the runtime's own zstd and a WebAssembly one. */

import { type FrameHeader, ZstdError } from "./frame.ts";

/** Which code does the work. */
export type ZstdEngineName = "native" | "wasm";

/** Compresses and decompresses single frames. */
export interface Engine {
  /**
   * One frame, with its content's size and a checksum.
   *
   * @returns The caller owns it and may transfer it.
   */
  compress(bytes: Uint8Array, level: number): Uint8Array<ArrayBuffer>;
  /**
   * A whole frame's content, of the size in its header.
   *
   * @returns Valid until the next call.
   * @throws {ZstdError} if the frame is damaged.
   */
  decompress(frame: Uint8Array, size: number): Uint8Array;
  /** For a frame that is too long to decompress at once. */
  decoder(header: FrameHeader): Promise<Decoder>;
}

/** Decompresses one frame, part by part. */
export interface Decoder {
  /**
   * @param part The frame's next bytes: the header, whole blocks, the checksum, or several of these.
   * @param most The most bytes that it can become.
   * @returns Valid until the next call.
   * @throws {ZstdError} if the frame is damaged.
   */
  write(part: Uint8Array, most: number): Uint8Array;
  /** Frees its memory. */
  close(): void;
}

/** The default level: memory is written to a disk, and should take about as long as without compression. */
export const LEVEL = 1;
const HIGHEST_LEVEL = 22;

/** @throws {ZstdError} if there is no such level. */
export function requireLevel(level: number): void {
  if (Number.isInteger(level) && level >= 1 && level <= HIGHEST_LEVEL) return;
  throw new ZstdError(`there is no zstd level ${level}: use one from 1 to ${HIGHEST_LEVEL}`);
}

/** The largest size of a frame with this many bytes: ZSTD_compressBound's, and the checksum. */
export function compressBound(size: number): number {
  const margin = size < 128 * 1024 ? (128 * 1024 - size) >> 11 : 0;
  return size + (size >> 8) + margin + 32;
}

/** Longer buffers have memory of their own; shorter ones may share it with others of the runtime's. */
const SHARED = 128 * 1024;

/** Frees memory now: the garbage collector would let it grow to many times what is in use. */
export function free(buffer?: ArrayBufferLike): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength > SHARED) buffer.transfer(0);
}
