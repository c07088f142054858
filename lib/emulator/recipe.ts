/** A recipe that is inside the compiled program, where no other program can read it. */

import { fromFileUrl } from "@std/path/from-file-url";
import { GUESTS } from "../bundle.ts";
import type { Emulator } from "./emulator.ts";

/**
 * Where the recipe's script is: where the profile says or, when that is inside the program, below `directory`, where the
 * recipe's files are written.
 */
export async function scriptPath({ profile, profileUrl }: Emulator, directory: string): Promise<string> {
  const { script, inputs } = profile.image.build!;
  if (!Deno.build.standalone || !profileUrl.href.startsWith(GUESTS.href)) {
    return fromFileUrl(new URL(script, profileUrl));
  }
  const [from, to] = [fromFileUrl(GUESTS), `${directory}/recipe/`];
  for (const input of inputs) {
    const path = fromFileUrl(new URL(input, profileUrl)).replace(/\/$/, "");
    await copy(path, to + path.slice(from.length));
  }
  return to + fromFileUrl(new URL(script, profileUrl)).slice(from.length);
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
