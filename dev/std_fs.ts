/**
 * The parts of `@std/fs` that hotboot uses, for machines that cannot reach JSR: the std code on npm has no `fs`. The
 * functions do what the originals are documented to do, and `tests/unit/std_fs_test.ts` tests both.
 * `deno check` refuses an option that is missing here.
 */

import { basename } from "@std/path/basename";
import { join } from "@std/path/join";
import { normalize } from "@std/path/normalize";
import { resolve } from "@std/path/resolve";

/** What kind of file must be at a path. */
export interface ExistsOptions {
  /** A file, or a link to one. */
  isFile?: boolean;
}

/** Whether something is at `path`; a dangling link counts as nothing. */
export async function exists(path: string, { isFile = false }: ExistsOptions = {}): Promise<boolean> {
  const found = await ifThere(Deno.stat(path));
  return found !== undefined && (!isFile || found.isFile);
}

/** Makes a directory and its parents, unless it exists. @throws {Error} if something else is there. */
export async function ensureDir(path: string): Promise<void> {
  const found = await ifThere(Deno.stat(path));
  if (found && !found.isDirectory) throw new Error(`Failed to ensure directory exists: ${path} is not a directory`);
  if (!found) await Deno.mkdir(path, { recursive: true });
}

/** An entry that a walk finds. */
export interface WalkEntry extends Deno.DirEntry {
  /** The root's path, followed by the path below it. */
  path: string;
}

/** Which entries to give. */
export interface WalkOptions {
  /** Also directories, including the root; true by default. */
  includeDirs?: boolean;
}

/** A directory and everything below it, each directory before its contents. Links are given but not followed. */
export async function* walk(root: string, options: WalkOptions = {}): AsyncIterableIterator<WalkEntry> {
  if (options.includeDirs ?? true) {
    const path = normalize(root);
    const { isFile, isDirectory, isSymlink } = await Deno.stat(root);
    yield { path, name: basename(path), isFile, isDirectory, isSymlink };
  }
  for await (const entry of Deno.readDir(root)) {
    const path = join(root, entry.name);
    if (entry.isDirectory) yield* walk(path, options);
    else yield { path, ...entry };
  }
}

/** Renames a file or a directory. @throws {Deno.errors.AlreadyExists} if something is at the new path. */
export async function move(from: string, to: string): Promise<void> {
  if ((await Deno.stat(from)).isDirectory && isWithin(from, to)) {
    throw new Deno.errors.NotSupported(`${from} cannot be moved into itself, to ${to}`);
  }
  if (await ifThere(Deno.lstat(to))) throw new Deno.errors.AlreadyExists(`${to} is there already`);
  await Deno.rename(from, to);
}

/** What to do if something exists. */
export interface CopyOptions {
  /** Replaces files, and adds to directories. */
  overwrite?: boolean;
}

/** Copies a file with its mode, a link, or a directory with everything below it. */
export async function copy(from: string, to: string, { overwrite = false }: CopyOptions = {}): Promise<void> {
  const source = await Deno.lstat(from);
  if (isWithin(from, to)) throw new Error(`${from} cannot be copied into itself, to ${to}`);
  const there = await ifThere(Deno.lstat(to));
  if (there && source.isDirectory && !there.isDirectory) {
    throw new Error(`${to} is not a directory, but ${from} is one`);
  }
  if (there && !overwrite) throw new Deno.errors.AlreadyExists(`${to} is there already`);
  if (source.isSymlink) return await Deno.symlink(await Deno.readLink(from), to);
  if (source.isFile) return await Deno.copyFile(from, to);
  if (!source.isDirectory) return;
  if (!there) await Deno.mkdir(to, { recursive: true });
  for await (const { name } of Deno.readDir(from)) await copy(join(from, name), join(to, name), { overwrite });
}

function isWithin(directory: string, path: string): boolean {
  return `${resolve(path)}/`.startsWith(`${resolve(directory)}/`);
}

async function ifThere<T>(found: Promise<T>): Promise<T | undefined> {
  return await found.catch((error) => {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  });
}
