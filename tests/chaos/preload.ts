/** Libraries of C that change what the system says to a program that they are loaded into. */

import { fromFileUrl } from "@std/path/from-file-url";

/** Builds the library of a source beside this file. @returns What stands before the program's command line. */
export async function preload(source: string, directory: string): Promise<string[]> {
  const library = `${directory}/${source.replace(/\.c$/, ".so")}`;
  const path = fromFileUrl(new URL(source, import.meta.url));
  const built = await new Deno.Command("cc", {
    args: ["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", library, path, "-ldl"],
  }).output();
  if (!built.success) throw new Error(new TextDecoder().decode(built.stderr));
  return ["env", `LD_PRELOAD=${library}`];
}
