/** A program on the host, with an emulator that is up while it runs. */

import { terminateOnAbort } from "../base/child.ts";
import { HotbootError, messageOf } from "../base/error.ts";
import { onPath } from "../base/on_path.ts";
import type { Emulator } from "../instance/emulator.ts";
import { lockInstance, shareRun, tryEndRun } from "../instance/locks.ts";
import { readRecord } from "../instance/record.ts";
import { environment } from "./environment.ts";
import { openProject, requireConfigFile } from "./project.ts";
import { startForRun } from "./start.ts";
import type { StartOptions } from "./start_result.ts";
import { stopLocked } from "./stop.ts";

/** What to run, and how to start what it needs. */
export interface RunOptions extends StartOptions {
  /** The program, a path or a name on `PATH`, and its arguments; or one line for Bash. */
  command: string[];
  /** A file to make a project of first, as {@linkcode openProject} does; the program is told what came of it. */
  configFile?: string;
  /** Called once the program runs, in this program's process group and with its terminal. */
  onSpawn?: (child: Deno.ChildProcess) => void;
}

/**
 * Bash finds the program, and becomes it: a program that may run Bash alone can run any so, and shells' exit codes say
 * what was wrong. `-p`: what BASH_ENV names is not for this.
 */
const EXEC = ["-p", "-c", 'exec -- "$@"', "hotboot"];
/** A single word with a space in it that is no program is a line for the shell: `hotboot run "npm test"`. */
const LINE = ["-p", "-c", 'type -P -- "$1" >/dev/null && exec -- "$1"; exec bash -c "$1"', "hotboot"];
const CHECK = [
  "-p",
  "-c",
  `type -P -- "$1" >/dev/null && exit
[[ $1 != */* || ! -e $1 ]] || { echo "hotboot: $1 is no program that can be run: chmod +x makes it one" >&2; exit 126; }
echo "hotboot: there is no program '$1'" >&2
exit 127`,
  "hotboot",
];

/**
 * Runs a program on this machine while the emulator is up: starts the emulator, unless it runs already; waits until it is
 * healthy; runs the program with this program's standard streams and environment, to which the profile's `environment`
 * is added; and suspends the emulator again, if it was started here, so that the next start goes on there. Of several that
 * run at once, the last one to end does that; nobody does when somebody has started it meanwhile, to use it for longer.
 *
 * Needs what {@linkcode start}, {@linkcode stop} and {@linkcode environment} need, what {@linkcode openProject} needs for
 * a config file, and run permission for Bash, which is looked for on `PATH`.
 *
 * @param emulator Which, from {@linkcode openEmulator}. When its signal aborts, what is under way ends; a program that
 * runs already gets SIGTERM, and decides. An instance that was started here is suspended in any case.
 * @param options The program, and how to start the emulator.
 * @returns The program's exit code; 128 + n when signal n ended it; 127 when there is no such program, 126 when it cannot
 * be executed. It is looked for before anything is started, and Bash says on standard error what is wrong.
 * @throws {HotbootError} when the emulator cannot be started or is not healthy, or no project can be made; or cannot be
 * suspended, when the program went well.
 * @throws The reason of the emulator's signal, when that aborts before the program runs.
 *
 * @example
 * ```ts
 * import { openEmulator, run } from "@hotboot/hotboot";
 *
 * const code = await run(await openEmulator({ profile: "demo" }), { command: ["npm", "test"] });
 * console.log(code);
 * ```
 */
export async function run(emulator: Emulator, options: RunOptions): Promise<number> {
  const { command, configFile, onSpawn, ...starting } = options;
  if (command.length === 0) throw new HotbootError("no command to run");
  const bash = await onPath("bash");
  if (!bash) throw new HotbootError("bash is not on PATH, which finds the command: install it");
  const isLine = command.length === 1 && /\s/.test(command[0]);
  const { code: unfit } = isLine ? { code: 0 } : await spawn(bash, [...CHECK, command[0]]).status;
  if (unfit !== 0) return unfit;
  if (configFile !== undefined) await requireConfigFile(emulator, configFile);

  const sharing = await shareRun(emulator);
  let code: number | undefined;
  try {
    await startForRun(emulator, starting);
    const answer = configFile === undefined ? undefined : await openProject(emulator, configFile);
    const env = await environment(emulator, answer);
    emulator.signal.throwIfAborted();
    const child = spawn(bash, [...isLine ? LINE : EXEC, ...command], env);
    onSpawn?.(child);
    using _ending = terminateOnAbort(child, emulator.signal);
    code = (await child.status).code;
    return code;
  } finally {
    sharing[Symbol.dispose]();
    await suspendAfterRun(emulator, code === 0);
  }
}

function spawn(program: string, args: string[], env: Record<string, string> = {}): Deno.ChildProcess {
  return new Deno.Command(program, { args, env, stdin: "inherit", stdout: "inherit", stderr: "inherit" }).spawn();
}

/**
 * Suspends what was started for runs, unless another one is still at it. Whatever has ended the run does not end this. A
 * failure is one of the run only if that has gone well.
 */
async function suspendAfterRun(emulator: Emulator, wentWell: boolean): Promise<void> {
  const own = { ...emulator, signal: new AbortController().signal };
  try {
    using last = await tryEndRun(own);
    if (!last) return;
    using _lock = await lockInstance(own);
    const record = await readRecord(own);
    if (record && !("damaged" in record) && record.isForRun && record.phase === "running") await stopLocked(own, {});
  } catch (error) {
    if (wentWell) throw error;
    emulator.report.warn(messageOf(error));
  }
}
