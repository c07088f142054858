/** Where chunks are fetched: as blobs of a registry, or in the packs of a release. */

import type { Range } from "../release/part_file.ts";
import type { ChunkSource } from "./assemble.ts";
import type { Frame } from "./asset_index.ts";
import type { Descriptor } from "./manifest.ts";
import type { Registry } from "./registry.ts";

/** What is fetched at once of chunks that lie side by side: a fetch that breaks off loses no more. */
const LONGEST_RANGE = 4 * 2 ** 20;

/** The layers of a manifest. */
export function blobsOf(registry: Registry, layers: Descriptor[]): ChunkSource {
  return { sizes: layers.map(({ size }) => size), fetch: async ([index]) => [await registry.blob(layers[index])] };
}

/**
 * The packs of a release. Chunks that lie side by side are one range.
 *
 * @param read Reads a range of a pack.
 */
export function packsOf(frames: Frame[], read: (pack: number, range: Range) => Promise<Uint8Array>): ChunkSource {
  return {
    sizes: frames.map(({ size }) => size),
    group(missing) {
      const groups: number[][] = [];
      let range = { pack: -1, start: 0, end: 0 };
      const place = (index: number) => frames[index];
      for (
        const index of missing.toSorted((a, b) => place(a).pack - place(b).pack || place(a).offset - place(b).offset)
      ) {
        const { pack, offset, size } = place(index);
        const isNext = pack === range.pack && offset === range.end && offset + size - range.start <= LONGEST_RANGE;
        if (isNext) groups.at(-1)!.push(index);
        else groups.push([index]);
        range = { pack, start: isNext ? range.start : offset, end: offset + size };
      }
      return groups;
    },
    async fetch(group) {
      const [first, last] = [frames[group[0]], frames[group.at(-1)!]];
      const bytes = await read(first.pack, { start: first.offset, end: last.offset + last.size });
      return group.map((index) => {
        const { offset, size } = frames[index];
        return bytes.subarray(offset - first.offset, offset - first.offset + size);
      });
    },
  };
}
