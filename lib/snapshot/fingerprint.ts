/**
 * A cheap identity of a large file: its size and a digest of some of its pages, chosen where there is something.
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
  /** Which pages of 4096 bytes were sampled, by their numbers; none: the whole file, which is small. */
  pages?: number[];
  /** SHA-256 of the sampled pages, in hex. */
  sample: string;
  /** SHA-256 of the whole file, in hex; absent where nobody has read all of it yet. */
  sha256?: string;
}

const PAGE = 4096;
/** Enough for a handful of pages that differ between any two boots, few enough for a disk's random reads. */
const SAMPLES = 96;
/** Most of a guest's RAM is untouched and zero, which tells nothing: so many pages are looked at for samples. */
const CANDIDATES = 8192;
/** Below this the whole file is read: device state, a young overlay's tables. */
const WHOLE = 1 << 20;

/** The fingerprint of the file as it is now, which nothing may be writing to. */
export async function fingerprint(path: string): Promise<Fingerprint> {
  const { size } = await Deno.stat(path);
  if (size <= WHOLE) return { size, sample: await digest(path, [0], size) };
  const pages = choosePages(path, Math.ceil(size / PAGE));
  return { size, pages, sample: await digest(path, pages, PAGE) };
}

/** Whether the file is still what the fingerprint was taken of. */
export async function matches(path: string, { size, pages, sample }: Fingerprint): Promise<boolean> {
  return await digest(path, pages ?? [0], pages ? PAGE : size) === sample;
}

/** The numbers of the first page, the last one, and some between, as far as possible such that are not zero. */
function choosePages(path: string, count: number): number[] {
  using file = Deno.openSync(path);
  const page = new Uint8Array(PAGE);
  const words = new BigUint64Array(page.buffer);
  const [chosen, zero]: [number[], number[]] = [[0, count - 1], []];
  const candidates = Math.min(CANDIDATES, count);
  // Steps of the golden ratio spread evenly however many are taken.
  for (let index = 0, at = 0.5; index < candidates && chosen.length < SAMPLES; index++, at = (at + 0.6180339887) % 1) {
    const number = Math.floor(at * count);
    file.seekSync(number * PAGE, Deno.SeekMode.Start);
    file.readSync(page);
    (words.some((word) => word !== 0n) ? chosen : zero).push(number);
  }
  const pages = new Set([...chosen, ...zero.slice(0, SAMPLES - chosen.length)]);
  return [...pages].sort((a, b) => a - b);
}

/** SHA-256 of pieces of `length` bytes at the pages' places, in hex. */
async function digest(path: string, pages: number[], length: number): Promise<string> {
  using file = await Deno.open(path);
  const bytes = new Uint8Array(pages.length * length);
  for (const [index, page] of pages.entries()) {
    // One that is shorter than it was has another digest.
    await readAt(file, page * PAGE, bytes.subarray(index * length, (index + 1) * length));
  }
  return await sha256(bytes);
}
