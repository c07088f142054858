/** Runs a program in the guest with its streams on serial ports of its own, and its end in the stream. */

import { HotbootError, messageOf } from "../base/error.ts";
import { writeAll } from "../base/io.ts";
import { sleep, within } from "../base/wait.ts";
import { channelsOf } from "../instance/channels.ts";
import type { Emulator } from "../instance/emulator.ts";
import { refusal, requireUp, stateOf } from "../instance/state.ts";
import { GuestAgentError } from "../vm/guest_agent.ts";
import { closePorts, plugPorts, type PortKind, type Slot, unplugPorts, usedSlots } from "../vm/ports.ts";
import type { QmpClient } from "../vm/qmp.ts";
import { connectAgent } from "./agent.ts";
import { rightClockInPassing } from "./clock.ts";
import { CutOff, EndedStream } from "./ended_stream.ts";
import type { ExecOptions, TerminalSize } from "./exec_options.ts";
import { killIn } from "./exec_agent.ts";
import { NO_TERMINAL, portsScript } from "./exec_script.ts";

const CLEAN_UP_MS = 10_000;
/** How often the agent is asked whether the program still exists: it ends without a word if the guest reboots. */
const WATCH_MS = 5000;
/** How long to wait for the rest of its output then. */
const REST_MS = 3000;
const END_OF_INPUT = new Uint8Array([0x04]); // Ctrl-D

/** A guest without usable ports. Nothing of the input has been read. */
export class NoPorts extends HotbootError {}

/** Runs it. @throws {NoPorts} if the guest does not find the ports, or all are in use. */
export async function execOverPorts(emulator: Emulator, options: ExecOptions): Promise<number> {
  const { signal } = emulator;
  const slot = await plug(emulator, options);
  const { out, err } = slot.ports;
  const end = "\x1f" + crypto.randomUUID().replaceAll("-", "").slice(1);
  let pid: number | undefined;
  const over = new AbortController();
  try {
    pid = await spawn(emulator, options, portsScript(options, slot, end));
    const output = new EndedStream(out!.connection, end);
    const errors = err && new EndedStream(err.connection, end);
    const work = async (): Promise<number> => {
      if (await output.line() === NO_TERMINAL) {
        throw new HotbootError(
          "the guest has nothing that makes a terminal: install 'script' (util-linux) or 'python3' in its image, or leave out -t",
        );
      }
      const terminal = options.terminal && await output.line();
      feed(slot, options).catch(() => {}); // the program may end before it has read all of its input
      if (terminal) resize(emulator, terminal, options.terminal?.resizes).catch(() => {});
      const [code] = await Promise.all([output.copy(options.stdout), errors?.copy(options.stderr)]);
      return code;
    };
    const code = await within(
      Promise.race([work(), watch({ ...emulator, signal: over.signal }, pid, output)]),
      "the program",
      { signal },
    );
    pid = undefined;
    return code;
  } catch (error) {
    signal.throwIfAborted();
    throw error instanceof CutOff ? await whyCutOff(emulator) : error;
  } finally {
    over.abort();
    closePorts(slot);
    await cleanUp(emulator, slot, pid).catch((error) => {
      emulator.report.detail(`the next command tidies up after the program in the guest: ${messageOf(error)}`);
    });
  }
}

async function plug(emulator: Emulator, { input, terminal }: ExecOptions): Promise<Slot> {
  const kinds: PortKind[] = terminal ? ["out"] : input ? ["in", "out", "err"] : ["out", "err"];
  const { directory } = await channelsOf(emulator);
  await using up = await requireUp(emulator);
  const slot = await plugPorts(up.qmp, directory, kinds, { signal: emulator.signal });
  if (!slot) throw new NoPorts("all ports are in use by other programs");
  return slot;
}

/** Starts it in a session of its own, so that it can be ended with all its children. */
async function spawn(emulator: Emulator, { command }: ExecOptions, script: string): Promise<number> {
  await using agent = await connectAgent(emulator, { timeoutMs: 30_000 });
  await rightClockInPassing(emulator, agent);
  const args = ["/bin/sh", "-c", script, "sh", ...command];
  return await agent.spawn({ path: "setsid", args }, true, { signal: emulator.signal });
}

/** Passes the input on, and its end. */
async function feed({ ports }: Slot, { input, terminal }: ExecOptions): Promise<void> {
  if (!input) return;
  const { connection } = (ports.in ?? ports.out)!;
  const reader = input.getReader();
  try {
    for (let next; !(next = await reader.read()).done;) await writeAll(connection, next.value);
    if (terminal) await writeAll(connection, END_OF_INPUT);
    else await connection.closeWrite();
  } finally {
    reader.cancel().catch(() => {}); // not awaited: this does not end a pending read from a terminal or pipe
  }
}

/** Gives the terminal in the guest each new size, which tells its programs. */
async function resize(emulator: Emulator, terminal: string, sizes?: ReadableStream<TerminalSize>): Promise<void> {
  for await (const { rows, columns } of sizes ?? []) {
    await using agent = await connectAgent(emulator);
    const args = ["-F", terminal, "rows", `${rows}`, "cols", `${columns}`];
    await agent.exec({ path: "stty", args }, { signal: emulator.signal });
  }
}

/** Fails when the program has gone without saying so in its output. */
async function watch(emulator: Emulator, pid: number, output: EndedStream): Promise<never> {
  const { signal } = emulator;
  let said: string | undefined;
  while (said === undefined) {
    await sleep(WATCH_MS, signal);
    said = await ending(emulator, pid);
  }
  while (output.waits < REST_MS) await sleep(WATCH_MS, signal);
  if (!output.hasBegun) throw new NoPorts(said || "the guest's shell ended at once");
  throw new HotbootError("the program was ended from outside, or the guest was restarted: run it again");
}

/** What the guest's shell said when it ended; `undefined` while it runs, or if the agent has no time for the question. */
async function ending(emulator: Emulator, pid: number): Promise<string | undefined> {
  const { signal } = emulator;
  try {
    await using agent = await connectAgent(emulator);
    const result = await agent.status(pid, { signal });
    return result && new TextDecoder().decode(result.stderr).trim();
  } catch (error) {
    signal.throwIfAborted();
    return error instanceof GuestAgentError ? "" : undefined; // it knows no such process
  }
}

/** Why the connection to a program broke. */
async function whyCutOff(emulator: Emulator): Promise<HotbootError> {
  await using state = await stateOf(emulator);
  if (state.kind === "stopping") {
    return new HotbootError(
      `instance '${emulator.instance}' is being stopped, which ended the connection to the program: start it, and run the program again`,
    );
  }
  if (state.kind === "running" || state.kind === "paused") {
    return new HotbootError("another command ended the connection to the program: run it again");
  }
  return new HotbootError(`the connection to the program broke: ${refusal(emulator, state).message}`);
}

/** Ends the program, if it still runs, and its children, and unplugs the ports. */
async function cleanUp(emulator: Emulator, slot: Slot, running?: number): Promise<void> {
  const own = { ...emulator, signal: AbortSignal.timeout(CLEAN_UP_MS) };
  await using state = await stateOf(own);
  if (state.kind !== "running" && state.kind !== "paused") return;
  await unplugPorts(state.qmp, [slot.id], { signal: own.signal });
  if (running !== undefined) await killIn(own, running);
}

/**
 * Unplugs the ports of all programs before the machine is saved. Programs that still run lose their streams, and those on a
 * terminal end.
 */
export async function cutOffExecs({ signal, report }: Emulator, qmp: QmpClient): Promise<void> {
  const { live, left } = await usedSlots(qmp, { signal });
  if (live.length > 0) report.step(`end ${live.length} 'exec' or 'shell'`);
  await unplugPorts(qmp, [...live, ...left], { signal });
}

/**
 * Unplugs what killed commands have left, before the machine is saved.
 *
 * @throws {HotbootError} if a program is at work through its ports.
 */
export async function requireNoExecs({ signal }: Emulator, qmp: QmpClient): Promise<void> {
  const { live, left } = await usedSlots(qmp, { signal });
  await unplugPorts(qmp, left, { signal });
  if (live.length > 0) {
    throw new HotbootError("an 'exec' or a 'shell' is at work in it: end that first");
  }
}
