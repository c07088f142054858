/**
 * Runs Deno on this checkout, with the standard library from where it can be had: from JSR or, where JSR cannot be
 * reached, the same code from npm.
 *
 *     deno run -A dev/deno.ts SUBCOMMAND ARGS…
 *
 * HOTBOOT_IMPORTS=jsr or =npm decides by hand. What was found out is remembered in `.cache/` for a day.
 *
 * `deno.lock` covers both: it has the digests of what JSR gives and of what npm gives. It is frozen, so that Deno refuses
 * whatever is not in it. Where JSR can be reached, these bring it up to date after a change of versions:
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

/** Runs this Deno with `args`, in the directory that the user is in, and gives the exit code. */
export async function runDeno([subcommand, ...args]: string[]): Promise<number> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [subcommand, ...await importArguments(), ...args],
    cwd: Deno.env.get("INIT_CWD"), // `deno task` has changed to the project's
  }).spawn();
  // Ctrl-C reaches the child too, which decides; only a signal that was sent to this process alone is handed on.
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
    // not asked yet
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
