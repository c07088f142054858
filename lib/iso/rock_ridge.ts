/**
 * Rock Ridge as bytes: what follows a directory record's identifier, and where that has no room, in a continuation area.
 *
 * Source: System Use Sharing Protocol (SUSP) 1.10 and Rock Ridge Interchange Protocol (RRIP) 1.10, by section numbers.
 */

import { SECTOR, setBoth32, writeDate, writeText } from "./ecma119.ts";
import type { Node } from "./tree.ts";

/** File types of POSIX's st_mode. */
export const S_IFMT = 0o170000;
export const S_IFDIR = 0o040000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;
const TYPES = { directory: S_IFDIR, file: S_IFREG, symlink: S_IFLNK };

const CONTINUE = 1;
const [COMPONENT_CURRENT, COMPONENT_PARENT, COMPONENT_ROOT] = [2, 4, 8];
/** A field that leads to a continuation area. */
export const CE_LENGTH = 28;
/** A field's length is a byte. */
const LONGEST_FIELD = 255;
/** Also of which kind of extension it is: what the kernel and all tools know since 1991. */
const EXTENSION_ID = "RRIP_1991A";
const EXTENSION_TEXT = "THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS";
const EXTENSION_SOURCE = "SEE THE RRIP SPECIFICATION, VERSION 1.10, FOR MORE INFORMATION";

/** The fields of a node under its own name, of which the first go into a record with so much room. */
export function systemUseOf(node: Node, room: number): SystemUse {
  const fields = new Fields();
  addAttributes(fields, node);
  addTimes(fields, node.mtime);
  addName(fields, node.name);
  if (node.kind === "symlink") addTarget(fields, node.target);
  return fields.lay(room);
}

/** The same for the records by which a directory refers to itself or its parent; the root's own begin everything. */
export function referenceSystemUse(node: Node, isRootItself: boolean, room: number): SystemUse {
  const fields = new Fields();
  if (isRootItself) fields.add("SP", 3).set([0xbe, 0xef, 0]);
  addAttributes(fields, node);
  addTimes(fields, node.mtime);
  if (isRootItself) addExtensionReference(fields);
  return fields.lay(room);
}

/** System use whose rest is in a continuation area. */
export interface SystemUse {
  /** What goes into the record itself. */
  bytes: Uint8Array;
  /** What does not; its place is told with {@linkcode setContinuation} once it is known. */
  continuation?: Continuation;
}

/** A part of at most one sector, and where the CE field is that names it. */
export interface Continuation {
  bytes: Uint8Array;
  /** The bytes that hold the CE field, and its offset there. */
  referrer: Uint8Array;
  at: number;
  next?: Continuation;
}

/** Writes the CE field that leads to a continuation (SUSP 5.1). */
export function setContinuation({ bytes, referrer, at }: Continuation, sector: number, offset: number): void {
  const view = new DataView(referrer.buffer, referrer.byteOffset + at, CE_LENGTH);
  referrer.set([0x43, 0x45, CE_LENGTH, 1], at); // "CE"
  setBoth32(view, 4, sector);
  setBoth32(view, 12, offset);
  setBoth32(view, 20, bytes.length);
}

/** Fields one behind the other, and where each ends. */
class Fields {
  #bytes = scratch;
  #ends: number[] = [];
  #used = 0;

  /** Adds a field with so many bytes of content, which is what it gives, to be filled at once. */
  add(signature: string, length: number): Uint8Array {
    const at = this.#used;
    const end = this.#used = at + 4 + length;
    this.#ends.push(end);
    this.#bytes[at] = signature.charCodeAt(0);
    this.#bytes[at + 1] = signature.charCodeAt(1);
    this.#bytes[at + 2] = 4 + length;
    this.#bytes[at + 3] = 1; // version
    return this.#bytes.subarray(at + 4, end);
  }

  /** Lays them into a record with so much room, and what has none there into continuations (SUSP 5.1). */
  lay(room: number, from = 0): SystemUse {
    if (this.#used - from <= room) return { bytes: kept(this.#bytes.subarray(from, this.#used)) };
    const cut = this.#ends.findLast((end) => end > from && end - from + CE_LENGTH <= room) ?? from;
    const bytes = new Uint8Array(cut - from + CE_LENGTH);
    bytes.set(this.#bytes.subarray(from, cut));
    const rest = this.lay(SECTOR, cut);
    return { bytes, continuation: { bytes: rest.bytes, referrer: bytes, at: cut - from, next: rest.continuation } };
  }
}

/** A copy in a part of a larger block: a buffer of its own for each would cost more than what is in it. */
function kept(bytes: Uint8Array): Uint8Array {
  if (blockUsed + bytes.length > block.length) [block, blockUsed] = [new Uint8Array(64 * 1024), 0];
  const copy = block.subarray(blockUsed, blockUsed + bytes.length);
  copy.set(bytes);
  blockUsed += bytes.length;
  return copy;
}

let block = new Uint8Array(0);
let blockUsed = 0;

/** What {@linkcode Fields} are put together in: one at a time, and never more than a link's target needs. */
const scratch = new Uint8Array(16 * 1024);
const encoder = new TextEncoder();

/** POSIX attributes (RRIP 4.1.1): mode, links, user, group. */
function addAttributes(fields: Fields, node: Node): void {
  const content = fields.add("PX", 32);
  const view = new DataView(content.buffer, content.byteOffset);
  setBoth32(view, 0, TYPES[node.kind] | node.mode);
  setBoth32(view, 8, node.kind === "directory" ? 2 + node.subdirectories : 1);
  setBoth32(view, 16, node.uid);
  setBoth32(view, 24, node.gid);
}

/** Times (RRIP 4.1.6): of the last change of the content, the last access and the last change of attributes. */
function addTimes(fields: Fields, seconds: number): void {
  const content = fields.add("TF", 1 + 3 * 7);
  content[0] = 0x0e;
  writeDate(content, 1, new Date(1000 * seconds));
  content.copyWithin(8, 1, 8);
  content.copyWithin(15, 1, 8);
}

/** The name (RRIP 4.1.4), in as many fields as it takes. */
function addName(fields: Fields, name: string): void {
  const bytes = encoder.encode(name);
  const most = LONGEST_FIELD - 5;
  for (let at = 0; at < bytes.length; at += most) {
    const part = bytes.subarray(at, at + most);
    const content = fields.add("NM", 1 + part.length);
    content[0] = at + most < bytes.length ? CONTINUE : 0;
    content.set(part, 1);
  }
}

/**
 * A symbolic link's target (RRIP 4.1.3): components without their slashes, the longest in several parts. It has no empty
 * components but the root's: by POSIX (4.16, Pathname Resolution) several slashes are as one, and readers differ where
 * there are others. So `a//b/` becomes `a/b`.
 */
function addTarget(fields: Fields, target: string): void {
  const most = LONGEST_FIELD - 5 - 2;
  const components: Uint8Array[] = [];
  target.split("/").forEach((name, index) => {
    if (name === "") {
      if (index === 0) components.push(Uint8Array.of(COMPONENT_ROOT, 0));
    } else if (name === "." || name === "..") {
      components.push(Uint8Array.of(name === "." ? COMPONENT_CURRENT : COMPONENT_PARENT, 0));
    } else {
      const bytes = encoder.encode(name);
      for (let at = 0; at < bytes.length; at += most) {
        const part = bytes.subarray(at, at + most);
        components.push(Uint8Array.of(at + most < bytes.length ? CONTINUE : 0, part.length, ...part));
      }
    }
  });
  while (components.length > 0) {
    let count = 0;
    let length = 1;
    while (count < components.length && 4 + length + components[count].length <= LONGEST_FIELD) {
      length += components[count++].length;
    }
    const content = fields.add("SL", length);
    let at = 1;
    for (const component of components.splice(0, count)) {
      content.set(component, at);
      at += component.length;
    }
    content[0] = components.length > 0 ? CONTINUE : 0;
  }
}

/** Which extensions are used (SUSP 5.5). */
function addExtensionReference(fields: Fields): void {
  const texts = [EXTENSION_ID, EXTENSION_TEXT, EXTENSION_SOURCE];
  const lengths = texts.map(({ length }) => length);
  const content = fields.add("ER", 4 + lengths.reduce((sum, length) => sum + length));
  content.set([...lengths, 1]);
  writeText(content, 4, texts.join(""), false);
}
