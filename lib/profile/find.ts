/** The profile that is meant where none is named. */

import { HotbootError } from "../base/error.ts";

/** Its name in a project's directory. */
export const PROJECT_PROFILE = "hotboot.json";

/** The built-in profile that is meant where there is no project's. */
const DEFAULT_PROFILE = "stack";

/**
 * The path of `hotboot.json` in `directory` or the nearest one above it; where there is none, the name of a built-in
 * profile. The search ends with the first directory that belongs to somebody else: a profile has its recipe run, and in
 * the directories above, such as `/tmp`, others may put one.
 *
 * @throws {HotbootError} when the one that is found belongs to somebody else than its directory.
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
    if (found) throw new HotbootError(`${path} belongs to somebody else: say --profile ${path} if you mean it`);
    if (at === "/") return DEFAULT_PROFILE;
  }
}
