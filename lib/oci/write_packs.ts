/** Writes an image's chunks to packs. */

import { createHash } from "node:crypto"; // Web Crypto cannot hash a stream
import { writeAll } from "../base/io.ts";
import { type Frame, LONGEST_PACK, type Pack, packName } from "./asset_index.ts";
import { compress, type LocalChunk, openCompressor } from "./describe.ts";

/** How many chunks are in memory at once. */
const AT_ONCE = 8;

/** Where to write, and who gets progress. */
export interface Packing {
  directory: string;
  /** The name that the disk has in the release. */
  disk: string;
  signal: AbortSignal;
  /** Told how much of the content is there. */
  onProgress(done: number, total: number): void;
  /** The longest pack, in bytes. */
  longest?: number;
}

/** Writes the chunks, and gives where each is, in their order: the same packs for the same image. */
export async function writePacks(
  chunks: LocalChunk[],
  { directory, disk, signal, onProgress, longest = LONGEST_PACK }: Packing,
): Promise<{ packs: Pack[]; frames: Frame[] }> {
  const packs: Pack[] = [];
  const frames: Frame[] = [];
  const total = chunks.reduce((sum, { length }) => sum + length, 0);
  let done = 0;
  let pack: { name: string; file: Deno.FsFile; size: number; hash: ReturnType<typeof createHash> } | undefined;
  const finish = () => {
    if (!pack) return;
    pack.file.close();
    packs.push({ name: pack.name, size: pack.size, sha256: pack.hash.digest("hex") });
    pack = undefined;
  };
  const append = async (frame: Uint8Array) => {
    if (pack && pack.size + frame.length > longest) finish();
    if (!pack) {
      const name = packName(disk, packs.length + 1);
      const file = await Deno.open(`${directory}/${name}`, { write: true, createNew: true, mode: 0o644 });
      pack = { name, file, size: 0, hash: createHash("sha256") };
    }
    frames.push({ pack: packs.length, offset: pack.size, size: frame.length });
    pack.hash.update(frame);
    pack.size += frame.length;
    await writeAll(pack.file, frame);
  };
  try {
    for (const [path, ofFile] of Map.groupBy(chunks, (chunk) => chunk.path)) {
      using compressor = await openCompressor(path, ofFile.length);
      for (let at = 0; at < ofFile.length; at += AT_ONCE) {
        signal.throwIfAborted();
        const some = ofFile.slice(at, at + AT_ONCE);
        for (const frame of await Promise.all(some.map((chunk) => compress(compressor, chunk)))) await append(frame);
        done += some.reduce((sum, { length }) => sum + length, 0);
        onProgress(done, total);
      }
    }
    finish();
  } finally {
    pack?.file.close();
  }
  return { packs, frames };
}
