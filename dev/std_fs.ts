/**
 * What hotboot uses of `@std/fs`, for machines that JSR cannot be reached from: the std code on npm has no `fs`. The
 * functions do what those of the same names are documented to do, and `tests/unit/std_fs_test.ts` holds both to it.
 * An option that is not here is one that `deno check` refuses.
 */

import { basename } from "@std/path/basename";
import { join } from "@std/path/join";
import { normalize } from "@std/path/normalize";
import { resolve } from "@std/path/resolve";

/** What must be at a path. */
export interface ExistsOptions {
  /** A file, or a link to one. */
  isFile?: boolean;
}

/** Whether something is at `path`; a link that leads nowhere is nothing. */
export async function exists(path: string, { isFile = false }: ExistsOptions = {}): Promise<boolean> {
  const found = await ifThere(Deno.stat(path));
  return found !== undefined && (!isFile || found.isFile);
}

/** Makes a directory, and those above it, unless it is there. @throws {Error} when something else is. */
export async function ensureDir(path: string): Promise<void> {
  const found = await ifThere(Deno.stat(path));
  if (found && !found.isDirectory) throw new Error(`Failed to ensure directory exists: ${path} is none`);
  if (!found) await Deno.mkdir(path, { recursive: true });
}

/** What is found on a walk. */
export interface WalkEntry extends Deno.DirEntry {
  /** The root's path, and the way from there. */
  path: string;
}

/** What of it. */
export interface WalkOptions {
  /** Directories too, the root among them; yes unless told. */
  includeDirs?: boolean;
}

/** A directory, and all below it, each before what is in it. Links are found, and not followed. */
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

/** Renames a file or a directory. @throws {Deno.errors.AlreadyExists} when something is at its new path. */
export async function move(from: string, to: string): Promise<void> {
  if ((await Deno.stat(from)).isDirectory && isWithin(from, to)) {
    throw new Deno.errors.NotSupported(`${from} cannot be moved into itself, to ${to}`);
  }
  if (await ifThere(Deno.lstat(to))) throw new Deno.errors.AlreadyExists(`${to} is there already`);
  await Deno.rename(from, to);
}

/** What happens where something is. */
export interface CopyOptions {
  /** Files are replaced, and directories added to. */
  overwrite?: boolean;
}

/** Copies a file with its mode, a link, or a directory with all below it. */
export async function copy(from: string, to: string, { overwrite = false }: CopyOptions = {}): Promise<void> {
  const source = await Deno.lstat(from);
  if (isWithin(from, to)) throw new Error(`${from} cannot be copied into itself, to ${to}`);
  const there = await ifThere(Deno.lstat(to));
  if (there && source.isDirectory && !there.isDirectory) throw new Error(`${to} is no directory, and ${from} is one`);
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
