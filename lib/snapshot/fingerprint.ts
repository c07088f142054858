/**
 * A cheap identity of a large file: its size and a digest of some of its pages, chosen among those with content.
 *
 * Hashing all of a guest's RAM would take longer than resuming it. Truncated, emptied, exchanged and never-written
 * files differ in their sampled pages; one flipped bit may hide between them.
 */

import { readAt } from "../base/io.ts";
import { sha256 } from "../base/hash.ts";

/** A file's size in bytes and its sampled digest. */
export interface Fingerprint {
  /** The exact size, in bytes. */
  size: number;
  /** The numbers of the sampled pages of 4096 bytes; absent for a small file, which is sampled whole. */
  pages?: number[];
  /** SHA-256 of the sampled pages, in hex. */
  sample: string;
  /** SHA-256 of the whole file, in hex; absent if nobody has read all of it yet. */
  sha256?: string;
}

const PAGE = 4096;
/** Enough to catch the few pages that differ between any two boots, and few enough for a disk's random reads. */
const SAMPLES = 96;
/** Most of a guest's RAM is untouched and zero, which identifies nothing: this many pages are examined for samples. */
const CANDIDATES = 8192;
/** Smaller files are read whole: device state, a young overlay's tables. */
const WHOLE = 1 << 20;

/** The fingerprint of the file now. Nothing may be writing to it. */
export async function fingerprint(path: string): Promise<Fingerprint> {
  const { size } = await Deno.stat(path);
  if (size <= WHOLE) return { size, sample: await digest(path, [0], size) };
  const pages = choosePages(path, Math.ceil(size / PAGE));
  return { size, pages, sample: await digest(path, pages, PAGE) };
}

/** Whether the file still matches the fingerprint. */
export async function matches(path: string, { size, pages, sample }: Fingerprint): Promise<boolean> {
  return await digest(path, pages ?? [0], pages ? PAGE : size) === sample;
}

/** The numbers of the first page, the last one, and some between, preferably non-zero ones. */
function choosePages(path: string, count: number): number[] {
  using file = Deno.openSync(path);
  const page = new Uint8Array(PAGE);
  const words = new BigUint64Array(page.buffer);
  const [chosen, zero]: [number[], number[]] = [[0, count - 1], []];
  const candidates = Math.min(CANDIDATES, count);
  // Steps of the golden ratio spread evenly, however many there are.
  for (let index = 0, at = 0.5; index < candidates && chosen.length < SAMPLES; index++, at = (at + 0.6180339887) % 1) {
    const number = Math.floor(at * count);
    file.seekSync(number * PAGE, Deno.SeekMode.Start);
    file.readSync(page);
    (words.some((word) => word !== 0n) ? chosen : zero).push(number);
  }
  const pages = new Set([...chosen, ...zero.slice(0, SAMPLES - chosen.length)]);
  return [...pages].sort((a, b) => a - b);
}

/** SHA-256, in hex, of `length` bytes at each page. */
async function digest(path: string, pages: number[], length: number): Promise<string> {
  using file = await Deno.open(path);
  const bytes = new Uint8Array(pages.length * length);
  for (const [index, page] of pages.entries()) {
    // A truncated file gets another digest.
    await readAt(file, page * PAGE, bytes.subarray(index * length, (index + 1) * length));
  }
  return await sha256(bytes);
}
