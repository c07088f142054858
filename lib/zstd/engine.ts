/** What compresses and decompresses: one face for the runtime's own zstd and a WebAssembly one. */

import { type FrameHeader, ZstdError } from "./frame.ts";

/** Which code does the work. */
export type ZstdEngineName = "native" | "wasm";

/** Compresses and decompresses single frames. */
export interface Engine {
  /**
   * One frame, which says its content's size and has its checksum.
   *
   * @returns What is the caller's own, to be transferred.
   */
  compress(bytes: Uint8Array, level: number): Uint8Array<ArrayBuffer>;
  /**
   * A whole frame's content, of the size that it says.
   *
   * @returns What may be used until the next call.
   * @throws {ZstdError} when the frame is damaged.
   */
  decompress(frame: Uint8Array, size: number): Uint8Array;
  /** For a frame that is too long to be decompressed at once. */
  decoder(header: FrameHeader): Decoder;
}

/** Decompresses one frame, a part after the other. */
export interface Decoder {
  /**
   * @param part The frame's next bytes: the header, whole blocks, the checksum, or several of these.
   * @param most How many bytes it becomes at the most.
   * @returns What may be used until the next call.
   * @throws {ZstdError} when the frame is damaged.
   */
  write(part: Uint8Array, most: number): Promise<Uint8Array[]>;
  /** Frees what it holds. */
  close(): void;
}

/** The level that is used unless told: memory is written to a disk, and that should take about as long as without. */
export const LEVEL = 1;
const HIGHEST_LEVEL = 22;

/** @throws {ZstdError} when there is no such level. */
export function requireLevel(level: number): void {
  if (Number.isInteger(level) && level >= 1 && level <= HIGHEST_LEVEL) return;
  throw new ZstdError(`there is no zstd level ${level}: use one from 1 to ${HIGHEST_LEVEL}`);
}

/** What a frame of so many bytes takes at the most: ZSTD_compressBound's, and the checksum. */
export function compressBound(size: number): number {
  const margin = size < 128 * 1024 ? (128 * 1024 - size) >> 11 : 0;
  return size + (size >> 8) + margin + 32;
}

/** What is longer than this has memory of its own; shorter ones may share it with others of the runtime's. */
const SHARED = 128 * 1024;

/** Gives memory back now: the garbage collector would let it grow to many times what is in use. */
export function free(buffer?: ArrayBufferLike): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength > SHARED) buffer.transfer(0);
}
