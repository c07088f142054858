/**
 * The pieces of a volume: numbers, dates, descriptors and records, as bytes.
 *
 * Source: ECMA-119 (4th edition), by its section numbers; the Joliet specification.
 */

/** A logical sector, and here also a logical block (6.1.2, 6.2.2). */
export const SECTOR = 2048;
/** The sectors before the first volume descriptor, which are the system's (6.2.1). */
export const SYSTEM_AREA_SECTORS = 16;

/** The sectors that so many bytes take. */
export function sectorsFor(bytes: number): number {
  return Math.ceil(bytes / SECTOR);
}

/** File flags (9.1.6). */
export const FLAG_DIRECTORY = 0x02;
export const FLAG_ASSOCIATED = 0x04;
export const FLAG_MULTI_EXTENT = 0x80;

/** Identifiers of a directory itself and of its parent (7.6.2): one byte in every view. */
export const SELF = "\0";
export const PARENT = "\x01";

/** A 16-bit number in both byte orders (7.2.3). */
export function setBoth16(view: DataView, offset: number, value: number): void {
  view.setUint16(offset, value, true);
  view.setUint16(offset + 2, value);
}

/** A 32-bit number in both byte orders (7.3.3). */
export function setBoth32(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value, true);
  view.setUint32(offset + 4, value);
}

/** Writes the seven-byte date of directory records and Rock Ridge (9.1.5), in UTC. */
export function writeDate(bytes: Uint8Array, offset: number, date: Date): void {
  bytes[offset] = date.getUTCFullYear() - 1900;
  bytes[offset + 1] = date.getUTCMonth() + 1;
  bytes[offset + 2] = date.getUTCDate();
  bytes[offset + 3] = date.getUTCHours();
  bytes[offset + 4] = date.getUTCMinutes();
  bytes[offset + 5] = date.getUTCSeconds();
  bytes[offset + 6] = 0; // quarters of an hour from Greenwich
}

/** The date in a seven-byte field, or `undefined` where it holds none. */
export function parseRecordDate(bytes: Uint8Array): Date | undefined {
  const [year, month, day, hour, minute, second] = bytes;
  if (month === 0) return undefined;
  return new Date(Date.UTC(1900 + year, month - 1, day, hour, minute, second) - zoneMs(bytes[6]));
}

/** How far a date's zone is ahead of Greenwich (8.4.26.1: quarters of an hour, from -48 to 52); 0 where there is no such zone. */
export function zoneMs(byte: number): number {
  const quarters = (byte << 24) >> 24;
  return quarters < -48 || quarters > 52 ? 0 : quarters * 15 * 60_000;
}

/** The seventeen-byte date of volume descriptors (8.4.26.1), in UTC; none: "not specified". */
function volumeDate(date?: Date): Uint8Array {
  const digits = date ? date.toISOString().replaceAll(/[-:TZ.]/g, "").slice(0, 16) : "0".repeat(16);
  const bytes = new Uint8Array(17);
  bytes.set(new TextEncoder().encode(digits));
  return bytes;
}

/** How many bytes an identifier takes: two for each character in Joliet's UCS-2. */
export function identifierLength(text: string, wide: boolean): number {
  return wide && text !== SELF && text !== PARENT ? 2 * text.length : text.length;
}

/** Writes text: one byte for each character, and `_` for one beyond ASCII; or UCS-2, the high byte first. */
export function writeText(bytes: Uint8Array, offset: number, text: string, wide: boolean): void {
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (wide) {
      bytes[offset + 2 * at] = code >> 8;
      bytes[offset + 2 * at + 1] = code & 0xff;
    } else {
      bytes[offset + at] = code <= 0x7e ? code : 0x5f;
    }
  }
}

function writeIdentifier(bytes: Uint8Array, offset: number, text: string, wide: boolean): void {
  writeText(bytes, offset, text, wide && text !== SELF && text !== PARENT);
}

/** What a directory record says, but for the length of the record itself. */
export interface DirectoryRecord {
  identifier: string;
  extent: number;
  size: number;
  date: Date;
  flags: number;
  /** What follows the identifier: Rock Ridge's fields (9.1.13). */
  systemUse?: Uint8Array;
}

/** How long the record is with an identifier and system use of these lengths (9.1.1); always even. */
export function recordLength(identifierLength: number, systemUseLength = 0): number {
  const length = 33 + identifierLength + (identifierLength % 2 === 0 ? 1 : 0) + systemUseLength;
  return length + (length % 2);
}

/** Writes a directory record (9.1). */
export function writeRecord(bytes: Uint8Array, offset: number, record: DirectoryRecord, wide: boolean): void {
  const { identifier, systemUse } = record;
  const idLength = identifierLength(identifier, wide);
  const length = recordLength(idLength, systemUse?.length);
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, length);
  view.setUint8(0, length);
  setBoth32(view, 2, record.extent);
  setBoth32(view, 10, record.size);
  writeDate(bytes, offset + 18, record.date);
  view.setUint8(25, record.flags);
  setBoth16(view, 28, 1); // volume sequence number
  view.setUint8(32, idLength);
  writeIdentifier(bytes, offset + 33, identifier, wide);
  if (systemUse) bytes.set(systemUse, offset + 33 + idLength + (idLength % 2 === 0 ? 1 : 0));
}

/** A directory in a path table. */
export interface PathTableEntry {
  identifier: string;
  extent: number;
  /** The number of its parent in the table, from 1. */
  parent: number;
}

/** How long a path table is (9.4). */
export function pathTableSize(entries: { identifier: string }[], wide: boolean): number {
  return entries.reduce((sum, { identifier }) => {
    const length = identifierLength(identifier, wide);
    return sum + 8 + length + (length % 2);
  }, 0);
}

/** A path table in one byte order: `littleEndian`, the low byte first, for type L (6.9.1, 9.4). */
export function pathTable(entries: PathTableEntry[], wide: boolean, littleEndian: boolean): Uint8Array {
  const bytes = new Uint8Array(pathTableSize(entries, wide));
  const view = new DataView(bytes.buffer);
  let offset = 0;
  for (const { identifier, extent, parent } of entries) {
    const length = identifierLength(identifier, wide);
    view.setUint8(offset, length);
    view.setUint32(offset + 2, extent, littleEndian);
    view.setUint16(offset + 6, parent, littleEndian);
    writeIdentifier(bytes, offset + 8, identifier, wide);
    offset += 8 + length + (length % 2);
  }
  return bytes;
}

/** What a volume descriptor says. */
export interface VolumeDescriptor {
  label: string;
  joliet: boolean;
  /** Sectors of the whole volume. */
  sectors: number;
  pathTableSize: number;
  /** The sectors of the path tables of type L and M. */
  pathTables: [number, number];
  root: { extent: number; size: number };
  date: Date;
}

/** A primary volume descriptor (8.4), or for Joliet a supplementary one (8.5): one sector. */
export function volumeDescriptor(volume: VolumeDescriptor): Uint8Array {
  const { joliet, root, date } = volume;
  const bytes = new Uint8Array(SECTOR);
  const view = new DataView(bytes.buffer);
  const text = (offset: number, length: number, content: string) => { // an odd byte at the end stays zero in Joliet
    const characters = Math.floor(joliet ? length / 2 : length);
    writeText(bytes, offset, content.slice(0, characters).padEnd(characters), joliet);
  };
  begin(bytes, joliet ? 2 : 1);
  text(8, 32, ""); // system identifier
  text(40, 32, volume.label);
  setBoth32(view, 80, volume.sectors);
  if (joliet) writeText(bytes, 88, "%/E", false); // UCS-2 level 3
  setBoth16(view, 120, 1); // volume set size
  setBoth16(view, 124, 1); // volume sequence number
  setBoth16(view, 128, SECTOR);
  setBoth32(view, 132, volume.pathTableSize);
  view.setUint32(140, volume.pathTables[0], true);
  view.setUint32(148, volume.pathTables[1]);
  writeRecord(bytes, 156, { identifier: SELF, ...root, date, flags: FLAG_DIRECTORY }, joliet);
  for (const [offset, length] of [[190, 128], [318, 128], [446, 128], [574, 128], [702, 37], [739, 37], [776, 37]]) {
    text(offset, length, ""); // volume set, publisher, preparer, application; copyright, abstract and bibliographic file
  }
  bytes.set(volumeDate(date), 813); // created
  bytes.set(volumeDate(date), 830); // modified
  bytes.set(volumeDate(), 847); // expires
  bytes.set(volumeDate(), 864); // effective
  bytes[881] = 1;
  return bytes;
}

/** The volume descriptor set terminator (8.3): one sector. */
export function terminator(): Uint8Array {
  const bytes = new Uint8Array(SECTOR);
  begin(bytes, 255);
  return bytes;
}

/** What every volume descriptor begins with (8.1). */
function begin(bytes: Uint8Array, type: number): void {
  bytes[0] = type;
  writeText(bytes, 1, "CD001", false);
  bytes[6] = 1;
}
