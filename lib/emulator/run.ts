/** Runs a program on the host while an emulator is up. */

import { terminateOnAbort } from "../base/child.ts";
import { HotbootError, messageOf } from "../base/error.ts";
import { onPath } from "../base/on_path.ts";
import type { Emulator } from "../instance/emulator.ts";
import { lockInstance, shareRun, tryEndRun } from "../instance/locks.ts";
import { readRecord } from "../instance/record.ts";
import { watchDisk } from "../instance/space.ts";
import { environment } from "./environment.ts";
import { startFresh, withFresh } from "./fresh.ts";
import { openProject, requireConfigFile } from "./project.ts";
import { startForRun } from "./start.ts";
import type { StartOptions } from "./start_result.ts";
import { recordedStop } from "./stop.ts";

/** What to run, and how to start the emulator. */
export interface RunOptions extends StartOptions {
  /** The program (a path or a name on `PATH`) and its arguments; or one line for Bash. */
  command: string[];
  /** Drop the instance afterwards, with all that it has written. It must be stopped. */
  fresh?: boolean;
  /** A file to make a project of first, as {@linkcode openProject} does; the program gets the answer in its environment. */
  configFile?: string;
  /** Called once the program runs, in this program's process group and on its terminal. */
  onSpawn?: (child: Deno.ChildProcess) => void;
}

/**
 * Bash finds the program, and becomes it: a program that may run only Bash can then run any other, and the shell's exit
 * codes say what went wrong. `-p`: ignore BASH_ENV.
 */
const EXEC = ["-p", "-c", 'exec -- "$@"', "hotboot"];
/** A single word with a space that is not a program is a line for the shell: `hotboot run "npm test"`. */
const LINE = ["-p", "-c", 'type -P -- "$1" >/dev/null && exec -- "$1"; exec bash -c "$1"', "hotboot"];
const CHECK = [
  "-p",
  "-c",
  `type -P -- "$1" >/dev/null && exit
[[ $1 != */* || ! -e $1 ]] || { echo "hotboot: $1 is not executable: type chmod +x $1" >&2; exit 126; }
echo "hotboot: there is no program '$1'" >&2
exit 127`,
  "hotboot",
];

/**
 * Runs a program on this machine while the emulator is up. Starts the emulator, unless it runs already; waits until it is
 * healthy; runs the program with this program's standard streams and environment, plus the profile's `environment`; and
 * suspends the emulator again if it was started here, so that the next start continues there. If several runs overlap, the
 * last one suspends it; none does if somebody typed `start` meanwhile, to use it for longer.
 *
 * Needs what {@linkcode start}, {@linkcode stop} and {@linkcode environment} need, what {@linkcode openProject} needs for a
 * config file, and run permission for the Bash on `PATH`.
 *
 * @param emulator The emulator, from {@linkcode openEmulator}. If its signal aborts, pending work ends; a program that
 * already runs gets SIGTERM, and decides. An instance that was started here is suspended in any case.
 * @param options The program, and how to start the emulator.
 * @returns The program's exit code; 128 + n if signal n ended it; 127 if there is no such program, 126 if it cannot be
 * executed. Bash looks for it before anything starts, and reports what is wrong on standard error.
 * @throws {HotbootError} if the emulator cannot be started or is not healthy, or no project can be made; or if the emulator
 * cannot be suspended after a program that succeeded.
 * @throws The reason of the emulator's signal, if it aborts before the program runs.
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
  const { command: _, configFile: __, onSpawn: ___, fresh, ...starting } = options;
  if (fresh) {
    return await withFresh(emulator, async () => {
      const program = await findProgram(emulator, options);
      if ("unfit" in program) return program.unfit;
      await startFresh(emulator, starting);
      return await runProgram(emulator, program, options);
    });
  }
  const program = await findProgram(emulator, options);
  if ("unfit" in program) return program.unfit;
  const sharing = await shareRun(emulator);
  let code: number | undefined;
  try {
    await startForRun(emulator, starting);
    code = await runProgram(emulator, program, options);
    return code;
  } finally {
    sharing[Symbol.dispose]();
    await suspendAfterRun(emulator, code === 0);
  }
}

/** Bash, and what it runs. */
interface Program {
  bash: string;
  args: string[];
}

/** What is to be run, or the exit code that says why it cannot be. */
async function findProgram(
  emulator: Emulator,
  { command, configFile }: RunOptions,
): Promise<Program | { unfit: number }> {
  if (command.length === 0) throw new HotbootError("there is no command to run: name a program");
  const bash = await onPath("bash");
  if (!bash) throw new HotbootError("hotboot needs bash to run the command, and bash is not on PATH: install it");
  const isLine = command.length === 1 && /\s/.test(command[0]);
  const { code: unfit } = isLine ? { code: 0 } : await spawn(bash, [...CHECK, command[0]]).status;
  if (unfit !== 0) return { unfit };
  if (configFile !== undefined) await requireConfigFile(emulator, configFile);
  return { bash, args: [...isLine ? LINE : EXEC, ...command] };
}

/** Runs the program while the emulator is up. */
async function runProgram(
  emulator: Emulator,
  { bash, args }: Program,
  { configFile, onSpawn }: RunOptions,
): Promise<number> {
  const answer = configFile === undefined ? undefined : await openProject(emulator, configFile);
  const env = await environment(emulator, answer);
  emulator.signal.throwIfAborted();
  const child = spawn(bash, args, env);
  onSpawn?.(child);
  using _ending = terminateOnAbort(child, emulator.signal);
  await using _watch = watchDisk(emulator);
  return (await child.status).code;
}

function spawn(program: string, args: string[], env: Record<string, string> = {}): Deno.ChildProcess {
  return new Deno.Command(program, { args, env, stdin: "inherit", stdout: "inherit", stderr: "inherit" }).spawn();
}

/**
 * Suspends what was started for runs, unless another run still uses it, even after an abort. A failure to suspend fails the
 * run only if the program succeeded.
 */
async function suspendAfterRun(emulator: Emulator, wentWell: boolean): Promise<void> {
  const own = { ...emulator, signal: new AbortController().signal };
  try {
    using last = await tryEndRun(own);
    if (!last) return;
    using _lock = await lockInstance(own);
    const record = await readRecord(own);
    if (record && !("damaged" in record) && record.isForRun && record.phase === "running") await recordedStop(own, {});
  } catch (error) {
    if (wentWell) throw error;
    emulator.report.warn(messageOf(error));
  }
}
