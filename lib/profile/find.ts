/** Finds the profile if none is named. */

import { HotbootError } from "../base/error.ts";

/** The file's name in a project's directory. */
export const PROJECT_PROFILE = "hotboot.json";

/** The built-in profile to use without a project's. */
const DEFAULT_PROFILE = "stack";

/**
 * The path of `hotboot.json` in `directory` or the nearest one above it; if there is none, the name of a built-in profile.
 * The search ends at the first directory that belongs to another user: a profile can run programs (its recipe), and others
 * may put one into a directory above, such as `/tmp`.
 *
 * @throws {HotbootError} if the file belongs to another user than its directory.
 */
export async function findProfile(directory: string = Deno.cwd()): Promise<string> {
  const { uid: owner } = await Deno.stat(directory);
  for (let at = directory;; at = at.replace(/\/[^/]*$/, "") || "/") {
    if (at !== directory && (await Deno.stat(at)).uid !== owner) return DEFAULT_PROFILE;
    const path = `${at === "/" ? "" : at}/${PROJECT_PROFILE}`;
    const found = await Deno.lstat(path).catch((error) => {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    });
    if (found && found.uid === owner) return path;
    if (found) throw new HotbootError(`${path} belongs to another user: type --profile ${path} to use it anyway`);
    if (at === "/") return DEFAULT_PROFILE;
  }
}
