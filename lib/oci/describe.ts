/** Describes an image on this machine by its chunks, and compresses them. */

import { Pool } from "../zstd/pool.ts";
import { chunksOf, scaleFor } from "./chunks.ts";
import type { ChunkDescription, Description, Made, Part } from "./manifest.ts";

/** An image is compressed once and downloaded often. */
const LEVEL = 3;

/** An image on this machine, as it is pushed. */
export interface Pushed extends Made {
  /** The files: the disk in the form of `flat_disk.ts`. */
  files: { disk: string } & Partial<Record<Part, string>>;
}

/** A chunk of a file on this machine. */
export interface LocalChunk extends ChunkDescription {
  path: string;
  offset: number;
}

/** The most chunks to aim at: registries accept lists of some 24,000. */
const MOST_CHUNKS = 20_000;

/** The image's description, and its chunks on this machine in the same order. */
export async function describe(
  image: Pushed,
  signal: AbortSignal,
  mostChunks = MOST_CHUNKS,
): Promise<{ description: Description; local: LocalChunk[] }> {
  const { createHash } = await import("node:crypto"); // Web Crypto cannot hash a stream
  const local: LocalChunk[] = [];
  const indices = new Map<string, number>();
  const files: Partial<Description["files"]> = {};
  const sizes = await Promise.all(Object.values(image.files).map(async (path) => (await Deno.stat(path)).size));
  const scale = scaleFor(sizes.reduce((sum, size) => sum + size, 0), mostChunks);
  for (const [part, path] of Object.entries(image.files)) {
    const hash = createHash("sha256");
    const chunks: number[] = [];
    let size = 0;
    for await (const { offset, bytes, sha256 } of chunksOf(path, scale, signal)) {
      hash.update(bytes);
      size += bytes.length;
      if (!indices.has(sha256)) {
        indices.set(sha256, local.length);
        local.push({ sha256, length: bytes.length, path, offset });
      }
      chunks.push(indices.get(sha256)!);
    }
    files[part as Part] = { size, sha256: hash.digest("hex"), chunks };
  }
  const { profile, arch, created } = image;
  const chunks = local.map(({ length, sha256 }) => ({ length, sha256 }));
  const longer = scale === 1 ? {} : { scale };
  return { description: { profile, arch, created, ...longer, files: files as Description["files"], chunks }, local };
}

/** Opens what compresses the chunks of one file. */
export function openCompressor(path: string, chunks: number): Promise<Pool> {
  // WebAssembly's result is the same on every version of the runtime, so a chunk keeps its digest.
  return Pool.open({ engine: "wasm", from: path }, chunks);
}

/** A chunk as one zstd frame. */
export async function compress(pool: Pool, { offset, length }: LocalChunk): Promise<Uint8Array<ArrayBuffer>> {
  return (await pool.run({ kind: "compress", offset, length, level: LEVEL }))!;
}
