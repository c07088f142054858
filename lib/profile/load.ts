/** Finds a profile by its name or path. */

import { resolve } from "@std/path/resolve";
import { toFileUrl } from "@std/path/to-file-url";
import { GUESTS } from "../base/bundle.ts";
import { didYouMean } from "../base/closest.ts";
import { HotbootError } from "../base/error.ts";
import { otherThanFile } from "../base/files.ts";
import type { LoadedProfile, Profile } from "./profile.ts";
import type { ReadVariable } from "./variables.ts";

const BUILT_IN: Record<string, () => Promise<{ default: unknown }>> = {
  demo: () => import("../../qemu/demo/profile.json", { with: { type: "json" } }),
  stack: () => import("../../qemu/stack/profile.json", { with: { type: "json" } }),
};

/** The names of the profiles that are built in. */
export const BUILT_IN_PROFILES: string[] = Object.keys(BUILT_IN);

/**
 * Finds a profile by a built-in name or by the path of its file, and fills in the environment's variables.
 *
 * @param nameOrPath A built-in name; anything with a slash or ending in `.json` is a path.
 * @param read Returns the values of variables; by default this program's environment.
 * @throws {HotbootError} if there is no such profile, or with the first field that is wrong.
 */
export async function loadProfile(nameOrPath: string, read?: ReadVariable): Promise<LoadedProfile> {
  if (Object.hasOwn(BUILT_IN, nameOrPath)) {
    const [{ completeProfile }, { default: value }] = await Promise.all([import("./parse.ts"), BUILT_IN[nameOrPath]()]);
    const profile = completeProfile(value, nameOrPath, { read, isTested: true });
    resolveFiles(profile, (file) => resolve(file));
    return { profile, url: new URL(`${nameOrPath}/profile.json`, GUESTS) };
  }
  if (!nameOrPath.includes("/") && !nameOrPath.endsWith(".json")) {
    const guess = didYouMean(nameOrPath, BUILT_IN_PROFILES);
    throw new HotbootError(
      `no profile '${nameOrPath}'${guess}: use ${
        BUILT_IN_PROFILES.join(", ")
      }, which are built in, or a file, whose name ends in .json`,
    );
  }
  const { path, text } = await readProfile(nameOrPath);
  const { parseProfile } = await import("./parse.ts");
  const profile = parseProfile(text, nameOrPath, read);
  resolveFiles(profile, (file) => resolve(path, "..", file));
  return { profile, url: toFileUrl(path) };
}

/** The real path and the text of a profile's file. @throws {HotbootError} if there is none. */
export async function readProfile(name: string): Promise<{ path: string; text: string }> {
  try {
    const path = await Deno.realPath(name);
    const other = await otherThanFile(path);
    if (other) throw new HotbootError(`${name} is ${other}, not a profile: name a file`);
    return { path, text: await Deno.readTextFile(path) };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new HotbootError(`no profile at ${name}: name a file that exists`);
    throw error;
  }
}

/** Makes the paths of files absolute that are used as they are: the config disk's, and the trusted root. */
function resolveFiles({ config, image: { attestation } }: Profile, absolute: (file: string) => string): void {
  if (attestation?.trustedRoot !== undefined) attestation.trustedRoot = absolute(attestation.trustedRoot);
  for (const content of Object.values(config?.files ?? {})) {
    if ("file" in content && content.file !== "") content.file = absolute(content.file);
  }
}
