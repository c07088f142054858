/** Finds programs. */

/**
 * The absolute path of a program, found as a shell does, or `undefined`. Does not follow links: Deno's permission to run a
 * program is for the path at which it was found. Skips relative directories of `PATH`.
 *
 * Needs env permission for `PATH` and read permission for the program.
 */
export async function onPath(program: string): Promise<string | undefined> {
  for (const directory of (Deno.env.get("PATH") ?? "").split(":")) {
    if (!directory.startsWith("/")) continue;
    const path = `${directory.replace(/\/+$/, "")}/${program}`;
    const found = await Deno.stat(path).catch(() => undefined);
    if (found?.isFile && (found.mode ?? 0) & 0o111) return path;
  }
}
