/** Programs in the guest, with their input, their output as it comes, and their exit code. */

import { HotbootError, messageOf } from "../base/error.ts";
import { GuestAgent, type GuestResult } from "../vm/guest_agent.ts";
import { sleep, within } from "../base/wait.ts";
import type { Emulator } from "../instance/emulator.ts";
import { channelsOf } from "../instance/channels.ts";
import { requireUp } from "../instance/state.ts";

/** A program to run, and what to do with its output. */
export interface ExecOptions {
  /** The program and its arguments. */
  command: string[];
  /** What it reads from standard input, all of which is there when it starts; none: an empty one. */
  input?: ReadableStream<Uint8Array>;
  /** Gets standard output as it comes. */
  stdout?: (bytes: Uint8Array) => Promise<void> | void;
  /** Gets standard error as it comes. */
  stderr?: (bytes: Uint8Array) => Promise<void> | void;
}

/**
 * What runs in the guest. Input and output are files there, because the agent itself keeps at most 16 MiB of output,
 * and only until the program has ended. The program leads a session, so that it can be ended with all it has started;
 * `exec` keeps the process, and so its id and exit code.
 */
const PREPARE = `umask 077; d=$(mktemp -d /tmp/hotboot-exec.XXXXXX) && : >"$d/in" >"$d/out" >"$d/err" && echo "$d"`;
const RUN = `d=$1; shift; exec setsid "$@" <"$d/in" >"$d/out" 2>"$d/err"`;
const [SHORTEST_PAUSE_MS, LONGEST_PAUSE_MS] = [5, 500];
/** While a program runs this long, the agent is left to others between two looks at it. */
const HOLD_MS = 2000;
const CLEAN_UP_MS = 3000;

/**
 * Runs a program in the running guest, as root, to its end.
 *
 * Needs net permission for the instance's sockets, and read permission for the home. The guest needs a POSIX shell,
 * `mktemp` and `setsid`.
 *
 * @param emulator Which, from {@linkcode openEmulator}.
 * @param options The program, its input, and what to do with its output.
 * @returns The program's exit code; 128 + n when signal n ended it; 127 when there is no such program.
 * @throws {HotbootError} when the instance does not run or its agent does not answer.
 * @throws The reason of the emulator's signal, when that aborts. The program is ended too.
 *
 * @example
 * ```ts
 * import { exec, openEmulator } from "@hotboot/hotboot";
 *
 * let version = "";
 * const code = await exec(await openEmulator(), {
 *   command: ["uname", "-r"],
 *   stdout: (bytes) => void (version += new TextDecoder().decode(bytes)),
 * });
 * console.log(code, version);
 * ```
 */
export async function exec(emulator: Emulator, options: ExecOptions): Promise<number> {
  const { signal } = emulator;
  if (options.command.length === 0) throw new HotbootError("no command to run in the guest");
  await (await requireUp(emulator))[Symbol.asyncDispose]();
  const { agent: agentPath } = await channelsOf(emulator);
  await using channel = new Channel(agentPath, signal);
  const directory = (await shell(await channel.agent(), PREPARE)).trim();
  const handles: number[] = [];
  let pid: number | undefined;
  try {
    if (options.input) await feed(channel, `${directory}/in`, options.input, signal);
    const agent = await channel.agent();
    for (const name of ["out", "err"]) handles.push(await agent.openFile(`${directory}/${name}`));
    pid = await agent.spawn({ path: "/bin/sh", args: ["-c", RUN, "sh", directory, ...options.command] });
    let result: GuestResult | undefined;
    for (let pause = SHORTEST_PAUSE_MS; !result; pause = Math.min(pause * 1.5, LONGEST_PAUSE_MS)) {
      await sleep(pause, signal);
      const agent = await channel.agent();
      result = await agent.status(pid); // before the output, which is complete once the program has ended
      await copyRest(agent, handles[0], signal, options.stdout);
      await copyRest(agent, handles[1], signal, options.stderr);
      await channel.rest();
    }
    pid = undefined;
    return result.exitCode;
  } finally {
    await channel.close(); // the signal may have broken into a command: the next connection starts anew
    await cleanUp(agentPath, directory, handles, pid).catch((error) => {
      emulator.report.detail(`${directory} stays in the guest: ${messageOf(error)}`);
    });
  }
}

/** Copies a stream into a file in the guest. Between its pieces, however long they take, the agent is free for others. */
async function feed(
  channel: Channel,
  path: string,
  input: ReadableStream<Uint8Array>,
  signal: AbortSignal,
): Promise<void> {
  const reader = input.getReader();
  try {
    while (true) {
      const next = reader.read();
      if (await Promise.race([next, sleep(HOLD_MS)]) === undefined) await channel.close();
      const { done, value } = await within(next, "standard input", { signal });
      if (done) return;
      await (await channel.agent()).writeFile(path, value, { append: true, signal });
    }
  } finally {
    reader.cancel().catch(() => {}); // not awaited: a terminal's or a pipe's read under way does not end by it
  }
}

/** Hands on what has been added to an open file in the guest since last time; the agent keeps the position. */
async function copyRest(
  agent: GuestAgent,
  handle: number,
  signal: AbortSignal,
  write: ExecOptions["stdout"],
): Promise<void> {
  for (let bytes; (bytes = await agent.read(handle, { signal })).length > 0;) await write?.(bytes);
}

/** Ends what still runs, with all that it has started, and removes the files. */
async function cleanUp(agentPath: string, directory: string, handles: number[], running?: number): Promise<void> {
  const limits = { timeoutMs: CLEAN_UP_MS };
  await using agent = await GuestAgent.connect(agentPath, limits);
  for (const handle of handles) await agent.closeFile(handle, limits);
  const [group, process] = [`-- -${running}`, running];
  const kill = `kill -TERM ${group} ${process}; sleep 1; kill -KILL ${group} ${process}; `;
  const script = `{ ${running === undefined ? "" : kill}rm -rf '${directory}'; } 2>/dev/null`;
  await agent.spawn({ path: "/bin/sh", args: ["-c", script] }, false, limits);
}

/** Runs a line of shell in the guest and gives what it prints. */
async function shell(agent: GuestAgent, script: string): Promise<string> {
  const { exitCode, stdout, stderr } = await agent.exec({ path: "/bin/sh", args: ["-c", script] });
  if (exitCode !== 0) {
    throw new HotbootError(
      `the guest's shell failed (exit code ${exitCode}): ${new TextDecoder().decode(stderr).trim()}`,
    );
  }
  return new TextDecoder().decode(stdout);
}

/** The agent's one channel: held for a while, then given up between uses so that other commands get their turn. */
class Channel implements AsyncDisposable {
  #path: string;
  #signal?: AbortSignal;
  #agent?: GuestAgent;
  #since = performance.now();

  constructor(path: string, signal?: AbortSignal) {
    this.#path = path;
    this.#signal = signal;
  }

  async agent(): Promise<GuestAgent> {
    return this.#agent ??= await GuestAgent.connect(this.#path, { timeoutMs: 30_000, signal: this.#signal });
  }

  async rest(): Promise<void> {
    if (performance.now() - this.#since > HOLD_MS) await this.close();
  }

  async close(): Promise<void> {
    await this.#agent?.close();
    this.#agent = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
