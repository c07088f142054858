/** Where a profile's recipe is; also when that is inside the compiled program, where no other program can read it. */

import { fromFileUrl } from "@std/path/from-file-url";
import { GUESTS } from "../bundle.ts";
import { HotbootError } from "../error.ts";
import type { Emulator } from "./emulator.ts";

/** The absolute path of one of the recipe's files, as the profile names it. */
export function recipePath({ profile, profileUrl }: Emulator, relative: string): string {
  const url = new URL(relative, profileUrl);
  if (url.protocol === "file:") return fromFileUrl(url).replace(/\/$/, "");
  throw new HotbootError(
    `the recipe of '${profile.name}' is at ${url.origin}, where it cannot be run: use a checkout, or the binary`,
  );
}

/**
 * Where the recipe's script is: where the profile says or, when that is inside the program, below `directory`, where the
 * recipe's files are written.
 */
export async function scriptPath(emulator: Emulator, directory: string): Promise<string> {
  const { profile, profileUrl } = emulator;
  const { script, inputs } = profile.image.build!;
  if (!Deno.build.standalone || !profileUrl.href.startsWith(GUESTS.href)) return recipePath(emulator, script);
  const [from, to] = [fromFileUrl(GUESTS), `${directory}/recipe/`];
  for (const input of inputs) {
    const path = recipePath(emulator, input);
    await copy(path, to + path.slice(from.length));
  }
  return to + recipePath(emulator, script).slice(from.length);
}

async function copy(from: string, to: string): Promise<void> {
  const { isDirectory, isSymlink } = await Deno.lstat(from);
  await Deno.mkdir(isDirectory ? to : to.replace(/\/[^/]*$/, ""), { recursive: true });
  if (isDirectory) { for await (const { name } of Deno.readDir(from)) await copy(`${from}/${name}`, `${to}/${name}`); }
  else if (isSymlink) throw new Error(`${from} is a link, which a recipe inside the program cannot have`);
  else {
    const bytes = await Deno.readFile(from);
    const isProgram = bytes[0] === 0x23 && bytes[1] === 0x21; // "#!": modes are not kept inside the program
    await Deno.writeFile(to, bytes, { mode: isProgram ? 0o755 : 0o644 });
  }
}
