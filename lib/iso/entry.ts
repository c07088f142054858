/** What goes into an image, as callers say it. */

import { HotbootError } from "../base/error.ts";

/** An image that cannot be made or read; the message says why, with the entry or the place in the image. */
export class IsoError extends HotbootError {
  /** The class's name, for logs. */
  override name = "IsoError";
}

/** The error of an image that cannot be read. @param where The entry, or the part of the image, with what is wrong. */
export function badImage(where: string): IsoError {
  return new IsoError(`${where}: get the image again, or make it again`);
}

/** A path as a message can show it, whatever is in it: a terminal obeys some characters. */
export function shown(path: string): string {
  const short = path.length > 300 ? `${path.slice(0, 300)}…` : path;
  return JSON.stringify(short).replaceAll(/[\x7f-\x9f]/g, "?");
}

/**
 * A file's bytes: in memory, in a file on disk, or in a stream of known size, because an image's directories come before its
 * files.
 */
export type IsoContent =
  | Uint8Array
  | {
    /** The file's path. It is read when its turn comes. */
    path: string;
    /** Its size in bytes; read from the file system if absent. */
    size?: number;
    /** Whether entries that have this same object are hard links of one file, whose bytes the image then has once. */
    linked?: boolean;
  }
  | {
    /** The bytes, or a function that opens them when their turn comes. */
    stream: ReadableStream<Uint8Array> | (() => ReadableStream<Uint8Array>);
    /** How many there are. */
    size: number;
  };

/** The attributes of every entry. */
export interface IsoAttributes {
  /** Its path in the image: names joined by `/`, without one at the start. Missing directories above it are created. */
  path: string;
  /** POSIX permission bits; by default 0o644 for a file and 0o755 for a directory. Rock Ridge only. */
  mode?: number;
  /** The owner; 0 by default. Rock Ridge only. */
  uid?: number;
  /** The group; 0 by default. Rock Ridge only. */
  gid?: number;
  /** When it was last changed, to the second; the image's date by default. */
  mtime?: Date;
}

/** A file. */
export interface IsoFileEntry extends IsoAttributes {
  /** Tells it from the other kinds. */
  kind: "file";
  /** What is in it. */
  content: IsoContent;
}

/** A directory. */
export interface IsoDirectoryEntry extends IsoAttributes {
  /** Tells it from the other kinds. */
  kind: "directory";
}

/** A symbolic link, which only Rock Ridge can hold: it is missing in the Joliet view. */
export interface IsoSymlinkEntry extends IsoAttributes {
  /** Tells it from the other kinds. */
  kind: "symlink";
  /** What it points to. */
  target: string;
}

/** One thing to put into an image. */
export type IsoEntry = IsoFileEntry | IsoDirectoryEntry | IsoSymlinkEntry;

/** How to make an image. */
export interface IsoOptions {
  /** The volume identifier, with which `blkid` and the like find the image: at most 32 bytes, kept as it is. */
  label?: string;
  /** Windows' view with Unicode names; on by default. */
  joliet?: boolean;
  /** POSIX names, modes, owners, times and symlinks; on by default. */
  rockRidge?: boolean;
  /** The image's date, and that of entries without one; now by default. The same input and date give the same bytes. */
  date?: Date;
  /**
   * How many levels of directories there may be, including the root's; by default 8, ECMA-119's limit (6.8.2.1).
   * Linux, bsdtar and xorriso read deeper ones.
   */
  depth?: number;
  /** Aborting it ends the writing, and leaves nothing. */
  signal?: AbortSignal;
  /**
   * Called for everything that some reader has not as it was given: each name that the Joliet view has only in a shortened
   * or replaced form, or that Windows cannot have, and each link that is too long for xorriso.
   */
  onWarning?: (message: string) => void;
}
