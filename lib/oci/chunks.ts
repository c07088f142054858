/**
 * Cuts files into chunks by their content: what two files have in common is mostly the same chunks, even if it has moved.
 * File systems place what they have in blocks, so a chunk ends only at the end of a block: where a block's own bytes say so.
 *
 * Source: Muthitacharoen, Chen, Mazières: "A Low-bandwidth Network File System" (SOSP 2001), 3.1: content-defined chunks.
 */

import { sha256 } from "../base/hash.ts";
import { readFull } from "../base/io.ts";

/** The block of ext4, and of other file systems. */
const BLOCK = 4096;
/** A chunk ends after one of so many blocks beyond the least, on average, and in any case after the longest. */
const ONE_IN = 128;
/** Chunks are at least and at most so many bytes; only a file's last one may have fewer. */
const [LEAST, MOST] = [32 * BLOCK, 1024 * BLOCK];

/** A part of a file. */
export interface Chunk {
  offset: number;
  /** Its bytes; valid until the next one. */
  bytes: Uint8Array<ArrayBuffer>;
  /** SHA-256 of them, in hex. */
  sha256: string;
}

/** What chunks can be longer by, for images that would have too many. */
export const SCALES = [1, 2, 4, 8] as const;
export type Scale = typeof SCALES[number];

/** The longest chunk, in bytes. */
export function longestChunk(scale: Scale): number {
  return MOST * scale;
}

/** The smallest scale at which so many bytes make no more chunks than wanted, on average; else the largest. */
export function scaleFor(bytes: number, mostChunks: number): Scale {
  const average = LEAST + ONE_IN * BLOCK;
  return SCALES.find((scale) => bytes <= average * scale * mostChunks) ?? SCALES.at(-1)!;
}

/** A file's chunks, in order. */
export async function* chunksOf(path: string, scale: Scale, signal?: AbortSignal): AsyncGenerator<Chunk> {
  using file = await Deno.open(path);
  const buffer = new Uint8Array(longestChunk(scale));
  let [offset, have] = [0, 0];
  while (true) {
    signal?.throwIfAborted();
    have += await readFull(file, buffer.subarray(have));
    if (have === 0) return;
    const length = cutOf(buffer, have, scale);
    const bytes = buffer.subarray(0, length);
    yield { offset, bytes, sha256: await sha256(bytes) };
    offset += length;
    buffer.copyWithin(0, length, have);
    have -= length;
  }
}

/** How long the chunk is with which the bytes begin. */
function cutOf(bytes: Uint8Array, have: number, scale: Scale): number {
  for (let end = LEAST * scale; end <= have; end += BLOCK) {
    if (isCut(bytes, end - BLOCK, scale)) return end;
  }
  return have;
}

/** Whether a chunk may end after the block that begins here. */
function isCut(bytes: Uint8Array, at: number, scale: Scale): boolean {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset + at, BLOCK / 4);
  let hash = 0;
  for (let word = 0; word < words.length; word++) hash = Math.imul(hash ^ words[word], 0x9e3779b1) ^ (hash >>> 15);
  return (hash >>> 8) % (ONE_IN * scale) === 0;
}
