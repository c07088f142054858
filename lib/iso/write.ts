/**
 * Writing ISO 9660 images: of any size, in constant memory, with Joliet and Rock Ridge.
 *
 * @module
 */

import { cannotRead, knownSize, openContent } from "./content.ts";
import { SECTOR, sectorsFor } from "./ecma119.ts";
import { type IsoEntry, IsoError, type IsoFileEntry, type IsoOptions } from "./entry.ts";
import { type Layout, layOut } from "./layout.ts";
import { type FileNode, pathOf, TreeBuilder } from "./tree.ts";
import { replaceFile } from "../base/files.ts";
import { writeAll } from "../base/io.ts";
import { quoted } from "../base/printable.ts";

const LONGEST_LABEL = 32;
/** One piece of an image: large enough that a system call is cheap, small enough to have a few at a time. */
const CHUNK = 1024 * 1024;

/**
 * An image as a stream.
 *
 * Needs read permission for the files that entries name by path.
 *
 * @param entries Files, directories and symbolic links, taken one by one; directories above them are made.
 * @param options The label, the views, the date.
 * @returns The image's bytes, a multiple of 2048. Files are read on demand.
 * @throws {IsoError} (through the stream) with the entry that cannot be stored, or whose size differs from the stated
 * one.
 * @throws The reason of the options' signal (through the stream), if it aborts.
 *
 * @example A config disk
 * ```ts
 * import { createIso } from "@hotboot/hotboot";
 *
 * await Deno.writeTextFile("user-data.yaml", "#cloud-config\n");
 * const image = createIso([
 *   { kind: "file", path: "meta-data", content: new TextEncoder().encode("instance-id: one\n") },
 *   { kind: "file", path: "user-data", content: { path: "user-data.yaml" } },
 * ], { label: "cidata" });
 * await Deno.writeFile("seed.iso", image);
 * ```
 */
export function createIso(
  entries: Iterable<IsoEntry> | AsyncIterable<IsoEntry>,
  options: IsoOptions = {},
): ReadableStream<Uint8Array> {
  const chunks = async function* () {
    yield* imageChunks(await prepare(entries, options), () => new Uint8Array(CHUNK), options.signal);
  };
  return ReadableStream.from(chunks());
}

/**
 * Writes an image to a file. An existing image is replaced, or stays unchanged if anything fails.
 *
 * Needs write permission for the file's directory, and read permission for the file and those that entries name by path.
 *
 * @param path The image's path.
 * @param entries Files, directories and symbolic links, taken one by one; directories above them are made.
 * @param options The label, the views, the date.
 * @returns The image's size in bytes.
 * @throws {IsoError} with the entry that cannot be stored, or whose size differs from the stated one.
 * @throws The reason of the options' signal, if it aborts.
 *
 * @example
 * ```ts
 * import { writeIso } from "@hotboot/hotboot";
 * import { assertEquals } from "@std/assert";
 *
 * const path = await Deno.makeTempFile({ suffix: ".iso" });
 * const size = await writeIso(path, [{ kind: "file", path: "hello", content: new Uint8Array(5) }], { label: "HELLO" });
 * assertEquals(size, (await Deno.stat(path)).size);
 * ```
 */
export async function writeIso(
  path: string,
  entries: Iterable<IsoEntry> | AsyncIterable<IsoEntry>,
  options: IsoOptions = {},
): Promise<number> {
  const layout = await prepare(entries, options);
  await replaceFile(path, async (file) => {
    // While one piece is written the next one is read, in turn into two buffers.
    const buffers = [new Uint8Array(CHUNK), new Uint8Array(CHUNK)];
    let turn = 0;
    let written: Promise<void> = Promise.resolve();
    try {
      for await (const chunk of imageChunks(layout, () => buffers[turn++ % 2], options.signal)) {
        await written;
        written = writeAll(file, chunk);
        written.catch(() => {}); // awaited below, or the reason is another
      }
    } finally {
      await written;
    }
  }, { mode: 0o666, failure: IsoError });
  return layout.sectors * SECTOR;
}

/**
 * Lays out the image, having asked for the sizes that are not known.
 *
 * @throws {IsoError} naming what cannot be stored.
 */
async function prepare(entries: Iterable<IsoEntry> | AsyncIterable<IsoEntry>, options: IsoOptions): Promise<Layout> {
  const { label = "" } = options;
  const length = new TextEncoder().encode(label).length;
  if (length > LONGEST_LABEL) {
    throw new IsoError(`the label '${label}' has ${length} bytes: use ${LONGEST_LABEL} at most`);
  }
  const dated = { date: new Date(), ...options };
  const tree = new TreeBuilder(dated);
  for await (const entry of entries) {
    options.signal?.throwIfAborted();
    tree.add(entry, entry.kind === "file" ? knownSize(entry.content) ?? await sizeOnDisk(entry) : undefined);
  }
  return layOut(tree.finish(), dated);
}

async function sizeOnDisk({ path, content }: IsoFileEntry): Promise<number> {
  const file = (content as { path: string }).path;
  const stat = await Deno.stat(file).catch((error) => {
    throw cannotRead(path, error);
  });
  if (!stat.isFile) throw new IsoError(`${quoted(path)}: ${quoted(file)} is not a file: name a file`);
  return stat.size;
}

/**
 * The image in pieces of at most one buffer.
 *
 * @param buffer Gives the buffer for the next piece, which may be the one before the last.
 */
async function* imageChunks(
  layout: Layout,
  buffer: () => Uint8Array,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array> {
  let chunk = buffer();
  let used = 0;
  for (const piece of layout.head()) {
    signal?.throwIfAborted();
    for (let at = 0; at < piece.length;) {
      const part = piece.subarray(at, at + chunk.length - used);
      chunk.set(part, used);
      at += part.length;
      used += part.length;
      if (used < chunk.length) continue;
      yield chunk;
      [chunk, used] = [buffer(), 0];
    }
  }
  for (const node of layout.files) {
    signal?.throwIfAborted();
    const reader = await openContent(node, signal);
    try {
      for (let left = node.size; left > 0;) {
        signal?.throwIfAborted();
        const direct = reader.read(chunk.subarray(used, used + left + 1)); // one more, to see whether there is more
        const got = typeof direct === "object" && direct !== null ? await direct : direct;
        if (got === null) throw changed(node, node.size - left);
        if (got > left) throw changed(node);
        left -= got;
        used += got;
        if (used < chunk.length) continue;
        yield chunk;
        [chunk, used] = [buffer(), 0];
      }
      if (!reader.isAtEnd && await reader.read(new Uint8Array(1)) !== null) throw changed(node);
    } finally {
      await reader.close();
    }
    const end = sectorsFor(used) * SECTOR; // a chunk is whole sectors, so this is within it
    chunk.fill(0, used, end);
    used = end;
    if (used < chunk.length) continue;
    yield chunk;
    [chunk, used] = [buffer(), 0];
  }
  if (used > 0) yield chunk.subarray(0, used);
}

function changed(node: FileNode, got?: number): IsoError {
  const what = got === undefined ? "more" : `only ${got}`;
  return new IsoError(
    `${quoted(pathOf(node))}: it should have ${node.size} bytes but has ${what}: try again when it no longer changes`,
  );
}
