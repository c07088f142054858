/** Gets the image of a release by the index of its chunks: only what is not on this machine. */

import { HostError, messageOf } from "../base/error.ts";
import { removeIfThere } from "../base/files.ts";
import { readAt } from "../base/io.ts";
import { assemble, TooMuch } from "../oci/assemble.ts";
import { type AssetIndex, LONGEST_INDEX, parseAssetIndex } from "../oci/asset_index.ts";
import { packsOf } from "../oci/chunk_sources.ts";
import { type Download, WrongContent } from "../release/options.ts";
import type { Range } from "../release/part_file.ts";
import { NoRanges, RangeReader } from "../release/ranges.ts";
import type { Arch } from "../vm/arch.ts";
import type { Emulator } from "../instance/emulator.ts";
import { ownDirectory } from "../instance/home.ts";
import type { ImagePart } from "../instance/machine.ts";
import { madeFiles, sourcesIn } from "./chunks.ts";
import type { Image, ImageRecord } from "./image.ts";
import type { NewFiles } from "./store.ts";

/** A file of a release, with what GitHub says of it. */
export type Published = Download & { size: number };

/** What a release has. */
export interface IndexedRelease {
  index: Published;
  /** The name that the disk has there, or would have. */
  disk: string;
  /** The parts that the profile names. */
  parts: ImagePart[];
  /** The files with these parts as a whole; absent if the release has none. */
  whole?: Partial<Record<ImagePart, Published>>;
  /** Any file of the release. */
  file(name: string): Published | undefined;
}

/** Where to work, and how to download a file as a whole. */
export interface PullingByIndex {
  /** A directory of its own, in which the next attempt goes on. */
  directory: string;
  existing: Image | undefined;
  /** Proves who built the image, by a file of the release. */
  prove(file: Published): Promise<ImageRecord["provenance"]>;
  fetchWhole(what: Download, to: string): Promise<{ path: string }>;
}

/** The image, how many bytes its chunks have in the release, how many were downloaded, and who built it. */
export interface PulledByIndex {
  files: NewFiles;
  size: number;
  moved: number;
  provenance: ImageRecord["provenance"];
}

/**
 * The image, put together from what is here and what must be fetched; `undefined` if the whole files are to be downloaded,
 * which is said. The index must have been checked against the digest that GitHub gives for it, so it has one.
 *
 * @throws {WrongContent} if what is published is wrong, and there are no whole files.
 * @throws {HotbootError} if something cannot be got.
 */
export async function pullByIndex(
  emulator: Emulator,
  release: IndexedRelease,
  work: PullingByIndex,
): Promise<PulledByIndex | undefined> {
  const { arch, report, signal } = emulator;
  const { index: what, whole } = release;
  await ownDirectory(work.directory);
  try {
    if (what.size > LONGEST_INDEX) {
      throw new WrongContent(`${what.name} is too long for an index: ask its publisher to push the image again`);
    }
    const provenance = await work.prove(what); // its digests are those of all chunks
    const { path } = await work.fetchWhole(what, work.directory);
    const index = parseIndex(await Deno.readFile(path), release, arch);
    const fault = staleness(index, release);
    if (fault !== undefined) {
      throw new WrongContent(`${what.name} is not of this build (${fault}): ask its publisher to upload all again`);
    }
    return { ...await assembleFrom(emulator, release, index, work), provenance };
  } catch (error) {
    signal.throwIfAborted();
    if (!whole) throw error;
    if (error instanceof TooMuch) report.detail(`the whole image is less to download: ${error.message}`);
    else if (error instanceof WrongContent || error instanceof HostError) {
      report.warn(`the whole image is downloaded, because ${error.message}`);
    } else throw error;
    await removeIfThere(work.directory);
    return undefined;
  }
}

function parseIndex(bytes: Uint8Array, { disk, index: { name } }: IndexedRelease, arch: Arch): AssetIndex {
  try {
    return parseAssetIndex(bytes, disk, arch);
  } catch (error) {
    throw new WrongContent(`${name}: ${messageOf(error)}`);
  }
}

/** What shows that an index belongs to another build than the release's other files: each was uploaded by itself. */
function staleness({ description: { files }, packs, whole }: AssetIndex, release: IndexedRelease): string | undefined {
  const described = Object.keys(files).toSorted().join(", ");
  const wanted = release.parts.toSorted().join(", ");
  if (described !== wanted) return `it has ${described}, and the profile names ${wanted}`;
  for (const { name, size, sha256 } of packs) {
    const file = release.file(name);
    if (file?.size !== size || file.sha256 !== sha256) return `${name} is ${file ? "another" : "missing"}`;
  }
  for (const [part, file] of Object.entries(release.whole ?? {}) as [ImagePart, Published][]) {
    const { sha256 } = part === "disk" ? whole : files[part]!;
    if (file.sha256 !== sha256) return `${file.name} is another`;
  }
  return undefined;
}

async function assembleFrom(
  emulator: Emulator,
  release: IndexedRelease,
  { description, packs, frames }: AssetIndex,
  { directory, existing, fetchWhole }: PullingByIndex,
): Promise<Omit<PulledByIndex, "provenance">> {
  const { report, signal } = emulator;
  const readers = packs.map(({ name }) =>
    new PackReader(release.file(name)!, {
      signal,
      warn: report.warn,
      fetchWhole: (what) => fetchWhole(what, directory),
    })
  );
  const sumOf = (files: { size: number }[]) => files.reduce((sum, { size }) => sum + size, 0);
  const { paths } = await assemble({
    description,
    from: packsOf(frames, (pack, range) => readers[pack].read(range)),
    directory,
    sources: existing ? await sourcesIn(emulator, existing, directory) : [],
    ...(release.whole && { most: sumOf(Object.values(release.whole)) }),
    signal,
    onProgress: (done, total) => report.progress("chunks", done, total),
  });
  const moved = readers.reduce((sum, reader) => sum + reader.moved, release.index.size);
  return { files: madeFiles(paths, description), size: sumOf(frames), moved };
}

/** How to read a pack. */
interface Reading {
  signal: AbortSignal;
  warn(text: string): void;
  fetchWhole(what: Download): Promise<{ path: string }>;
}

/** Reads a pack: parts of it where the server sends those, else all of it. */
class PackReader {
  /** How many bytes have come. */
  moved = 0;
  #file: Published;
  #reader: RangeReader;
  #reading: Reading;
  #whole?: Promise<string>;

  constructor(file: Published, reading: Reading) {
    this.#file = file;
    this.#reading = reading;
    this.#reader = new RangeReader(file, reading);
  }

  async read(range: Range): Promise<Uint8Array> {
    if (this.#whole === undefined) {
      try {
        const bytes = await this.#reader.read(range);
        this.moved += bytes.length;
        return bytes;
      } catch (error) {
        if (!(error instanceof NoRanges)) throw error;
        this.#whole ??= this.#fetchAll(error);
      }
    }
    using file = await Deno.open(await this.#whole);
    const bytes = new Uint8Array(range.end - range.start);
    await readAt(file, range.start, bytes);
    return bytes;
  }

  async #fetchAll({ message }: NoRanges): Promise<string> {
    this.#reading.warn(`${message}, so all of it is downloaded`);
    const { path } = await this.#reading.fetchWhole(this.#file);
    this.moved += this.#file.size;
    return path;
  }
}
