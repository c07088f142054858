/** Writes the files of a template, and replaces none without being told to. */

import { HotbootError } from "../../base/error.ts";
import { writeWhole } from "../../base/files.ts";

/**
 * Writes files into the working directory: all or, if one must not be written, none.
 *
 * @param files Their texts, by relative paths. Those that begin with `#!` become programs.
 * @param replaces Whether to replace files that are there.
 * @throws {HotbootError} if a file is there, or a link would lead elsewhere.
 */
export async function writeFiles(files: Record<string, string>, replaces: boolean): Promise<void> {
  const there: string[] = [];
  for (const path of Object.keys(files)) {
    if (await look(path) && !replaces) there.push(path);
  }
  if (there.length > 0) {
    const are = there.length === 1 ? "is" : "are";
    throw new HotbootError(
      `${
        there.join(", ")
      } ${are} there already, so nothing was written: move what you want to keep, or add --force to replace`,
    );
  }
  for (const [path, text] of Object.entries(files)) {
    const directory = path.slice(0, path.lastIndexOf("/") + 1);
    if (directory) await Deno.mkdir(directory, { recursive: true });
    await writeWhole(path, text);
    await Deno.chmod(path, text.startsWith("#!") ? 0o755 : 0o644);
  }
}

/** Whether there is a file at the path. @throws {HotbootError} if it, or a directory on the way to it, is something else. */
async function look(path: string): Promise<boolean> {
  const steps = path.split("/");
  for (let count = 1; count <= steps.length; count++) {
    const at = steps.slice(0, count).join("/");
    const info = await Deno.lstat(at).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
    if (!info) return false;
    const isRight = count < steps.length ? info.isDirectory : info.isFile;
    if (!isRight) {
      const wanted = count < steps.length ? "a directory" : "a file";
      throw new HotbootError(`${at} is there and is not ${wanted}, so nothing was written: move it away`);
    }
  }
  return true;
}
