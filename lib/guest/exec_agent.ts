/**
 * Runs a program in the guest through its agent alone, for a guest without usable ports. The program starts when all input has
 * arrived, and has no terminal.
 */

import { HotbootError, messageOf } from "../base/error.ts";
import { GuestAgent, type GuestResult } from "../vm/guest_agent.ts";
import { sleep, within } from "../base/wait.ts";
import type { Emulator } from "../instance/emulator.ts";
import { channelsOf } from "../instance/channels.ts";
import { connectAgent } from "./agent.ts";
import type { ExecOptions } from "./exec_options.ts";
import { runScript } from "./exec_script.ts";

/**
 * The shell script that runs in the guest. Input and output are files there, because the agent keeps at most 16 MiB of
 * output, and only until the program ends. `setsid` makes the program lead a session, so that hotboot can end it with all
 * its children; `exec` keeps the process, and so its id and exit code.
 */
const PREPARE = `umask 077; d=$(mktemp -d /tmp/hotboot-exec.XXXXXX) && : >"$d/in" >"$d/out" >"$d/err" && echo "$d"`;
const RUN = `d=$1; shift; exec setsid /bin/sh -c "$@" <"$d/in" >"$d/out" 2>"$d/err"`;
const [SHORTEST_PAUSE_MS, LONGEST_PAUSE_MS] = [5, 500];
/** After this time the agent is released between polls, so that other commands can use it. */
const HOLD_MS = 2000;
const CLEAN_UP_MS = 3000;

/** Runs it. The instance is up. */
export async function execOverAgent(emulator: Emulator, options: ExecOptions): Promise<number> {
  const { signal } = emulator;
  const { agent: agentPath } = await channelsOf(emulator);
  await using channel = new Channel(agentPath, signal);
  const directory = (await shell(await channel.agent(), PREPARE)).trim();
  const handles: number[] = [];
  let pid: number | undefined;
  try {
    if (options.input) await feed(channel, `${directory}/in`, options.input, signal);
    const agent = await channel.agent();
    for (const name of ["out", "err"]) handles.push(await agent.openFile(`${directory}/${name}`));
    pid = await agent.spawn({
      path: "/bin/sh",
      args: ["-c", RUN, "sh", directory, runScript(options), "sh", ...options.command],
    });
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
    await cleanUp(emulator, directory, handles, pid).catch((error) => {
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

/** Ends the program, if it still runs, and removes the files. */
async function cleanUp(emulator: Emulator, directory: string, handles: number[], running?: number): Promise<void> {
  const own = { ...emulator, signal: AbortSignal.timeout(CLEAN_UP_MS) };
  {
    await using agent = await connectAgent(own);
    for (const handle of handles) await agent.closeFile(handle, own);
    await agent.spawn({ path: "rm", args: ["-rf", directory] }, false, own);
  }
  if (running !== undefined) await killIn(own, running);
}

/** Ends a program that leads a session, and its children. */
export async function killIn(emulator: Emulator, pid: number): Promise<void> {
  const it = `-${pid} ${pid}`; // dash takes no `--` here
  const script = `{ kill -TERM ${it}; sleep 1; kill -KILL ${it}; } 2>/dev/null`;
  await using agent = await connectAgent(emulator);
  await agent.spawn({ path: "/bin/sh", args: ["-c", script] }, false, { signal: emulator.signal });
}

/** Runs a line of shell in the guest and returns its output. */
async function shell(agent: GuestAgent, script: string): Promise<string> {
  const { exitCode, stdout, stderr } = await agent.exec({ path: "/bin/sh", args: ["-c", script] });
  if (exitCode !== 0) {
    throw new HotbootError(
      `the guest's shell failed (exit code ${exitCode}): ${new TextDecoder().decode(stderr).trim()}; try again`,
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
