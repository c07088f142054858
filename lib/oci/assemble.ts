/** Puts an image's files together from chunks: those that are there already, and those that must be fetched. */

import { removeIfThere } from "../base/files.ts";
import { sha256, sha256File } from "../base/hash.ts";
import { readAt } from "../base/io.ts";
import { Turns } from "../base/turns.ts";
import { requireFreeSpace } from "../release/free_space.ts";
import { WrongContent } from "../release/options.ts";
import type { Engine } from "../zstd/engine.ts";
import { frameLength, readHeader } from "../zstd/frame.ts";
import { openEngine } from "../zstd/open_engine.ts";
import { chunksOf } from "./chunks.ts";
import type { ChunkDescription, Description, Descriptor, Part } from "./manifest.ts";

/** How many chunks are fetched at once. */
const AT_ONCE = 6;
/** The unit in which a file system counts the space that a file takes. */
const SECTOR = 512;

/** Where the chunks come from, and who gets progress. */
export interface Assembling {
  description: Description;
  /** The chunks as they are in the registry, in the description's order. */
  layers: Descriptor[];
  /** Where the files are made. What an earlier attempt has left there is used, once its content has been checked. */
  directory: string;
  /** Files that may contain some of the chunks. */
  sources: string[];
  /** Fetches a chunk, which has the descriptor's digest. */
  fetch(layer: Descriptor): Promise<Uint8Array>;
  signal: AbortSignal;
  /** Told how many of the bytes that must be fetched have come. */
  onProgress(done: number, total: number): void;
}

/** A chunk's place in a file. */
interface Place {
  file: Deno.FsFile;
  offset: number;
}

/**
 * Makes the files. Each chunk is fetched once, whatever its places, and all content is checked: each chunk's before it is
 * written, and each file's at the end.
 *
 * @returns The files' paths, and how many bytes were fetched.
 * @throws {WrongContent} if what was fetched is not what the description says.
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
      wanted += size - SECTOR * ((await file.stat()).blocks ?? 0);
      await file.truncate(size);
      let offset = 0;
      for (const index of indices) {
        places[index].push({ file, offset });
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
      await readAt(place.file, place.offset, bytes);
      if (await sha256(bytes) === wanted) found = bytes.slice();
      else empty.push(place);
    }
    if (empty.length === 0) continue;
    if (found) write(empty, found);
    else missing.set(index, empty);
  }
  return missing;
}

/** Copies the missing chunks that the sources have. */
async function takeFrom({ description: { chunks }, sources, signal }: Assembling, missing: Map<number, Place[]>) {
  const sought = new Map(missing.keys().map((index) => [chunks[index].sha256, index]));
  for (const path of sources) {
    if (sought.size === 0) return;
    for await (const { sha256, bytes } of chunksOf(path, signal)) {
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
  const { description: { chunks }, layers, signal, onProgress } = work;
  const total = missing.keys().reduce((sum, index) => sum + layers[index].size, 0);
  if (total === 0) return 0;
  const engine = await openEngine();
  const turns = new Turns(AT_ONCE);
  const end = new AbortController(); // one failure ends the others
  const either = AbortSignal.any([signal, end.signal]);
  let moved = 0;
  onProgress(0, total);
  const fetching = missing.entries().map(([index, places]) =>
    turns.run(async () => {
      either.throwIfAborted();
      const content = decompress(engine, await work.fetch(layers[index]), chunks[index].length);
      if (await sha256(content) !== chunks[index].sha256) throw unlike();
      either.throwIfAborted();
      write(places, content);
      moved += layers[index].size;
      onProgress(moved, total);
    }, either).catch((error) => {
      end.abort(error);
      throw error;
    })
  ).toArray();
  await Promise.allSettled(fetching);
  signal.throwIfAborted();
  end.signal.throwIfAborted();
  return moved;
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
