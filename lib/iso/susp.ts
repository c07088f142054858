/**
 * Reading Rock Ridge from directory records. Nothing in it is trusted: fields that lead outside or go in circles end the
 * image's reading with an error. One that lies about its length ends the entry's fields, with a warning: genisoimage
 * writes such ones for long links.
 *
 * Source: System Use Sharing Protocol (SUSP) 1.12 and Rock Ridge Interchange Protocol (RRIP) 1.12, by section numbers.
 */

import { parseRecordDate, zoneMs } from "./ecma119.ts";

/** What Rock Ridge says of an entry. */
export interface RockRidge {
  name?: string;
  mode?: number;
  uid?: number;
  gid?: number;
  mtime?: Date;
  /** A symbolic link's target. */
  target?: string;
  /** The sector of the directory that this entry stands for, moved elsewhere for its depth (RRIP 4.1.5.1). */
  childLink?: number;
  /** This directory was moved here, and is to be seen where its child link is (RRIP 4.1.5.3). */
  isRelocated?: boolean;
  /** The content is compressed with zisofs, and has so many bytes without. */
  inflatedSize?: number;
  /** What is damaged, and is left out of the rest. */
  flaw?: string;
}

/** Reads bytes of the image, and fails when they are not within it. */
export type ReadAt = (offset: number, length: number) => Promise<Uint8Array>;

/** More continuations than any writer makes for one record; a circle has more. */
const MOST_CONTINUATIONS = 64;
const CONTINUE = 1;

/** How many bytes to skip at the start of each system use area: the root's SP field says so (SUSP 5.3). */
export function suspSkip(systemUse: Uint8Array): number | undefined {
  // Its place is fixed, but on CD-ROM XA discs 14 bytes stand before it.
  for (const at of [0, 14]) {
    const [s, p, length, , check1, check2, skip] = systemUse.subarray(at);
    if (s === 0x53 && p === 0x50 && length >= 7 && check1 === 0xbe && check2 === 0xef) return skip;
  }
}

/** Reads the fields of one record's system use, and those that it continues in. */
export async function readRockRidge(
  systemUse: Uint8Array,
  sectorSize: number,
  readAt: ReadAt,
  fail: (why: string) => never,
): Promise<RockRidge> {
  const result: RockRidge = {};
  const name = new Text();
  const target = new Target();
  let area = systemUse;
  for (let continuations = 0;; continuations++) {
    let next: { sector: number; offset: number; length: number } | undefined;
    for (let at = 0; at + 4 <= area.length;) {
      const length = area[at + 2];
      if (length === 0) break; // padding
      if (length < 4 || at + length > area.length) {
        result.flaw ??= `one of its Rock Ridge fields has the length ${length}, and what follows that is not read`;
        break;
      }
      const field = area.subarray(at, at + length);
      at += length;
      const signature = String.fromCharCode(field[0], field[1]);
      if (signature === "ST") break;
      if (signature === "CE" && length >= 28) {
        next = { sector: number(field, 4), offset: number(field, 12), length: number(field, 20) };
      } else {
        useField(signature, field, result, name, target);
      }
    }
    if (!next) break;
    if (continuations === MOST_CONTINUATIONS) fail("its Rock Ridge continuation areas never end");
    if (next.length > sectorSize) fail(`a Rock Ridge continuation area has ${next.length} bytes`);
    area = await readAt(next.sector * sectorSize + next.offset, next.length);
  }
  if (name.isGiven) result.name = name.toString();
  if (target.isGiven) result.target = target.toString();
  if (target.isCut) {
    result.flaw = "a part of its link's target is longer than the field that holds it: the target is incomplete";
  }
  return result;
}

function useField(signature: string, field: Uint8Array, result: RockRidge, name: Text, target: Target): void {
  if (signature === "PX" && field.length >= 36) {
    result.mode = number(field, 4);
    result.uid = number(field, 20);
    result.gid = number(field, 28);
  } else if (signature === "NM" && field.length >= 5) {
    if ((field[4] & ~CONTINUE) === 0) name.add(field.subarray(5)); // the rest are "." and "..", which are known as such
  } else if (signature === "SL" && field.length >= 5) {
    target.add(field.subarray(5));
  } else if (signature === "TF" && field.length >= 5) {
    result.mtime ??= modifyTime(field);
  } else if (signature === "CL" && field.length >= 12) {
    result.childLink = number(field, 4);
  } else if (signature === "ZF" && field.length >= 16) {
    const isLong = field[3] === 2; // zisofs version 2 has a 64-bit number, in one byte order
    result.inflatedSize = number(field, 8) + (isLong ? 2 ** 32 * number(field, 12) : 0);
  } else if (signature === "RE") {
    result.isRelocated = true;
  }
}

/** The time of the last change (RRIP 4.1.6): behind the creation time, if that is there too. */
function modifyTime(field: Uint8Array): Date | undefined {
  const flags = field[4];
  const isLong = (flags & 0x80) !== 0;
  if (!(flags & 0x02)) return undefined;
  const size = isLong ? 17 : 7;
  const at = 5 + (flags & 0x01 ? size : 0);
  const stamp = field.subarray(at, at + size);
  if (stamp.length < size) return undefined;
  if (!isLong) return parseRecordDate(stamp);
  const digits = String.fromCharCode(...stamp.subarray(0, 14)).match(/^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)$/);
  if (!digits) return undefined;
  const [year, month, day, hour, minute, second] = digits.slice(1).map(Number);
  if (month === 0) return undefined; // not specified
  return new Date(Date.UTC(year, month - 1, day, hour, minute, second) - zoneMs(stamp[16]));
}

/** A number in both byte orders; the first of them. */
function number(field: Uint8Array, offset: number): number {
  return new DataView(field.buffer, field.byteOffset, field.length).getUint32(offset, true);
}

/** UTF-8; what is not UTF-8 is taken for Latin-1, which old discs have. */
export function decodeText(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return String.fromCharCode(...bytes);
  }
}

/** Text in pieces. */
class Text {
  isGiven = false;
  #parts: number[] = [];

  add(bytes: Uint8Array): void {
    this.isGiven = true;
    this.#parts.push(...bytes);
  }

  toString(): string {
    return decodeText(Uint8Array.from(this.#parts));
  }
}

/** A symbolic link's target from its components (RRIP 4.1.3.1). */
class Target {
  isGiven = false;
  /** Whether a field ended within a component. */
  isCut = false;
  #components: Text[] = [];
  #isOpen = false;
  #isAbsolute = false;

  add(bytes: Uint8Array): void {
    this.isGiven = true;
    for (let at = 0; at + 2 <= bytes.length;) {
      const [flags, length] = bytes.subarray(at);
      const content = bytes.subarray(at + 2, at + 2 + length);
      at += 2 + length;
      this.isCut ||= at > bytes.length;
      if (flags & 8) {
        // All writers say so of any empty component: of the one in `a//b`, too.
        if (this.#isAbsolute || this.#components.length > 0) this.#components.push(new Text());
        else this.#isAbsolute = true;
        this.#isOpen = false;
        continue;
      }
      if (!this.#isOpen) this.#components.push(new Text());
      const component = this.#components[this.#components.length - 1];
      if (flags & 2) component.add(Uint8Array.of(0x2e));
      else if (flags & 4) component.add(Uint8Array.of(0x2e, 0x2e));
      else component.add(content);
      this.#isOpen = (flags & CONTINUE) !== 0;
    }
  }

  toString(): string {
    return (this.#isAbsolute ? "/" : "") + this.#components.join("/");
  }
}
