/**
 * Directory records as bytes, taken apart. Nothing in them is trusted.
 *
 * Source: ECMA-119, by section numbers.
 */

import { parseRecordDate, SECTOR } from "./ecma119.ts";
import { badImage, IsoError, shown } from "./entry.ts";
import { type IsoSource, readBytes, requireWithin } from "./source.ts";
import { decodeText } from "./susp.ts";

/** Where a directory or a file is. */
export interface Extent {
  sector: number;
  size: number;
}

/** A directory record, taken apart (9.1). */
export interface DirectoryRecord extends Extent {
  identifier: Uint8Array;
  flags: number;
  mtime?: Date;
  systemUse: Uint8Array;
}

/** Whether it is the record by which a directory refers to itself or to its parent. */
export function isReference({ identifier }: DirectoryRecord): boolean {
  return identifier.length === 1 && identifier[0] <= 1;
}

/** The root directory, which a volume descriptor tells. */
export function rootExtent(source: IsoSource, descriptor: Uint8Array): Extent {
  const { sector, size } = parseRecord(descriptor, 156, "/");
  requireWithin(source, "/", sector * SECTOR, size);
  return { sector, size };
}

/** A directory's records, a sector at a time. */
export async function* directoryRecords(
  source: IsoSource,
  path: string,
  { sector, size }: Extent,
  seen: Set<number>,
): AsyncGenerator<DirectoryRecord> {
  const name = path || "/";
  requireWithin(source, name, sector * SECTOR, size);
  for (let at = 0; at < size; at += SECTOR) {
    const number = sector + at / SECTOR;
    if (seen.has(number)) {
      throw badImage(`${shown(name)}: sector ${number} belongs to two directories, or to a circle`);
    }
    seen.add(number);
    const bytes = await readBytes(source, number * SECTOR, Math.min(SECTOR, size - at));
    for (let offset = 0; offset < bytes.length && bytes[offset] !== 0; offset += bytes[offset]) {
      yield parseRecord(bytes, offset, name);
    }
  }
}

export function parseRecord(bytes: Uint8Array, offset: number, path: string): DirectoryRecord {
  const length = bytes[offset];
  const record = bytes.subarray(offset, offset + length);
  const identifierLength = record[32];
  const systemUseAt = 33 + identifierLength + (identifierLength % 2 === 0 ? 1 : 0);
  if (length < 34 || record.length < length || 33 + identifierLength > length || identifierLength === 0) {
    throw badImage(`${shown(path)}: a record in this directory has a wrong length`);
  }
  const view = new DataView(record.buffer, record.byteOffset, length);
  if (record[26] !== 0 || record[27] !== 0) {
    throw new IsoError(
      `${shown(path)}: it contains an interleaved file, which hotboot cannot read: make the image again without one`,
    );
  }
  return {
    identifier: record.subarray(33, 33 + identifierLength),
    sector: view.getUint32(2, true) + record[1], // behind the extended attributes
    size: view.getUint32(10, true),
    flags: record[25],
    mtime: parseRecordDate(record.subarray(18, 25)),
    systemUse: record.subarray(systemUseAt),
  };
}

/** A name without the version that it may end with (ECMA-119 7.5.1), and without the dot of an extension that is none. */
export function decodeName(identifier: Uint8Array, isJoliet: boolean): string {
  const text = isJoliet ? utf16(identifier) : decodeText(identifier); // UTF-8: `genisoimage -iso-level 4`
  const name = text.replace(/;\d+$/, "");
  return isJoliet ? name : name.replace(/\.$/, "");
}

export function latin1(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}

export function utf16(bytes: Uint8Array): string {
  return new TextDecoder("utf-16be").decode(bytes);
}
