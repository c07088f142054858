/**
 * Runs Deno on this checkout, with the standard library from JSR or, if JSR cannot be
 * reached, the same code from npm.
 *
 *     deno run -A dev/deno.ts SUBCOMMAND ARGS…
 *
 * HOTBOOT_IMPORTS=jsr or =npm decides by hand. Otherwise `.cache/` remembers the choice for a day.
 *
 * `deno.lock` covers both: it has the digests of the packages from JSR and from npm. It is frozen, so that Deno refuses
 * all other packages. If JSR can be reached, these commands update it after a change of versions:
 *
 *     deno install --frozen=false
 *     deno cache --frozen=false --import-map=dev/imports_npm.json cli.ts
 */

/** The checkout's directory, with a slash at the end. */
export const ROOT = decodeURIComponent(new URL("../", import.meta.url).pathname);
const DECISION = `${ROOT}.cache/imports.json`;
const DAY_MS = 24 * 3600 * 1000;

/** The arguments that make a Deno subcommand resolve this project's imports. */
export async function importArguments(): Promise<string[]> {
  return await source() === "jsr" ? [] : [`--import-map=${ROOT}dev/imports_npm.json`];
}

/** Runs this Deno with `args` in the user's current directory, and returns the exit code. */
export async function runDeno([subcommand, ...args]: string[]): Promise<number> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [subcommand, ...await importArguments(), ...args],
    cwd: Deno.env.get("INIT_CWD"), // `deno task` has changed to the project's directory
  }).spawn();
  // Ctrl-C also reaches the child, which decides. Only a signal to this process alone is passed on.
  Deno.addSignalListener("SIGINT", () => {});
  Deno.addSignalListener("SIGTERM", () => child.kill("SIGTERM"));
  const { code } = await child.status;
  return code;
}

async function source(): Promise<"jsr" | "npm"> {
  const wanted = Deno.env.get("HOTBOOT_IMPORTS");
  if (wanted === "jsr" || wanted === "npm") return wanted;
  try {
    const { source, time } = JSON.parse(await Deno.readTextFile(DECISION));
    if (Date.now() - time < DAY_MS) return source;
  } catch {
    // not known yet
  }
  const found = await reachesJsr() ? "jsr" : "npm";
  await Deno.mkdir(`${ROOT}.cache`, { recursive: true });
  await Deno.writeTextFile(DECISION, JSON.stringify({ source: found, time: Date.now() }));
  return found;
}

async function reachesJsr(): Promise<boolean> {
  try {
    const response = await fetch("https://jsr.io/@std/assert/meta.json", { signal: AbortSignal.timeout(5000) });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false;
  }
}

if (import.meta.main) Deno.exit(await runDeno(Deno.args));
