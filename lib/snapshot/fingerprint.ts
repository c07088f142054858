/**
 * A cheap identity of a large file: its size and a digest of pages spread evenly over it.
 *
 * Hashing all of a guest's RAM would take longer than resuming it. Truncated, emptied, exchanged and never-written
 * files differ in their sampled pages; one flipped bit may hide between them.
 */

import { encodeHex } from "@std/encoding/hex";

/** A file's size in bytes and its sampled digest. */
export interface Fingerprint {
  /** The exact size, in bytes. */
  size: number;
  /** SHA-256 of the sampled pages, in hex; of the whole file where it is small. */
  sample: string;
}

const PAGE = 4096;
/** Enough for a handful of pages that differ between any two boots, few enough for a disk's random reads. */
const SAMPLES = 96;
/** Below this the whole file is read: device state, a young overlay's tables. */
const WHOLE = 1 << 20;

/** The fingerprint of the file as it is now. */
export async function fingerprint(path: string): Promise<Fingerprint> {
  using file = await Deno.open(path);
  const { size } = await file.stat();
  const sampled = size <= WHOLE ? new Uint8Array(size) : new Uint8Array(SAMPLES * PAGE);
  const pages = Math.ceil(sampled.length / PAGE);
  for (let page = 0; page < pages; page++) {
    const into = sampled.subarray(page * PAGE, (page + 1) * PAGE);
    const step = size <= WHOLE ? PAGE : Math.floor(size / SAMPLES / PAGE) * PAGE;
    const at = size > WHOLE && page === pages - 1 ? size - PAGE : page * step; // the last one is the file's end
    await file.seek(at, Deno.SeekMode.Start);
    for (let got = 0, read: number | null; got < into.length; got += read) {
      read = await file.read(into.subarray(got));
      if (read === null) break; // it shrank meanwhile: the digest tells
    }
  }
  return { size, sample: encodeHex(new Uint8Array(await crypto.subtle.digest("SHA-256", sampled))) };
}
