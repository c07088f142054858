/**
 * The part of the tar format that a snapshot needs: plain files, of any size. Rejects everything else, so that nothing in an
 * archive can name a place outside of it.
 *
 * Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Header Block".
 */

import { HotbootError } from "../base/error.ts";

const BLOCK = 512;
/** The largest size in the ustar header's eleven octal digits. */
const USTAR_SIZE_LIMIT = 8 ** 11 - 1;
/** The limit for an extended header: it contains a size, and at most a name. */
const LONGEST_EXTENSION = 8 * 1024;
/** The limit for bytes after the end: writers fill a record of 20 blocks, and some a larger one. */
const LONGEST_FILLING = 1024 * 1024;
/** Fields of an extended header that change nothing; a name or a link's target would. */
const HARMLESS = new Set(["atime", "ctime", "mtime", "comment", "gid", "gname", "uid", "uname"]);

/** A file in an archive. */
export interface TarMember {
  /** Its name. */
  name: string;
  /** Its bytes. */
  size: number;
}

/** A member to write, by default a file that only root may read and change. */
export interface NewTarMember extends TarMember {
  mode?: number;
  /** The ids of its user and group. */
  owner?: number;
  isDirectory?: boolean;
}

/** The source of the bytes. */
export interface TarSource {
  /** Fills part of `into` and returns how much; `null` at the end. */
  read(into: Uint8Array): Promise<number | null>;
}

/** The blocks before a file's bytes. @param mtime Seconds since 1970. */
export function tarHeader(member: NewTarMember, mtime: number): Uint8Array {
  const { name, size, isDirectory = false } = member;
  if (size <= USTAR_SIZE_LIMIT) return ustarHeader(member, mtime, isDirectory ? "5" : "0");
  const record = paxRecord("size", String(size));
  const head = ustarHeader({ name: `PaxHeaders/${name}`, size: record.length }, mtime, "x");
  const blocks = new Uint8Array(head.length + record.length + tarPadding(record.length) + BLOCK);
  blocks.set(head);
  blocks.set(record, BLOCK);
  blocks.set(ustarHeader({ ...member, size: 0 }, mtime, "0"), blocks.length - BLOCK);
  return blocks;
}

/** How many zeros follow a file's bytes. */
export function tarPadding(size: number): number {
  return (BLOCK - size % BLOCK) % BLOCK;
}

/** The blocks after the last file, after `written` bytes: two blocks of zeros, and more to fill the record. */
export function tarEnd(written: number): Uint8Array {
  const record = 20 * BLOCK;
  return new Uint8Array(2 * BLOCK + (record - (written + 2 * BLOCK) % record) % record);
}

function ustarHeader({ name, size, mode = 0o600, owner = 0 }: NewTarMember, mtime: number, type: string): Uint8Array {
  const block = new Uint8Array(BLOCK);
  const text = (at: number, value: string) => block.set(new TextEncoder().encode(value), at);
  const octal = (at: number, digits: number, value: number) => text(at, value.toString(8).padStart(digits, "0"));
  text(0, name);
  octal(100, 7, mode);
  octal(108, 7, owner);
  octal(116, 7, owner);
  octal(124, 11, size);
  octal(136, 11, mtime);
  text(156, type);
  text(257, "ustar\x0000");
  octal(329, 7, 0); // device numbers
  octal(337, 7, 0);
  octal(148, 6, checksum(block));
  text(154, "\0 ");
  return block;
}

/** The sum of the header's bytes, with spaces in its own field. */
function checksum(block: Uint8Array): number {
  return block.reduce((sum, byte, at) => sum + (at >= 148 && at < 156 ? 0x20 : byte), 0);
}

/** `LENGTH KEY=VALUE\n`, where the length counts itself. */
function paxRecord(key: string, value: string): Uint8Array {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return new TextEncoder().encode(`${length}${rest}`);
}

/** Reads an archive from beginning to end, one member after the other. */
export class TarReader {
  #source: TarSource;
  /** What is left of the current member, and then of the zeros after it. */
  #left = 0;
  #padding = 0;

  /** @param source The archive's bytes. */
  constructor(source: TarSource) {
    this.#source = source;
  }

  /**
   * The next member; read its bytes before the next call. `undefined` at the archive's end, after which nothing
   * follows.
   *
   * @throws {HotbootError} if it is not a plain file, or this is not a tar archive.
   */
  async next(): Promise<TarMember | undefined> {
    const header = await this.#block();
    if (header.every((byte) => byte === 0)) {
      await this.#end();
      return undefined;
    }
    const { name, size, type } = parseHeader(header);
    if (type !== "x") return this.#begin(name, size, type);
    if (size > LONGEST_EXTENSION) throw unsound("one of its headers is too long");
    const extension = new Uint8Array(size);
    await this.#fill(extension);
    await this.#fill(new Uint8Array(tarPadding(size)));
    const extended = parsePax(extension);
    const file = parseHeader(await this.#block());
    return this.#begin(file.name, extended ?? file.size, file.type);
  }

  /** Fills part of `into` with the member's bytes and returns how much; `null` at its end. */
  async read(into: Uint8Array): Promise<number | null> {
    if (this.#left === 0) {
      await this.#fill(new Uint8Array(this.#padding));
      this.#padding = 0;
      return null;
    }
    const got = await this.#source.read(into.subarray(0, Math.min(into.length, this.#left)));
    if (got === null) throw truncated();
    this.#left -= got;
    return got;
  }

  #begin(name: string, size: number, type: string): TarMember {
    if (type !== "0" && type !== "\0") throw unsound(`'${name}' in it is not a plain file`);
    this.#left = size;
    this.#padding = tarPadding(size);
    return { name, size };
  }

  /** Reads what follows the first block of zeros. */
  async #end(): Promise<void> {
    const block = new Uint8Array(BLOCK);
    await this.#fill(block);
    for (let count = 0; block.every((byte) => byte === 0); count += block.length) {
      if (count > LONGEST_FILLING) break;
      const got = await this.#source.read(block);
      if (got === null) return;
      block.fill(0, got);
    }
    throw unsound("something follows its end");
  }

  async #block(): Promise<Uint8Array> {
    const block = new Uint8Array(BLOCK);
    await this.#fill(block);
    return block;
  }

  async #fill(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      const got = await this.#source.read(bytes.subarray(at));
      if (got === null) throw truncated();
      at += got;
    }
  }
}

function parseHeader(block: Uint8Array): TarMember & { type: string } {
  const text = (at: number, length: number) => {
    const field = block.subarray(at, at + length);
    const end = field.indexOf(0);
    return new TextDecoder().decode(end < 0 ? field : field.subarray(0, end));
  };
  const octal = (at: number, length: number) => {
    const digits = text(at, length).trim();
    return /^[0-7]+$/.test(digits) ? parseInt(digits, 8) : NaN;
  };
  if (text(257, 5) !== "ustar" || octal(148, 8) !== checksum(block)) {
    throw unsound("a header in it is damaged, or it is not a tar archive");
  }
  // In GNU's older header other fields than a prefix may be here.
  const prefix = block[262] === 0 ? text(345, 155) : "";
  const name = (prefix ? `${prefix}/` : "") + text(0, 100);
  const size = octal(124, 12);
  if (Number.isNaN(size)) throw unsound(`it does not say how long '${name}' is`);
  return { name, size, type: String.fromCharCode(block[156]) };
}

/** The size in an extended header, if it has one. */
function parsePax(bytes: Uint8Array): number | undefined {
  let size: number | undefined;
  for (let at = 0; at < bytes.length;) {
    const record = new TextDecoder().decode(bytes.subarray(at));
    const [head, digits, key] = record.match(/^([1-9]\d{0,5}) ([^=\n]+)=/) ?? [];
    const end = at + Number(digits);
    if (head === undefined || end > bytes.length || bytes[end - 1] !== 0x0a) throw unsound("a header in it is damaged");
    const value = new TextDecoder().decode(bytes.subarray(at + head.length, end - 1));
    if (key === "size") {
      size = /^\d{1,15}$/.test(value) ? Number(value) : NaN;
      if (Number.isNaN(size)) throw unsound("a header in it is damaged");
    } else if (!HARMLESS.has(key)) {
      throw unsound(`a header in it has '${key}', which no snapshot needs`);
    }
    at = end;
  }
  return size;
}

function truncated(): HotbootError {
  return unsound("it is cut off");
}

/** The error for an archive that hotboot did not write. */
export function unsound(why: string): HotbootError {
  return new HotbootError(`it is not a valid snapshot archive: ${why}; export or copy it again`);
}
