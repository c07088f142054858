/** Files that come into being whole, or not at all. */

import { HotbootError, messageOf } from "./error.ts";
import { writeAll } from "./io.ts";
import { Turns } from "./turns.ts";

/** How a file is replaced. */
export interface ReplaceOptions {
  /** The new file's mode; 0600 unless told. */
  mode?: number;
  /** Whether it is on the disk itself when this returns, also in its directory. */
  sync?: boolean;
  /** Whether a link at the path stays, and what it leads to is replaced; yes unless told. */
  follow?: boolean;
  /** The class of what is thrown when it cannot be there. */
  failure?: new (message: string) => HotbootError;
}

/** Where the new content of `target` grows. */
function growingPath(target: string): string {
  return `${target}.${Deno.pid}.tmp`;
}

/** The name of what was to become a file, where `name` is one of what grows to be it. */
export function replacedName(name: string): string | undefined {
  return name.match(/^(.+)\.\d+\.tmp$/)?.[1];
}

/** All that replacing the file at `path` touches, known beforehand, so that permission can be given for exactly that. */
export async function replacedPaths(path: string): Promise<string[]> {
  const target = await Deno.realPath(path).catch(() => path);
  return [path, target, growingPath(target)];
}

/** Those that this program is making now. */
const growing = new Set<string>();

/** Brings a directory's entries to the disk itself, where the system can, and this program may read it. */
export async function syncDirectory(path: string): Promise<void> {
  try {
    using directory = await Deno.open(path);
    await directory.sync();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw error;
    // file systems that cannot; the directory of a user's own file, of which nothing else is a command's business
  }
}

const writing = new Map<string, Turns>();

/**
 * Writes a small file of the user's own in one step: readers see the old content or the new one, never a part. Who writes
 * the same file at the same time has his turn.
 *
 * @param options `sync`: it is on the disk itself when this returns.
 */
export async function writeWhole(
  path: string,
  content: string | Uint8Array,
  { sync = false }: { sync?: boolean } = {},
): Promise<void> {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  if (!writing.has(path)) writing.set(path, new Turns());
  await writing.get(path)!.run(() => replaceFile(path, (file) => writeAll(file, bytes), { sync, follow: false }));
}

/** The same of a value, as JSON. */
export async function writeJson(path: string, value: unknown, options: { sync?: boolean } = {}): Promise<void> {
  await writeWhole(path, JSON.stringify(value, null, 2) + "\n", options);
}

/**
 * Makes a file beside `path`, and puts it there when it is complete. What was there stays as it was when anything fails.
 *
 * @param make Writes the file, which is also at the path that it is given.
 * @throws {HotbootError} when it cannot be there; whatever `make` throws.
 */
export async function replaceFile(
  path: string,
  make: (file: Deno.FsFile, temporary: string) => Promise<void>,
  { mode = 0o600, sync = false, follow = true, failure = HotbootError }: ReplaceOptions = {},
): Promise<void> {
  const there = await (follow ? Deno.stat(path) : Deno.lstat(path)).catch(() => undefined);
  if (there?.isDirectory || (follow && there && !there.isFile)) {
    throw new failure(`${path} is no file, and is not replaced: name another path`);
  }
  const target = there && follow ? await Deno.realPath(path) : path;
  const temporary = growingPath(target);
  if (growing.has(temporary)) {
    throw new failure(`${path} is being written already: wait for that, or name another path`);
  }
  growing.add(temporary);
  try {
    await Deno.remove(temporary).catch(() => {}); // of a killed program that had this one's process id
    {
      using file = await Deno.open(temporary, { write: true, createNew: true, mode }).catch((error) => {
        throw new failure(`${path} cannot be written (${messageOf(error)}): name a path where that is possible`);
      });
      await make(file, temporary);
      if (sync) await file.sync();
    }
    await Deno.rename(temporary, target);
    if (sync) await syncDirectory(target.replace(/[^/]*$/, "") || ".");
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
    throw error;
  } finally {
    growing.delete(temporary);
  }
}
