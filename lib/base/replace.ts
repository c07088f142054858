/** Files that come into being whole, or not at all. */

import { HotbootError, messageOf } from "./error.ts";

/** How a file is replaced. */
export interface ReplaceOptions {
  /** The new file's mode; 0600 unless told. */
  mode?: number;
  /** Whether it is on the disk itself before it takes its place. */
  sync?: boolean;
  /** The class of what is thrown when it cannot be there. */
  failure?: new (message: string) => HotbootError;
}

/** Where the new content of `target` grows. */
function growingPath(target: string): string {
  return `${target}.${Deno.pid}.tmp`;
}

/** All that replacing the file at `path` touches, known beforehand, so that permission can be given for exactly that. */
export async function replacedPaths(path: string): Promise<string[]> {
  const target = await Deno.realPath(path).catch(() => path);
  return [path, target, growingPath(target)];
}

/** Those that this program is making now. */
const growing = new Set<string>();

/**
 * Makes a file beside `path`, and puts it there when it is complete. What was there stays as it was when anything fails;
 * a link stays a link.
 *
 * @param make Writes the file, which is also at the path that it is given.
 * @throws {HotbootError} when it cannot be there; whatever `make` throws.
 */
export async function replaceFile(
  path: string,
  make: (file: Deno.FsFile, temporary: string) => Promise<void>,
  { mode = 0o600, sync = false, failure = HotbootError }: ReplaceOptions = {},
): Promise<void> {
  const there = await Deno.stat(path).catch(() => undefined);
  if (there && !there.isFile) throw new failure(`${path} is no file, and is not replaced: name another path`);
  const target = there ? await Deno.realPath(path) : path;
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
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
    throw error;
  } finally {
    growing.delete(temporary);
  }
}
