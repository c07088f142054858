/** Files that come into being whole, or not at all. */

import { HotbootError, messageOf } from "./error.ts";

/**
 * Makes a file of the user's own beside `path`, and puts it there when it is complete and on the disk. What was there
 * stays as it was when anything fails; a link stays a link.
 *
 * @param make Writes the file.
 * @throws {HotbootError} when it cannot be there; whatever `make` throws.
 */
export async function replaceFile(path: string, make: (file: Deno.FsFile) => Promise<void>): Promise<void> {
  const there = await Deno.stat(path).catch(() => undefined);
  if (there && !there.isFile) throw new HotbootError(`${path} is no file, and is not replaced: name another path`);
  const target = there ? await Deno.realPath(path) : path;
  const temporary = `${target}.${crypto.randomUUID().slice(0, 8)}.tmp`;
  const cannot = (error: unknown) =>
    new HotbootError(`${path} cannot be written (${messageOf(error)}): name a path where that is possible`);
  try {
    {
      using file = await Deno.open(temporary, { write: true, createNew: true, mode: 0o600 }).catch((error) => {
        throw cannot(error);
      });
      await make(file);
      await file.sync();
    }
    await Deno.rename(temporary, target);
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
    throw error;
  }
}
