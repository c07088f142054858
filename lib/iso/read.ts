/**
 * Reading ISO 9660 images: our own, other tools', and hostile ones, which give an error and never more work than their
 * size justifies.
 *
 * @module
 */

import { toBytes } from "@std/streams/to-bytes";
import { FLAG_ASSOCIATED, FLAG_DIRECTORY, FLAG_MULTI_EXTENT, SECTOR, SYSTEM_AREA_SECTORS } from "./ecma119.ts";
import { quoted } from "../base/printable.ts";
import { badImage, IsoError, shown } from "./entry.ts";
import { CE_LENGTH, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from "./rock_ridge.ts";
import {
  decodeName,
  type DirectoryRecord,
  directoryRecords,
  type Extent,
  isReference,
  latin1,
  parseRecord,
  rootExtent,
  utf16,
} from "./records.ts";
import { bytesSource, fileSource, type IsoSource, readBytes, requireWithin } from "./source.ts";
import { readRockRidge, type RockRidge, suspSkip } from "./susp.ts";
import { udfWarning } from "./udf.ts";
import { inflateFile } from "./zisofs.ts";

/** One of an image's hierarchies of names. */
export type IsoViewName = "rock-ridge" | "joliet" | "iso9660";

/** Something in an image. */
export interface IsoNode {
  /** Names joined by `/`, without one at the start. */
  path: string;
  /** Its kind; `other` is a device, a pipe or a socket, which has no content. */
  kind: "file" | "directory" | "symlink" | "other";
  /** Bytes; 0 but for files. */
  size: number;
  /** When it was last changed, if known. */
  mtime?: Date;
  /** POSIX permission bits, if the view has them. */
  mode?: number;
  /** The owner, if the view has it. */
  uid?: number;
  /** The group, if the view has it. */
  gid?: number;
  /** What a symbolic link points to. */
  target?: string;
  /** Where the content is: sections of the image, in order, as byte offsets and sizes. */
  sections: { offset: number; size: number }[];
  /** Whether it is compressed there (zisofs). {@linkcode IsoImage.open} and the size are of the uncompressed content. */
  isCompressed?: boolean;
}

/** How to read an image. */
export interface IsoReadOptions {
  /** Called for what cannot be read though the image has it: a damaged attribute, or all that is only in a UDF file system. */
  onWarning?: (message: string) => void;
}

/** What one going through an image has used of it. */
interface Walk {
  /** The sectors of directories that were read: none belongs to two, so a circle ends at once. */
  seen: Set<number>;
  /** The bytes of continuation areas and of what names them, of which no two entries have the same. */
  continued: number;
}

const MOST_DESCRIPTORS = 64;
/** Linux has no longer paths than 4096 bytes; without a limit, paths alone could fill the memory. */
const DEEPEST = 256;
const LONGEST_PATH = 4096;
const NO_ROCK_RIDGE: RockRidge = {};
const READ_CHUNK = 1024 * 1024;
/** What mkisofs(1) and xorriso(1) call the directory to which they move those that are too deep. */
const RELOCATED = /^rr_moved$/i;

/**
 * An image that can be read; {@linkcode readIso} opens one.
 *
 * Needs no permissions beyond those of the opening.
 *
 * @example
 * ```ts
 * import { buildIso, readIso } from "@hotboot/hotboot";
 * import { assertEquals } from "@std/assert";
 *
 * using image = await readIso(buildIso("LABEL", [{ name: "a.txt", data: new TextEncoder().encode("hello") }]));
 * assertEquals(image.views, ["joliet", "iso9660"]);
 * for await (const node of image.entries("iso9660")) {
 *   assertEquals([node.path, new TextDecoder().decode(await image.bytes(node))], ["A.TXT", "hello"]);
 * }
 * ```
 */
export class IsoImage implements Disposable {
  /** The volume identifier: Joliet's where it has more to say than ISO 9660's own. */
  readonly label: string;
  /** The hierarchies that the image has, the richest first. */
  readonly views: IsoViewName[];
  #source: IsoSource;
  #roots: { iso9660: Extent; joliet?: Extent };
  #skip: number;
  #onWarning: (message: string) => void;

  /** For {@linkcode readIso}. */
  constructor(
    source: IsoSource,
    label: string,
    roots: { iso9660: Extent; joliet?: Extent },
    skip: number | undefined,
    { onWarning = () => {} }: IsoReadOptions = {},
  ) {
    this.#source = source;
    this.label = label;
    this.#roots = roots;
    this.#skip = skip ?? 0;
    this.#onWarning = onWarning;
    this.views = [
      ...(skip !== undefined ? ["rock-ridge" as const] : []),
      ...(roots.joliet ? ["joliet" as const] : []),
      "iso9660",
    ];
  }

  /**
   * Everything in the image, each directory before its contents.
   *
   * @param view Which names and attributes to use; the richest by default.
   * @throws {IsoError} if the image does not have that view, or is damaged.
   */
  async *entries(view: IsoViewName = this.views[0]): AsyncGenerator<IsoNode> {
    if (!this.views.includes(view)) {
      throw new IsoError(`the image has no ${view} view: choose ${this.views.join(" or ")}`);
    }
    const walk: Walk = { seen: new Set(), continued: 0 };
    const root = view === "joliet" ? this.#roots.joliet! : this.#roots.iso9660;
    const pending = [{ path: "", depth: 1, ...root }];
    for (let directory; (directory = pending.pop());) {
      const below: typeof pending = [];
      for await (const { node, place } of this.#children(directory.path, directory, view, walk)) {
        if (node.kind === "directory") {
          if (directory.depth >= DEEPEST) {
            throw badImage(`${shown(node.path)}: it is more than ${DEEPEST} levels deep`);
          }
          below.push({ path: node.path, depth: directory.depth + 1, ...place });
        }
        yield node;
      }
      pending.push(...below.reverse());
    }
  }

  /**
   * A file's content, read on demand.
   *
   * @param node A file from {@linkcode entries}.
   * @throws {IsoError} (through the stream) if the image ends too early, or compressed content is damaged.
   */
  open(node: IsoNode): ReadableStream<Uint8Array> {
    const source = this.#source;
    if (node.isCompressed) {
      const [{ offset, size: stored }] = node.sections; // it is one: such a file has less than 4 GiB
      const read = (at: number, into: Uint8Array) => source.read(offset + at, into);
      return ReadableStream.from(inflateFile({ path: node.path, size: node.size, stored, read }));
    }
    const chunks = async function* () {
      for (const { offset, size } of node.sections) {
        for (let at = 0; at < size;) {
          const chunk = new Uint8Array(Math.min(READ_CHUNK, size - at));
          await source.read(offset + at, chunk);
          yield chunk;
          at += chunk.length;
        }
      }
    };
    return ReadableStream.from(chunks());
  }

  /**
   * A file's whole content, in memory.
   *
   * @param node A file from {@linkcode entries}.
   * @throws {IsoError} if the image ends too early, or compressed content is damaged.
   */
  async bytes(node: IsoNode): Promise<Uint8Array> {
    return await toBytes(this.open(node));
  }

  /** Closes the image's file. */
  close(): void {
    this.#source.close();
  }

  /** The same as {@linkcode close}, for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** What is in one directory, with the sections of a file put together. */
  async *#children(
    path: string,
    place: Extent,
    view: IsoViewName,
    walk: Walk,
  ): AsyncGenerator<{ node: IsoNode; place: Extent }> {
    let unfinished: IsoNode | undefined;
    for await (const record of directoryRecords(this.#source, path, place, walk.seen)) {
      const { identifier } = record;
      if (isReference(record)) continue;
      if (record.flags & FLAG_ASSOCIATED) continue; // a Macintosh file's resource fork, under the file's own name
      const rockRidge = view === "rock-ridge" ? await this.#rockRidge(path, record, walk) : NO_ROCK_RIDGE;
      const own = rockRidge.name ?? decodeName(identifier, view === "joliet");
      const full = path === "" ? own : `${path}/${own}`;
      if (unfinished && unfinished.path !== full) break;
      if (own === "" || own === "." || own === ".." || /[/\0]/.test(own)) {
        throw badImage(`${shown(full)}: this is not a valid name`);
      }
      if (full.length > LONGEST_PATH) throw badImage(`${shown(path)}: below it are paths that are too long`);
      if (rockRidge.flaw) this.#onWarning(`${quoted(full)}: ${rockRidge.flaw}`);
      if (rockRidge.isRelocated) continue; // it is seen where its child link is
      const isDirectory = (record.flags & FLAG_DIRECTORY) !== 0 || rockRidge.childLink !== undefined;
      if (isDirectory) {
        const at = rockRidge.childLink === undefined ? record : await this.#relocated(full, rockRidge.childLink);
        if (RELOCATED.test(full) && await this.#holdsOnlyRelocated(full, at)) continue;
        yield { node: describe(full, "directory", record, rockRidge), place: at };
        continue;
      }
      const section = { offset: record.sector * SECTOR, size: record.size };
      if (section.size > 0) requireWithin(this.#source, full, section.offset, section.size);
      const node = unfinished?.path === full ? unfinished : describe(full, fileKind(rockRidge), record, rockRidge);
      if (node.kind === "file" && section.size > 0) {
        node.sections.push(section);
        node.size += section.size;
      }
      unfinished = record.flags & FLAG_MULTI_EXTENT ? node : undefined;
      if (unfinished) continue;
      if (rockRidge.inflatedSize !== undefined && node.sections.length === 1) {
        [node.isCompressed, node.size] = [true, rockRidge.inflatedSize];
      }
      yield { node, place: record };
    }
    if (unfinished) throw badImage(`${shown(unfinished.path)}: its last section is missing`);
  }

  #rockRidge(path: string, { systemUse }: DirectoryRecord, walk: Walk): Promise<RockRidge> {
    const fail = (why: string): never => {
      throw badImage(`an entry in ${shown(path || "/")}: ${why}`);
    };
    return readRockRidge(systemUse.subarray(this.#skip), SECTOR, (offset, length) => {
      requireWithin(this.#source, path || "/", offset, length);
      walk.continued += CE_LENGTH + length;
      if (walk.continued > this.#source.size) fail("all Rock Ridge continuation areas are more than the image");
      return readBytes(this.#source, offset, length);
    }, fail);
  }

  /** Whether a directory is there only for those that were moved into it, which are seen elsewhere. */
  async #holdsOnlyRelocated(path: string, place: Extent): Promise<boolean> {
    let count = 0;
    for await (const record of directoryRecords(this.#source, path, place, new Set())) {
      if (isReference(record)) continue;
      const { isRelocated } = await this.#rockRidge(path, record, { seen: new Set(), continued: 0 });
      if (!isRelocated) return false;
      count++;
    }
    return count > 0;
  }

  /** A relocated directory's place: its size stands in its own first record. */
  async #relocated(path: string, sector: number): Promise<Extent> {
    requireWithin(this.#source, path, sector * SECTOR, SECTOR);
    const first = parseRecord(await readBytes(this.#source, sector * SECTOR, SECTOR), 0, path);
    return { sector, size: first.size };
  }
}

/**
 * Opens an image.
 *
 * Needs read permission for the image, if it is a file.
 *
 * @param source The image's path, its bytes, or something that reads them.
 * @param options Who is told what cannot be read.
 * @returns The image; close it, for example with `using`.
 * @throws {IsoError} if it cannot be read, is not an ISO 9660 image, or its descriptors are damaged.
 *
 * @example
 * ```ts
 * import { readIso, writeIso } from "@hotboot/hotboot";
 * import { assertEquals } from "@std/assert";
 *
 * const path = await Deno.makeTempFile({ suffix: ".iso" });
 * await writeIso(path, [{ kind: "symlink", path: "link", target: "/etc/hostname" }], { label: "LINKS" });
 * using image = await readIso(path);
 * const [{ kind, target }] = await Array.fromAsync(image.entries());
 * assertEquals([image.label, kind, target], ["LINKS", "symlink", "/etc/hostname"]);
 * ```
 */
export async function readIso(
  source: string | Uint8Array | IsoSource,
  options: IsoReadOptions = {},
): Promise<IsoImage> {
  const opened = typeof source === "string"
    ? await fileSource(source)
    : source instanceof Uint8Array
    ? bytesSource(source)
    : source;
  try {
    return await readDescriptors(opened, options);
  } catch (error) {
    opened.close();
    throw error;
  }
}

async function readDescriptors(source: IsoSource, options: IsoReadOptions): Promise<IsoImage> {
  let primary: Uint8Array | undefined;
  let joliet: Uint8Array | undefined;
  let index = 0;
  for (; index < MOST_DESCRIPTORS; index++) {
    const offset = (SYSTEM_AREA_SECTORS + index) * SECTOR;
    const isThere = offset + SECTOR <= source.size;
    const bytes = isThere ? await readBytes(source, offset, SECTOR) : new Uint8Array(SECTOR);
    if (latin1(bytes.subarray(1, 6)) !== "CD001") {
      if (index === 0) {
        throw new IsoError("not an ISO 9660 image: there is no volume descriptor at byte 32768; name another file");
      }
      throw badImage(
        isThere ? "the volume descriptors have no end" : "the image ends within its volume descriptors",
      );
    }
    const type = bytes[0];
    if (type === 255) break;
    if (type === 1) primary ??= bytes;
    if (type === 2 && /^%\/[@CE]/.test(latin1(bytes.subarray(88, 91)))) joliet ??= bytes;
  }
  if (!primary) throw badImage("the image has no primary volume descriptor");
  for (const descriptor of [primary, joliet]) {
    const size = descriptor && new DataView(descriptor.buffer).getUint16(128, true);
    if (size !== undefined && size !== SECTOR) {
      throw new IsoError(`the image has logical blocks of ${size} bytes, not ${SECTOR}: make it again with ${SECTOR}`);
    }
  }

  const root = rootExtent(source, primary);
  const label = latin1(primary.subarray(40, 72)).replace(/[ \0]+$/, "");
  const wide = joliet && utf16(joliet.subarray(40, 72)).replace(/[ \0]+$/, "");
  // Joliet's has room for 16 characters only; it says more where it is not just ISO 9660's, cut.
  const isMore = wide !== undefined && wide !== "" && !label.startsWith(wide.toUpperCase()) && !label.startsWith(wide);
  let skip: number | undefined;
  for await (const record of directoryRecords(source, "", root, new Set())) {
    skip = suspSkip(record.systemUse);
    break;
  }
  const warning = await udfWarning(source, SYSTEM_AREA_SECTORS + index + 1, root);
  if (warning) options.onWarning?.(warning);
  return new IsoImage(
    source,
    isMore ? wide : label,
    { iso9660: root, ...(joliet && { joliet: rootExtent(source, joliet) }) },
    skip,
    options,
  );
}

function describe(path: string, kind: IsoNode["kind"], record: DirectoryRecord, rockRidge: RockRidge): IsoNode {
  const { mode, uid, gid, target } = rockRidge;
  const mtime = rockRidge.mtime ?? record.mtime;
  return {
    path,
    kind,
    size: 0,
    ...(mtime && { mtime }),
    ...(mode !== undefined && { mode: mode & 0o7777, uid, gid }),
    ...(kind === "symlink" && { target: target ?? "" }),
    sections: [],
  };
}

function fileKind({ mode = S_IFREG }: RockRidge): IsoNode["kind"] {
  const type = mode & S_IFMT;
  return type === S_IFLNK ? "symlink" : type === S_IFREG || type === S_IFDIR || type === 0 ? "file" : "other";
}
