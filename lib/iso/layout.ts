/**
 * Where everything in an image goes, and the bytes of all that is not files' content.
 *
 * The order is: system area, volume descriptors, path tables, directories, files. Rock Ridge's continuation areas come
 * right behind the directory that they belong to, where readers that cannot seek back (libarchive) look for them.
 */

import {
  type DirectoryRecord,
  FLAG_DIRECTORY,
  FLAG_MULTI_EXTENT,
  identifierLength,
  PARENT,
  pathTable,
  pathTableSize,
  recordLength,
  SECTOR,
  sectorsFor,
  SELF,
  SYSTEM_AREA_SECTORS,
  terminator,
  volumeDescriptor,
  writeRecord,
} from "./ecma119.ts";
import { type IsoContent, IsoError, type IsoOptions } from "./entry.ts";
import { isoIdentifiers, jolietNames } from "./names.ts";
import { type Continuation, referenceSystemUse, setContinuation, type SystemUse, systemUseOf } from "./rock_ridge.ts";
import type { DirectoryNode, FileNode, Node } from "./tree.ts";

/** A file section's largest size that is whole sectors (6.5.1: the size is a 32-bit number of bytes). */
const LONGEST_SECTION = 2 ** 32 - SECTOR;
const LONGEST_RECORD = 254;
const MOST_DIRECTORIES = 0xffff; // a path table's parent numbers are 16-bit
const MOST_SECTORS = 2 ** 32 - 1;

/** An image, ready to be written. */
export interface Layout {
  /** All but the files, in order; made as it is taken. */
  head(): Generator<Uint8Array>;
  /** The files, in the order of their extents. */
  files: FileNode[];
  /** The whole image, in sectors. */
  sectors: number;
  /** The largest of the views' root directories, in bytes. */
  rootSize: number;
}

/** A directory's place in one view. */
interface Place {
  node: DirectoryNode;
  identifier: string;
  /** Its number in the path table, from 1. */
  number: number;
  /** Bytes of its records, up to the end of the last one. */
  size: number;
  extent: number;
  /** How many sectors of continuations are behind it. */
  continuations: number;
}

interface PlannedRecord {
  identifier: string;
  node: Node;
  systemUse?: SystemUse;
}

/** One of the image's hierarchies. */
interface View {
  joliet: boolean;
  places: Place[];
  placeOf: Map<DirectoryNode, Place>;
  /** A directory's records, made when they are wanted: all at once, they would be most of the memory. */
  recordsOf: (node: DirectoryNode) => PlannedRecord[];
}

/**
 * Lays out the image of a tree.
 *
 * @throws {IsoError} when it is too large for the format.
 */
export function layOut(root: DirectoryNode, options: IsoOptions): Layout {
  const { joliet = true, rockRidge = true } = options;
  const date = options.date ?? new Date();
  const found: FileNode[] = [];
  const views = [isoView(root, rockRidge, found), ...(joliet ? [jolietView(root, options)] : [])];

  let next = SYSTEM_AREA_SECTORS + views.length + 1;
  const tables = views.map(({ places, joliet }) => {
    const size = pathTableSize(places, joliet);
    const little = next;
    next += 2 * sectorsFor(size);
    return { size, sectors: [little, little + sectorsFor(size)] as [number, number] };
  });
  for (const { places } of views) {
    for (const place of places) {
      place.extent = next;
      next += sectorsFor(place.size) + place.continuations;
    }
  }
  const files: FileNode[] = [];
  const linked = new Map<IsoContent, FileNode>();
  for (const node of found) {
    if ("linked" in node.content && node.content.linked) {
      const first = linked.get(node.content);
      node.extent = first?.extent ?? 0;
      if (first) continue;
      linked.set(node.content, node);
    }
    files.push(node); // an empty one too: it is read, to see that it is
    if (node.size === 0) continue;
    node.extent = next;
    next += sectorsFor(node.size);
  }
  if (next > MOST_SECTORS) {
    throw new IsoError(`the image has ${next} sectors, more than the format's ${MOST_SECTORS}: leave out some files`);
  }

  const descriptors = views.map((view, index) =>
    volumeDescriptor({
      label: options.label ?? "",
      joliet: view.joliet,
      sectors: next,
      pathTableSize: tables[index].size,
      pathTables: tables[index].sectors,
      root: { extent: view.places[0].extent, size: sectorsFor(view.places[0].size) * SECTOR },
      date,
    })
  );
  function* head() {
    yield new Uint8Array(SYSTEM_AREA_SECTORS * SECTOR);
    yield* descriptors;
    yield terminator();
    for (const { places, placeOf, joliet } of views) {
      const entries = places.map(({ node, identifier, extent }) => (
        { identifier, extent, parent: placeOf.get(node.parent)!.number }
      ));
      for (const littleEndian of [true, false]) yield padded(pathTable(entries, joliet, littleEndian));
    }
    for (const view of views) {
      for (const place of view.places) yield* directoryBytes(place, view);
    }
  }
  return { head, files, sectors: next, rootSize: Math.max(...views.map(({ places }) => places[0].size)) };
}

/** @param found Receives the files, in the order of their records. */
function isoView(root: DirectoryNode, rockRidge: boolean, found: FileNode[]): View {
  const recordsOf = (node: DirectoryNode) => {
    const identifiers = isoIdentifiers(node);
    const reference = (identifier: string, to: DirectoryNode, isRootItself: boolean): PlannedRecord => ({
      identifier,
      node: to,
      ...(rockRidge && { systemUse: referenceSystemUse(to, isRootItself, LONGEST_RECORD - recordLength(1)) }),
    });
    const records = [reference(SELF, node, node === root), reference(PARENT, node.parent, false)];
    for (const [child, name] of [...identifiers].sort(([, a], [, b]) => compareIso(a, b))) {
      const systemUse = rockRidge ? systemUseOf(child, LONGEST_RECORD - recordLength(name.length)) : undefined;
      records.push({ identifier: name, node: child, systemUse });
    }
    return records;
  };
  return hierarchy(root, false, recordsOf, recordsOf, found);
}

function jolietView(root: DirectoryNode, { onWarning = () => {} }: IsoOptions): View {
  const recordsOf = (node: DirectoryNode, warn: (message: string) => void = () => {}) => {
    const sorted = [...jolietNames(node, warn)].sort(([, a], [, b]) => (a < b ? -1 : 1));
    return [
      { identifier: SELF, node },
      { identifier: PARENT, node: node.parent },
      ...sorted.map(([child, name]) => ({ identifier: name, node: child })),
    ];
  };
  return hierarchy(root, true, recordsOf, (node) => recordsOf(node, onWarning));
}

/**
 * All directories in a path table's order (6.9.1): by level, then by the parent's number, then by identifier. The
 * records of each come in that order already, so it is enough to go through them level by level.
 */
function hierarchy(
  root: DirectoryNode,
  joliet: boolean,
  recordsOf: (node: DirectoryNode) => PlannedRecord[],
  firstRecordsOf: (node: DirectoryNode) => PlannedRecord[],
  found: FileNode[] = [],
): View {
  const places: Place[] = [];
  const add = (node: DirectoryNode, identifier: string) =>
    places.push({ node, identifier, number: places.length + 1, size: 0, extent: 0, continuations: 0 });
  add(root, SELF);
  for (let at = 0; at < places.length; at++) {
    const records = firstRecordsOf(places[at].node);
    places[at].size = placeRecords(records, joliet);
    places[at].continuations = placeContinuations(records, 0).length;
    for (const { identifier, node } of records.slice(2)) {
      if (node.kind === "directory") add(node, identifier);
      else if (node.kind === "file") found.push(node);
    }
  }
  if (places.length > MOST_DIRECTORIES) {
    throw new IsoError(
      `there are ${places.length} directories, but the format has room for ${MOST_DIRECTORIES}: leave out some`,
    );
  }
  return { joliet, places, placeOf: new Map(places.map((each) => [each.node, each])), recordsOf };
}

/**
 * Records by name, then by extension, each as if padded with spaces to the same length (9.3). The space and the dot are
 * below every character that a name may have, so it is the same as comparing what is before the version.
 */
function compareIso(a: string, b: string): number {
  const [nameA, nameB] = [a.replace(/;1$/, ""), b.replace(/;1$/, "")];
  return nameA < nameB ? -1 : nameA > nameB ? 1 : 0;
}

/** One of the records of a node, which are more than one where a file needs several sections (6.5.1). */
function sectionOf(record: PlannedRecord, section: number, placeOf: Map<DirectoryNode, Place>): DirectoryRecord {
  const { identifier, node } = record;
  let [extent, size, flags] = [0, 0, 0]; // a symbolic link's
  if (node.kind === "directory") {
    const place = placeOf.get(node)!;
    [extent, size, flags] = [place.extent, sectorsFor(place.size) * SECTOR, FLAG_DIRECTORY];
  } else if (node.kind === "file") {
    const left = node.size - section * LONGEST_SECTION;
    extent = node.extent + section * (LONGEST_SECTION / SECTOR);
    [size, flags] = left > LONGEST_SECTION ? [LONGEST_SECTION, FLAG_MULTI_EXTENT] : [left, 0];
  }
  return { identifier, extent, size, flags, date: new Date(1000 * node.mtime), systemUse: record.systemUse?.bytes };
}

/**
 * Goes through the places of a directory's records, none of which straddles a sector (6.8.1.1).
 *
 * @returns The end of the last one.
 */
function placeRecords(
  records: PlannedRecord[],
  joliet: boolean,
  visit: (record: PlannedRecord, section: number, offset: number) => void = () => {},
): number {
  let end = 0;
  for (const record of records) {
    const { identifier, node, systemUse } = record;
    const length = recordLength(identifierLength(identifier, joliet), systemUse?.bytes.length);
    const sections = node.kind === "file" ? Math.max(1, Math.ceil(node.size / LONGEST_SECTION)) : 1;
    for (let section = 0; section < sections; section++) {
      if ((end % SECTOR) + length > SECTOR) end = sectorsFor(end) * SECTOR;
      visit(record, section, end);
      end += length;
    }
  }
  return end;
}

/** A directory's records, and the continuations behind it. */
function directoryBytes({ node, size, extent }: Place, { joliet, placeOf, recordsOf }: View): Uint8Array[] {
  const records = recordsOf(node);
  const bytes = new Uint8Array(sectorsFor(size) * SECTOR);
  const continuations = placeContinuations(records, extent + bytes.length / SECTOR);
  placeRecords(records, joliet, (record, section, offset) => {
    writeRecord(bytes, offset, sectionOf(record, section, placeOf), joliet);
  });
  return [bytes, ...continuations];
}

/** Packs a directory's continuations into sectors, none over an edge, and tells each record where its own is. */
function placeContinuations(records: PlannedRecord[], firstSector: number): Uint8Array[] {
  const placed: { continuation: Continuation; sector: number; offset: number }[] = [];
  let sector = -1;
  let end = SECTOR;
  for (const { systemUse } of records) {
    for (let continuation = systemUse?.continuation; continuation; continuation = continuation.next) {
      if (end + continuation.bytes.length > SECTOR) [sector, end] = [sector + 1, 0];
      placed.push({ continuation, sector, offset: end });
      setContinuation(continuation, firstSector + sector, end);
      end += continuation.bytes.length;
    }
  }
  const sectors = Array.from({ length: sector + 1 }, () => new Uint8Array(SECTOR));
  for (const { continuation, sector, offset } of placed) sectors[sector].set(continuation.bytes, offset);
  return sectors;
}

function padded(bytes: Uint8Array): Uint8Array {
  const whole = new Uint8Array(sectorsFor(bytes.length) * SECTOR);
  whole.set(bytes);
  return whole;
}
