/**
 * How one RAM file differs from another of the same size, page by page. A page is the unit in which a guest changes its
 * memory, so a larger block would carry more, and a smaller one would find little less.
 */

import { createHash } from "node:crypto"; // Web Crypto cannot hash a stream
import { readAt, readFull, type Source } from "../base/io.ts";
import { isZero, writeSparse } from "../zstd/sparse.ts";
import { PAGE } from "./ram_file.ts";
import { unsound } from "./tar.ts";

/** What becomes of a page: a byte in a map of all pages. */
const [SAME, CHANGED, ZERO] = [0, 1, 2];
const PAGES_AT_ONCE = 256;

/** Called with how many more bytes are done. */
type OnBytes = (count: number) => void;

/** A map of the pages, and how many of them have other content that is not zeros. */
export interface PageChanges {
  map: Uint8Array<ArrayBuffer>;
  changed: number;
}

/** Compares two files of `size` bytes, which is a multiple of a page's. */
export async function comparePages(
  base: Deno.FsFile,
  other: Deno.FsFile,
  size: number,
  onBytes: OnBytes = () => {},
): Promise<PageChanges> {
  const map = new Uint8Array(size / PAGE);
  const [before, after] = [new Uint8Array(PAGES_AT_ONCE * PAGE), new Uint8Array(PAGES_AT_ONCE * PAGE)];
  const [words, others] = [new Uint32Array(before.buffer), new Uint32Array(after.buffer)];
  let changed = 0;
  for (let first = 0; first < map.length; first += PAGES_AT_ONCE) {
    const count = Math.min(PAGES_AT_ONCE, map.length - first);
    await readAt(base, first * PAGE, before.subarray(0, count * PAGE));
    await readAt(other, first * PAGE, after.subarray(0, count * PAGE));
    for (let index = 0; index < count; index++) {
      if (areSame(words, others, index * PAGE / 4, (index + 1) * PAGE / 4)) continue;
      const page = after.subarray(index * PAGE, (index + 1) * PAGE);
      map[first + index] = isZero(page) ? ZERO : CHANGED;
      if (map[first + index] === CHANGED) changed++;
    }
    onBytes(count * PAGE);
  }
  return { map, changed };
}

function areSame(one: Uint32Array, other: Uint32Array, from: number, to: number): boolean {
  for (let at = from; at < to; at++) if (one[at] !== other[at]) return false;
  return true;
}

/** The content of the pages that have changed. The next piece overwrites the last one. */
export async function* changedPages(file: Deno.FsFile, map: Uint8Array): AsyncGenerator<Uint8Array> {
  const bytes = new Uint8Array(PAGES_AT_ONCE * PAGE);
  for (let at = 0; at < map.length;) {
    if (map[at] !== CHANGED) {
      at++;
      continue;
    }
    let end = at;
    while (map[end] === CHANGED && end - at < PAGES_AT_ONCE) end++;
    const run = bytes.subarray(0, (end - at) * PAGE);
    await readAt(file, at * PAGE, run);
    yield run;
    at = end;
  }
}

/** @throws {HotbootError} unless it is a map of which so many pages have changed. */
export function requireMap(map: Uint8Array, changed: number): void {
  let found = 0;
  for (const kind of map) {
    if (kind > ZERO) throw unsound("its map of pages is damaged");
    if (kind === CHANGED) found++;
  }
  if (found !== changed) throw unsound(`its map of pages has ${found} that differ, instead of ${changed}`);
}

/**
 * Makes the other file of the first one and what has changed. Zeros become holes.
 *
 * @param changes The content of the pages that have changed.
 * @returns SHA-256 of the new file, in hex.
 */
export async function mergePages(
  base: Deno.FsFile,
  map: Uint8Array,
  changes: Source,
  path: string,
  onBytes: OnBytes = () => {},
): Promise<string> {
  using file = await Deno.open(path, { write: true, createNew: true, mode: 0o600 });
  await file.truncate(map.length * PAGE);
  const hash = createHash("sha256");
  const bytes = new Uint8Array(PAGES_AT_ONCE * PAGE);
  for (let first = 0; first < map.length; first += PAGES_AT_ONCE) {
    const kinds = map.subarray(first, first + PAGES_AT_ONCE);
    const chunk = bytes.subarray(0, kinds.length * PAGE);
    const filled = kinds.includes(SAME) ? await readAt(base, first * PAGE, chunk) : chunk.length;
    chunk.fill(0, filled);
    for (const [index, kind] of kinds.entries()) {
      const page = chunk.subarray(index * PAGE, (index + 1) * PAGE);
      if (kind === ZERO) page.fill(0);
      else if (kind === CHANGED && await readFull(changes, page) < PAGE) throw unsound("it is cut off");
    }
    hash.update(chunk);
    writeSparse(file, chunk, first * PAGE);
    onBytes(chunk.length);
  }
  return hash.digest("hex");
}
