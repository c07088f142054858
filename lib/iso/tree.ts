/** From a list of entries to a tree, with everything that cannot be stored refused. */

import { quoted } from "../base/printable.ts";
import { type IsoContent, type IsoEntry, IsoError, type IsoOptions, shown } from "./entry.ts";

/** What every node has. */
interface Common {
  /** Its own name. */
  name: string;
  /** Its path, for errors. */
  path: string;
  mode: number;
  uid: number;
  gid: number;
  mtime: Date;
}

/** A directory with what is in it, sorted by name. */
export interface DirectoryNode extends Common {
  kind: "directory";
  /** The root is its own parent, as in ECMA-119. */
  parent: DirectoryNode;
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

/**
 * The tree of `entries`.
 *
 * @param sizeOf Gives the size of content that has not told it.
 * @throws {IsoError} naming the entry that cannot be stored.
 */
export function buildTree(
  entries: Iterable<IsoEntry>,
  options: IsoOptions,
  sizeOf: (content: IsoContent) => number,
): DirectoryNode {
  const { date = new Date(), depth = DEFAULT_DEPTH } = options;
  if (!canHold(date)) {
    throw new IsoError("the image's date is outside the years 1900 to 2155, which an image can store: choose another");
  }
  const root = directory("", "", date);
  root.parent = root;
  /** Directories by their paths; those that no entry has described may still be. */
  const directories = new Map<string, DirectoryNode>([["", root]]);
  const undescribed = new Set<string>();

  const enter = (path: string): DirectoryNode => {
    const known = directories.get(path);
    if (known) return known;
    const level = path.split("/").length + 1;
    if (level > depth) {
      throw new IsoError(
        `${
          shown(path)
        }: it is at level ${level}, and there are ${depth} at most: move it up, or make the image with a larger depth`,
      );
    }
    const [above, name] = splitPath(path);
    const parent = enter(above);
    checkName(path, name);
    const made = directory(name, path, date);
    made.parent = parent;
    parent.children.push(made);
    parent.subdirectories++;
    directories.set(path, made);
    undescribed.add(path);
    return made;
  };

  for (const entry of entries) {
    const { path, uid = 0, gid = 0, mtime = date } = entry;
    checkAttributes(path, uid, gid, mtime);
    const mode = entry.mode === undefined ? DEFAULT_MODES[entry.kind] : entry.mode & 0o7777;
    if (entry.kind === "directory") {
      const node = enter(path);
      if (!undescribed.delete(path)) {
        throw new IsoError(`${shown(path)}: ${path ? "it is there twice: leave one out" : "it has no name: name it"}`);
      }
      Object.assign(node, { mode, uid, gid, mtime });
      continue;
    }
    const [above, name] = splitPath(path);
    const { children } = enter(above);
    checkName(path, name);
    if (entry.kind === "symlink") {
      checkTarget(path, entry.target, options);
      children.push({ kind: "symlink", name, path, mode: 0o777, uid, gid, mtime, target: entry.target });
    } else {
      const { content } = entry;
      const size = sizeOf(content);
      if (!Number.isSafeInteger(size) || size < 0) {
        throw new IsoError(`${shown(path)}: ${size} is not a size in bytes: use a whole number`);
      }
      children.push({ kind: "file", name, path, mode, uid, gid, mtime, content, size, extent: 0 });
    }
  }
  for (const node of directories.values()) {
    node.children.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
    checkSiblings(node, options);
  }
  return root;
}

function directory(name: string, path: string, mtime: Date): DirectoryNode {
  const node = { kind: "directory" as const, name, path, mode: 0o755, uid: 0, gid: 0, mtime };
  return { ...node, parent: undefined as unknown as DirectoryNode, children: [], subdirectories: 0 };
}

/** What is before the last slash, and what is behind it. */
function splitPath(path: string): [above: string, name: string] {
  const slash = path.lastIndexOf("/");
  if (slash === 0) throw new IsoError(`${shown(path)}: a path in an image does not begin with '/': leave that out`);
  return [path.slice(0, Math.max(slash, 0)), path.slice(slash + 1)];
}

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
          ? `${shown(child.path)}: two entries have this name: rename one of them`
          : `${shown(child.path)}: it differs from ${
            shown(other.path)
          } only in upper and lower case, which Joliet does not tell apart: rename one of them, or make the image without Joliet`,
      );
    }
    seen.set(key, child);
  }
}
