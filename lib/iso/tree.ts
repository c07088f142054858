/** From entries to a tree, with everything that cannot be stored refused. */

import { quoted } from "../base/printable.ts";
import { type IsoContent, type IsoEntry, IsoError, type IsoOptions, shown } from "./entry.ts";

/** What every node has. */
interface Common {
  /** Its own name. */
  name: string;
  /** The directory that it is in. The root is in itself, as in ECMA-119. */
  parent: DirectoryNode;
  mode: number;
  uid: number;
  gid: number;
  /** When it was last changed, in seconds since 1970: a number takes a fifth of a Date's memory. */
  mtime: number;
}

/** A directory with what is in it, sorted by name. */
export interface DirectoryNode extends Common {
  kind: "directory";
  children: Node[];
  /** How many of them are directories. */
  subdirectories: number;
}

/** A file, whose size is known and whose content is not read yet. */
export interface FileNode extends Common {
  kind: "file";
  size: number;
  content: IsoContent;
  /** Its first sector, once it has one; 0 for an empty file. */
  extent: number;
}

export interface SymlinkNode extends Common {
  kind: "symlink";
  target: string;
}

export type Node = DirectoryNode | FileNode | SymlinkNode;

/** POSIX's NAME_MAX in bytes, which Rock Ridge readers keep to. */
const LONGEST_NAME = 255;
const LONGEST_TARGET = 4095; // PATH_MAX without its NUL
/** libisofs, and with it xorriso, reads no image that has a longer one. */
const LONGEST_TARGET_EVERYWHERE = 1023;
const DEFAULT_DEPTH = 8;
const DEFAULT_MODES = { file: 0o644, directory: 0o755, symlink: 0o777 };

/** Its path in the image. */
export function pathOf({ name, parent }: Node): string {
  return parent.parent === parent ? name : `${pathOf(parent)}/${name}`;
}

/** A tree that grows entry by entry, so that the entries need not all be in memory. */
export class TreeBuilder {
  #options: IsoOptions;
  #date: Date;
  #root: DirectoryNode;
  /** Directories by their paths; those that no entry has described may still be. */
  #directories: Map<string, DirectoryNode>;
  #undescribed = new Set<string>();

  /** @throws {IsoError} if an image cannot store the options' date. */
  constructor(options: IsoOptions) {
    const { date = new Date() } = options;
    if (!canHold(date)) {
      throw new IsoError(
        "the image's date is outside the years 1900 to 2155, which an image can store: choose another",
      );
    }
    this.#options = options;
    this.#date = date;
    this.#root = directory("", undefined, date);
    this.#directories = new Map([["", this.#root]]);
  }

  /** @param size Of a file, in bytes. @throws {IsoError} naming the entry, if it cannot be stored. */
  add(entry: IsoEntry, size?: number): void {
    const { path, uid = 0, gid = 0, mtime: date = this.#date } = entry;
    checkAttributes(path, uid, gid, date);
    const mode = entry.mode === undefined ? DEFAULT_MODES[entry.kind] : entry.mode & 0o7777;
    const mtime = toSeconds(date);
    if (entry.kind === "directory") {
      const node = this.#enter(path);
      if (!this.#undescribed.delete(path)) {
        throw new IsoError(`${shown(path)}: ${path ? "it is there twice: leave one out" : "it has no name: name it"}`);
      }
      Object.assign(node, { mode, uid, gid, mtime });
      return;
    }
    const [above, name] = splitPath(path);
    const parent = this.#enter(above);
    checkName(path, name);
    if (entry.kind === "symlink") {
      const { target } = entry;
      checkTarget(path, target, this.#options);
      parent.children.push({ kind: "symlink", name, parent, mode: 0o777, uid, gid, mtime, target });
    } else {
      if (!Number.isSafeInteger(size) || size! < 0) {
        throw new IsoError(`${shown(path)}: ${size} is not a size in bytes: use a whole number`);
      }
      const { content } = entry;
      parent.children.push({ kind: "file", name, parent, mode, uid, gid, mtime, content, size: size!, extent: 0 });
    }
  }

  /** The root of the whole tree. @throws {IsoError} naming an entry that cannot be beside another. */
  finish(): DirectoryNode {
    for (const node of this.#directories.values()) {
      node.children.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
      checkSiblings(node, this.#options);
    }
    return this.#root;
  }

  /** The directory of this path, made if it is new. */
  #enter(path: string): DirectoryNode {
    const known = this.#directories.get(path);
    if (known) return known;
    const level = path.split("/").length + 1;
    const { depth = DEFAULT_DEPTH } = this.#options;
    if (level > depth) {
      throw new IsoError(
        `${
          shown(path)
        }: it is at level ${level}, and there are ${depth} at most: move it up, or make the image with a larger depth`,
      );
    }
    const [above, name] = splitPath(path);
    const parent = this.#enter(above);
    checkName(path, name);
    const made = directory(name, parent, this.#date);
    parent.children.push(made);
    parent.subdirectories++;
    this.#directories.set(path, made);
    this.#undescribed.add(path);
    return made;
  }
}

function directory(name: string, parent: DirectoryNode | undefined, date: Date): DirectoryNode {
  const made: DirectoryNode = {
    kind: "directory",
    name,
    parent: parent!,
    mode: 0o755,
    uid: 0,
    gid: 0,
    mtime: toSeconds(date),
    children: [],
    subdirectories: 0,
  };
  made.parent ??= made;
  return made;
}

function toSeconds(date: Date): number {
  return Math.floor(date.getTime() / 1000);
}

/** What is before the last slash, and what is behind it. */
function splitPath(path: string): [above: string, name: string] {
  const slash = path.lastIndexOf("/");
  if (slash === 0) throw new IsoError(`${shown(path)}: a path in an image does not begin with '/': leave that out`);
  return [path.slice(0, Math.max(slash, 0)), copied(path.slice(slash + 1))];
}

/** The same text on its own: V8 keeps the whole string of which a text is a part. */
function copied(text: string): string {
  return text.isWellFormed() ? decoder.decode(encoder.encode(text)) : text;
}

const [encoder, decoder] = [new TextEncoder(), new TextDecoder("utf-8", { ignoreBOM: true })];

function checkName(path: string, name: string): void {
  if (name === "") throw new IsoError(`${shown(path)}: a name in it is empty: use one '/' between two names`);
  if (name === "." || name === "..") {
    throw new IsoError(`${shown(path)}: '${name}' is not a valid name: use the path without it`);
  }
  if (name.includes("\0")) {
    throw new IsoError(`${shown(path)}: a name cannot contain a NUL character: choose another name`);
  }
  if (!name.isWellFormed()) {
    throw new IsoError(`${shown(path)}: half a surrogate pair is not a character: choose another name`);
  }
  if (3 * name.length > LONGEST_NAME && new TextEncoder().encode(name).length > LONGEST_NAME) {
    throw new IsoError(`${shown(path)}: a name in it has more than ${LONGEST_NAME} bytes: choose a shorter one`);
  }
}

function checkAttributes(path: string, uid: number, gid: number, mtime: Date): void {
  const isId = (id: number) => Number.isInteger(id) && id >= 0 && id <= 0xffffffff;
  if (!isId(uid) || !isId(gid)) {
    throw new IsoError(
      `${shown(path)}: ${uid} and ${gid} are not user and group ids: use whole numbers from 0 to 4294967295`,
    );
  }
  if (!canHold(mtime)) {
    throw new IsoError(
      `${shown(path)}: its time is outside the years 1900 to 2155, which an image can store: choose another`,
    );
  }
}

/** Records have a byte for the year (9.1.5). */
function canHold(date: Date): boolean {
  const year = date.getUTCFullYear();
  return year >= 1900 && year <= 2155;
}

function checkTarget(path: string, target: string, { rockRidge = true, onWarning }: IsoOptions): void {
  if (!rockRidge) {
    throw new IsoError(
      `${shown(path)}: only Rock Ridge has symbolic links: leave it out, or make the image with Rock Ridge`,
    );
  }
  const bytes = new TextEncoder().encode(target).length;
  if (bytes === 0 || bytes > LONGEST_TARGET || target.includes("\0")) {
    throw new IsoError(
      `${shown(path)}: a link's target has 1 to ${LONGEST_TARGET} bytes and no NUL: choose another target`,
    );
  }
  if (bytes > LONGEST_TARGET_EVERYWHERE) {
    onWarning?.(
      `${
        quoted(path)
      }: this link's target has ${bytes} bytes. Linux reads it, but xorriso refuses an image with a link ` +
        `of more than ${LONGEST_TARGET_EVERYWHERE}: shorten the target if xorriso has to read the image`,
    );
  }
}

/** Joliet readers do not tell upper from lower case; without it only the same name is the same. */
function checkSiblings({ children }: DirectoryNode, { joliet = true }: IsoOptions): void {
  const seen = new Map<string, Node>();
  for (const child of children) {
    const key = joliet ? child.name.toLowerCase() : child.name;
    const other = seen.get(key);
    if (other) {
      throw new IsoError(
        other.name === child.name
          ? `${shown(pathOf(child))}: two entries have this name: rename one of them`
          : `${shown(pathOf(child))}: it differs from ${
            shown(pathOf(other))
          } only in upper and lower case, which Joliet does not tell apart: rename one of them, or make the image without Joliet`,
      );
    }
    seen.set(key, child);
  }
}
