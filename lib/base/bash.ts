/** Scripts that Bash runs: it may look at other processes, and kill them, where Deno lets only programs with all permissions. */

import { onPath } from "./on_path.ts";
import { within } from "./wait.ts";

/** How a script ended, and what it printed. */
export interface BashResult {
  success: boolean;
  /** The lines of its standard output that are not empty. */
  lines: string[];
}

/**
 * Runs a script, without input, and without its standard error.
 *
 * @param args Its arguments, `$1` and so on.
 * @param timeoutMs After so long it is killed; by default never.
 * @returns `undefined` if there is no Bash on `PATH`.
 * @throws {HotbootError} if it takes longer.
 */
export async function runBash(
  script: string,
  args: string[] = [],
  timeoutMs?: number,
): Promise<BashResult | undefined> {
  const bash = await onPath("bash");
  if (!bash) return undefined;
  const child = new Deno.Command(bash, {
    args: ["-p", "-c", script, "hotboot", ...args],
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  try {
    const { success, stdout } = await within(child.output(), "bash", { timeoutMs });
    return { success, lines: new TextDecoder().decode(stdout).split("\n").filter((line) => line !== "") };
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  }
}
