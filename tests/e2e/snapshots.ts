/** What the tests of the `snapshot` commands share. */

import { assertEquals, assertMatch } from "@std/assert";
import type { SnapshotInfo } from "../../lib/emulator/snapshots.ts";
import type { GuestHome } from "./guest_home.ts";
import { assertCode, type Run } from "./program.ts";

/** The output of `hotboot snapshot VERB --json`. */
export const json = async (home: GuestHome, verb: string, ...args: string[]) =>
  JSON.parse(await home.succeed(`snapshot ${verb}`, ["--json", ...args]));

/** The output of `hotboot snapshot ls`. */
export const list = (home: GuestHome, ...args: string[]): Promise<SnapshotInfo[]> => json(home, "ls", ...args);

/** The id of the snapshot in the directory. */
export const idOf = (directory: string) => directory.split("/").at(-1)!;

/** The names in a directory; none if there is no directory. */
export const namesIn = async (directory: string) =>
  (await Array.fromAsync(Deno.readDir(directory), ({ name }) => name).catch(() => [])).sort();

/** Asserts that the reason is the last line on standard error, and that standard output is empty. */
export function assertRefused(run: Run, why: RegExp, code = 1): void {
  assertCode(run, code);
  assertMatch(run.stderr.trimEnd().split("\n").at(-1)!, why);
  assertEquals(run.stdout, "");
}

/** The output of a shell command. */
export async function tool(command: string): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command("bash", { args: ["-c", `set -o pipefail; ${command}`] })
    .output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}
