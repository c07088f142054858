/**
 * A profile's recipe: the paths of its files, even if they are inside the compiled program, where other programs cannot read
 * them; and a digest of their contents.
 */

import { ensureDir } from "@std/fs/ensure-dir";
import { walk } from "@std/fs/walk";
import { dirname } from "@std/path/dirname";
import { fromFileUrl } from "@std/path/from-file-url";
import { resolve } from "@std/path/resolve";
import { GUESTS } from "../base/bundle.ts";
import { HotbootError } from "../base/error.ts";
import type { ScriptRecipe } from "../profile/profile.ts";
import type { Emulator } from "../instance/emulator.ts";
import { sha256, sha256File } from "../base/hash.ts";

/** The absolute path of one of the recipe's files, named as in the profile. */
export function recipePath({ profile, profileUrl }: Emulator, relative: string): string {
  if (profileUrl.protocol === "file:") return resolve(dirname(fromFileUrl(profileUrl)), relative);
  throw new HotbootError(
    `the recipe of '${profile.name}' is at ${profileUrl.origin} and cannot run from there: use a checkout, or the binary`,
  );
}

/**
 * The path of the recipe's script: as in the profile or, if that is inside the program, below `directory`, where the recipe's
 * files are extracted.
 */
export async function scriptPath(
  emulator: Emulator,
  { script, inputs }: ScriptRecipe,
  directory: string,
): Promise<string> {
  if (!isInProgram(emulator)) return recipePath(emulator, script);
  const [from, to] = [fromFileUrl(GUESTS), `${directory}/recipe/`];
  for (const input of inputs) {
    for (const path of await filesAt(recipePath(emulator, input))) await copy(path, to + path.slice(from.length));
  }
  return to + recipePath(emulator, script).slice(from.length);
}

/** Whether a profile of this URL comes with hotboot. */
export function isBuiltIn(profileUrl: URL): boolean {
  return profileUrl.href.startsWith(GUESTS.href);
}

/** Whether the recipe is inside the compiled program. */
function isInProgram({ profileUrl }: Emulator): boolean {
  return Deno.build.standalone && isBuiltIn(profileUrl);
}

/** Whether a file of the recipe is executable. Modes are lost inside the program, but programs begin with "#!". */
export async function isProgram(emulator: Emulator, path: string, mode: number | null): Promise<boolean> {
  if (!isInProgram(emulator)) return ((mode ?? 0) & 0o111) !== 0;
  const head = new Uint8Array(2);
  using file = await Deno.open(path);
  await file.read(head);
  return isScript(head);
}

function isScript(bytes: Uint8Array): boolean {
  return bytes[0] === 0x23 && bytes[1] === 0x21;
}

/** A digest of everything that a script depends on. */
export async function scriptDigest(emulator: Emulator, { inputs }: ScriptRecipe): Promise<string> {
  return await digestOfLines([emulator.arch, ...await describeFiles(emulator, inputs)]);
}

/** SHA-256, in hex, of the lines in this order. */
export async function digestOfLines(lines: string[]): Promise<string> {
  return await sha256(lines.join("\n"));
}

/**
 * The named files and directories: a line for each file, with its path, whether it is executable, and its content's
 * digest.
 */
export async function describeFiles(emulator: Emulator, names: string[]): Promise<string[]> {
  const lines: string[] = [];
  for (const name of names) {
    const root = recipePath(emulator, name);
    const paths = await filesAt(root).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      throw new HotbootError(
        `the recipe of '${emulator.profile.name}' names ${name}, which does not exist: correct the profile`,
      );
    });
    for (const path of paths) {
      const { isFile, mode } = await Deno.lstat(path);
      const what = isFile
        ? `${await isProgram(emulator, path, mode) ? "x" : "-"} ${await sha256File(path, emulator.signal)}`
        : `-> ${await Deno.readLink(path)}`;
      lines.push(`${name}${path.slice(root.length)} ${what}`);
    }
  }
  return lines;
}

/** The path of a file or link; for a directory, the paths of all files and links below it, sorted by name. */
async function filesAt(root: string): Promise<string[]> {
  if (!(await Deno.lstat(root)).isDirectory) return [root];
  const paths = await Array.fromAsync(walk(root, { includeDirs: false }), ({ path }) => path.replaceAll("/", "\0"));
  return paths.sort().map((path) => path.replaceAll("\0", "/"));
}

async function copy(from: string, to: string): Promise<void> {
  if ((await Deno.lstat(from)).isSymlink) {
    throw new Error(`${from} is a link, and a recipe inside the program cannot have links`);
  }
  await ensureDir(dirname(to));
  const bytes = await Deno.readFile(from);
  await Deno.writeFile(to, bytes, { mode: isScript(bytes) ? 0o755 : 0o644 });
}
