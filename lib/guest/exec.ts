/** Runs programs in the guest, with input, streamed output and exit code. */

import { HotbootError, messageOf } from "../base/error.ts";
import { GuestAgent, type GuestResult } from "../vm/guest_agent.ts";
import { sleep, within } from "../base/wait.ts";
import type { Emulator } from "../instance/emulator.ts";
import { channelsOf } from "../instance/channels.ts";
import { requireUp } from "../instance/state.ts";

/** A program to run, and where its output goes. */
export interface ExecOptions {
  /** The program and its arguments. */
  command: string[];
  /** Its standard input; empty if absent. The program starts when all input has arrived. */
  input?: ReadableStream<Uint8Array>;
  /** Gets standard output as it arrives. */
  stdout?: (bytes: Uint8Array) => Promise<void> | void;
  /** Gets standard error as it arrives. */
  stderr?: (bytes: Uint8Array) => Promise<void> | void;
}

/**
 * The shell script that runs in the guest. Input and output are files there, because the agent keeps at most 16 MiB of
 * output, and only until the program ends. `setsid` makes the program lead a session, so that hotboot can end it with all
 * its children; `exec` keeps the process, and so its id and exit code.
 */
const PREPARE = `umask 077; d=$(mktemp -d /tmp/hotboot-exec.XXXXXX) && : >"$d/in" >"$d/out" >"$d/err" && echo "$d"`;
const RUN = `d=$1; shift; exec setsid "$@" <"$d/in" >"$d/out" 2>"$d/err"`;
const [SHORTEST_PAUSE_MS, LONGEST_PAUSE_MS] = [5, 500];
/** After this time the agent is released between polls, so that other commands can use it. */
const HOLD_MS = 2000;
const CLEAN_UP_MS = 3000;

/**
 * Runs a program in the running guest, as root, and waits for its end.
 *
 * Needs net permission for the instance's sockets, and read permission for the home. The guest needs a POSIX shell,
 * `mktemp` and `setsid`.
 *
 * @param emulator The emulator, from {@linkcode openEmulator}.
 * @param options The program, its input, and where its output goes.
 * @returns The program's exit code; 128 + n if signal n ended it; 127 if there is no such program.
 * @throws {HotbootError} if the instance does not run or its agent does not answer.
 * @throws The reason of the emulator's signal, if it aborts. The program is ended, too.
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
      result = await agent.status(pid); // before the output, which is complete when the program has ended
      await copyRest(agent, handles[0], signal, options.stdout);
      await copyRest(agent, handles[1], signal, options.stderr);
      await channel.rest();
    }
    pid = undefined;
    return result.exitCode;
  } finally {
    await channel.close(); // the signal may have interrupted a command: the next connection starts clean
    await cleanUp(agentPath, directory, handles, pid).catch((error) => {
      emulator.report.detail(`${directory} is left in the guest: ${messageOf(error)}`);
    });
  }
}

/** Copies a stream into a file in the guest. Releases the agent while it waits for more input. */
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
    reader.cancel().catch(() => {}); // not awaited: this does not end a pending read from a terminal or pipe
  }
}

/** Passes on what was added to an open file in the guest since the last call; the agent keeps the position. */
async function copyRest(
  agent: GuestAgent,
  handle: number,
  signal: AbortSignal,
  write: ExecOptions["stdout"],
): Promise<void> {
  for (let bytes; (bytes = await agent.read(handle, { signal })).length > 0;) await write?.(bytes);
}

/** Ends the program, if it still runs, and its children, and removes the files. */
async function cleanUp(agentPath: string, directory: string, handles: number[], running?: number): Promise<void> {
  const limits = { timeoutMs: CLEAN_UP_MS };
  await using agent = await GuestAgent.connect(agentPath, limits);
  for (const handle of handles) await agent.closeFile(handle, limits);
  const [group, process] = [`-- -${running}`, running];
  const kill = `kill -TERM ${group} ${process}; sleep 1; kill -KILL ${group} ${process}; `;
  const script = `{ ${running === undefined ? "" : kill}rm -rf '${directory}'; } 2>/dev/null`;
  await agent.spawn({ path: "/bin/sh", args: ["-c", script] }, false, limits);
}

/** Runs a line of shell in the guest and returns its output. */
async function shell(agent: GuestAgent, script: string): Promise<string> {
  const { exitCode, stdout, stderr } = await agent.exec({ path: "/bin/sh", args: ["-c", script] });
  if (exitCode !== 0) {
    throw new HotbootError(
      `the guest's shell failed (exit code ${exitCode}): ${new TextDecoder().decode(stderr).trim()}`,
    );
  }
  return new TextDecoder().decode(stdout);
}

/** The agent's one channel: held for a while, then released between uses so that other commands get a turn. */
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
