/** Puts an image's files together from chunks: those that are there already, and those that must be fetched. */

import { removeIfThere } from "../base/files.ts";
import { sha256, sha256File } from "../base/hash.ts";
import { readAt } from "../base/io.ts";
import { Turns } from "../base/turns.ts";
import { HotbootError } from "../base/error.ts";
import { formatBytes } from "../base/format.ts";
import { requireFreeSpace } from "../release/free_space.ts";
import { WrongContent } from "../release/options.ts";
import type { Engine } from "../zstd/engine.ts";
import { frameLength, readHeader } from "../zstd/frame.ts";
import { openEngine } from "../zstd/open_engine.ts";
import { chunksOf } from "./chunks.ts";
import type { ChunkDescription, Description, Part } from "./manifest.ts";

/** How many fetches are under way at once. */
const AT_ONCE = 6;
/** How often a chunk that is not what was asked for is fetched again. */
const MOST_ROUNDS = 3;
/** The unit in which a file system counts the space that a file takes. */
const SECTOR = 512;

/** Where chunks are fetched. It names them by their index in the description. */
export interface ChunkSource {
  /** How many bytes each chunk has there. */
  sizes: number[];
  /** Which chunks are fetched together; each alone by default. */
  group?(missing: number[]): number[][];
  /** Fetches the chunks of one group, each as one zstd frame. */
  fetch(group: number[]): Promise<Uint8Array[]>;
}

/** More bytes would have to be fetched than is wanted. */
export class TooMuch extends HotbootError {}

/** What is put together, from where, and who gets progress. */
export interface Assembling {
  description: Description;
  /** Where to fetch what is not on this machine. */
  from: ChunkSource;
  /** Where the files are made. What an earlier attempt has left there is used, once its content has been checked. */
  directory: string;
  /** Files that may contain some of the chunks. */
  sources: string[];
  /** The most bytes to fetch. */
  most?: number;
  signal: AbortSignal;
  /** Told how many of the bytes that must be fetched have come. */
  onProgress(done: number, total: number): void;
}

/** A chunk's place in a file. */
interface Place {
  file: Deno.FsFile;
  offset: number;
  /** Nothing has been written to the file yet. */
  isNew: boolean;
}

/**
 * Makes the files. Each chunk is fetched once, whatever its places, and all content is checked: each chunk's before it is
 * written, and each file's at the end.
 *
 * @returns The files' paths, and how many bytes were fetched.
 * @throws {WrongContent} if what was fetched is not what the description says.
 * @throws {TooMuch} if more than the most bytes would have to be fetched.
 * @throws {HotbootError} if there is no space.
 */
export async function assemble(work: Assembling): Promise<{ paths: Map<Part, string>; moved: number }> {
  const { description: { files, chunks }, directory, signal } = work;
  const paths = new Map<Part, string>();
  const open: Deno.FsFile[] = [];
  let wanted = 0;
  try {
    const places: Place[][] = chunks.map(() => []);
    for (const [part, { size, chunks: indices }] of Object.entries(files)) {
      const path = `${directory}/${part}`;
      paths.set(part as Part, path);
      if (await Deno.lstat(path).then(({ isFile }) => !isFile, () => false)) await removeIfThere(path); // no link is followed
      const file = await Deno.open(path, { read: true, write: true, create: true, mode: 0o600 });
      open.push(file);
      const { size: before, blocks } = await file.stat();
      const isNew = before === 0;
      wanted += size - SECTOR * (blocks ?? 0);
      await file.truncate(size);
      let offset = 0;
      for (const index of indices) {
        places[index].push({ file, offset, isNew });
        offset += chunks[index].length;
      }
    }
    await requireFreeSpace(directory, wanted, "the image");
    const missing = await findMissing(chunks, places, signal);
    await takeFrom(work, missing);
    const moved = await fetchAll(work, missing);
    for (const [part, path] of paths) {
      if (await sha256File(path, signal) !== files[part]!.sha256) {
        throw new WrongContent(
          `the image's ${part} is not what its description says: ask its publisher to push it again`,
        );
      }
    }
    return { paths, moved };
  } finally {
    for (const file of open) file.close();
  }
}

/** The places that do not have their content yet, by chunk; what is at one of its places is copied to the others. */
async function findMissing(
  chunks: ChunkDescription[],
  places: Place[][],
  signal: AbortSignal,
): Promise<Map<number, Place[]>> {
  const missing = new Map<number, Place[]>();
  for (const [index, { length, sha256: wanted }] of chunks.entries()) {
    const bytes = new Uint8Array(length);
    let found: Uint8Array | undefined;
    const empty: Place[] = [];
    for (const place of places[index]) {
      signal.throwIfAborted();
      const isRead = !place.isNew && await readAt(place.file, place.offset, bytes) === length;
      if (isRead && await sha256(bytes) === wanted) found = bytes.slice();
      else empty.push(place);
    }
    if (empty.length === 0) continue;
    if (found) write(empty, found);
    else missing.set(index, empty);
  }
  return missing;
}

/** Copies the missing chunks that the sources have. */
async function takeFrom(
  { description: { chunks, scale = 1 }, sources, signal }: Assembling,
  missing: Map<number, Place[]>,
) {
  const sought = new Map(missing.keys().map((index) => [chunks[index].sha256, index]));
  for (const path of sources) {
    if (sought.size === 0) return;
    for await (const { sha256, bytes } of chunksOf(path, scale, signal)) {
      const index = sought.get(sha256);
      if (index === undefined) continue;
      write(missing.get(index)!, bytes);
      missing.delete(index);
      sought.delete(sha256);
    }
  }
}

/** Fetches what is still missing, and gives how many bytes that were. */
async function fetchAll(work: Assembling, missing: Map<number, Place[]>): Promise<number> {
  const { from, signal, most = Infinity, onProgress } = work;
  const bytesOf = (chunks: Iterable<number>) =>
    Iterator.from(chunks).reduce((sum, index) => sum + from.sizes[index], 0);
  const total = bytesOf(missing.keys());
  if (total > most) throw new TooMuch(`${formatBytes(total)} would have to be fetched: try again`);
  if (total === 0) return 0;
  const engine = await openEngine();
  const turns = new Turns(AT_ONCE);
  const end = new AbortController(); // one failure ends the others
  const either = AbortSignal.any([signal, end.signal]);
  let moved = 0;
  onProgress(0, total);
  const indices = missing.keys().toArray();
  const groups = from.group?.(indices) ?? indices.map((index) => [index]);
  const fetching = groups.map((group) =>
    turns.run(async () => {
      either.throwIfAborted();
      const contents = await fetchGroup(work, group, engine);
      either.throwIfAborted();
      for (const [at, index] of group.entries()) write(missing.get(index)!, contents[at]);
      moved += bytesOf(group);
      onProgress(moved, total);
    }, either).catch((error) => {
      end.abort(error);
      throw error;
    })
  );
  await Promise.allSettled(fetching);
  signal.throwIfAborted();
  end.signal.throwIfAborted();
  return moved;
}

/** The contents of the chunks of a group. */
async function fetchGroup(
  { description: { chunks }, from, signal }: Assembling,
  group: number[],
  engine: Engine,
): Promise<Uint8Array[]> {
  for (let round = 1;; round++) {
    signal.throwIfAborted();
    const frames = await from.fetch(group);
    try {
      return await Promise.all(group.map(async (index, at) => {
        const { length, sha256: wanted } = chunks[index];
        const content = decompress(engine, frames[at], length);
        if (await sha256(content) !== wanted) throw unlike();
        return content;
      }));
    } catch (error) {
      if (round === MOST_ROUNDS) throw error instanceof WrongContent ? error : unlike();
    }
  }
}

/** The content of a chunk: of one whole frame, of exactly this length. */
function decompress(engine: Engine, frame: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  const header = readHeader(frame, true);
  if (header?.contentSize !== length || frameLength(header, frame) !== frame.length) throw unlike();
  return engine.decompress(frame, length).slice();
}

function unlike(): WrongContent {
  return new WrongContent("a chunk of the image is not what its description says: ask its publisher to push it again");
}

/** At once, so that no other write can come between the seek and the bytes. */
function write(places: Place[], bytes: Uint8Array): void {
  for (const { file, offset } of places) {
    file.seekSync(offset, Deno.SeekMode.Start);
    for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
  }
}
