/**
 * Ending an instance: suspended, shut down, or dropped.
 *
 * A suspension that fails, or is interrupted, leaves a guest that runs on: see `suspend.ts`, which undoes it.
 */

import { messageOf } from "../base/error.ts";
import { within } from "../base/wait.ts";
import { connectAgent } from "../guest/agent.ts";
import { crashOf, endCrashed } from "../guest/crash.ts";
import type { Emulator } from "../instance/emulator.ts";
import { clearRun, dropInstance, dropMemory } from "../instance/files.ts";
import { killUnresponsive } from "../instance/kill.ts";
import { lockInstance } from "../instance/locks.ts";
import { type Ending, writeEnding, writeRecord } from "../instance/record.ts";
import { quit, requireOwn, settledState, stateOf, type Up } from "../instance/state.ts";

/** How to stop. */
export interface StopOptions {
  /**
   * `suspend`, unless told: its memory, devices and disk are kept, and the next start goes on exactly there.
   * `shutdown`: the guest shuts itself down; its disk is kept, and the next start boots it.
   * `discard`: it is off at once, and all that it has kept is dropped.
   */
  how?: "suspend" | "shutdown" | "discard";
}

/** What ending an instance found. */
export interface StopResult {
  /** False when the instance did not run. */
  stopped: boolean;
  /** What it keeps for its next start, if anything. */
  kept?: Ending;
}

/** A guest that has not shut itself down in this time is switched off. */
const SHUTDOWN_MS = 60_000;

/**
 * Stops the instance. No process but this instance's own QEMU is touched: it is asked for its uuid first, and then to end.
 *
 * Needs net permission for the instance's sockets, and read and write permission for the home.
 *
 * @param emulator Which, from {@linkcode openEmulator}.
 * @param options What is to be kept; all, unless told.
 * @returns Whether it ran, and what it keeps.
 * @throws {HotbootError} when it cannot be suspended (the guest runs on then), is of another profile, or QEMU does not answer.
 * @throws The reason of the emulator's signal, when that aborts. The guest runs on then.
 *
 * @example
 * ```ts
 * import { openEmulator, stop } from "@hotboot/hotboot";
 *
 * const { stopped, kept } = await stop(await openEmulator());
 * console.log(stopped ? `it is ${kept}` : "it did not run");
 * ```
 */
export async function stop(emulator: Emulator, options: StopOptions = {}): Promise<StopResult> {
  using _lock = await lockInstance(emulator);
  return await stopLocked(emulator, options);
}

/** The same for whoever holds the instance's lock. */
export async function stopLocked(emulator: Emulator, { how = "suspend" }: StopOptions): Promise<StopResult> {
  await using state = await settledState(emulator);
  switch (state.kind) {
    case "stopped":
      await dropInstance(emulator); // what a start that was killed has left
      return { stopped: false };
    case "suspended":
    case "shut down":
    case "crashed":
      if (how === "discard") await dropInstance(emulator);
      return { stopped: false, ...(how !== "discard" && { kept: state.kind }) };
  }
  const own = { ...emulator, arch: state.record.arch }; // the guest's, whatever --arch says
  if (how === "discard") {
    await quit(state.qmp, emulator.signal);
    await dropInstance(emulator);
    return { stopped: true };
  }
  const crash = await crashOf(own, state);
  if (crash !== undefined) {
    emulator.report.warn(`the guest has crashed (${crash}): only its disk is kept`);
    await endCrashed(own, state);
    return { stopped: true, kept: "crashed" };
  }
  if (how === "shutdown") await shutDown(own, state);
  else {
    const { suspend } = await import("./suspend.ts");
    await suspend(own, state);
  }
  await clearRun(emulator);
  return { stopped: true, kept: how === "shutdown" ? "shut down" : "suspended" };
}

/**
 * Drops the instance, and removes all that it has left, its console's log too. Images and snapshots stay. A QEMU that does
 * not answer is killed.
 *
 * Needs net permission for the instance's sockets, and read and write permission for the home; run permission for Bash, for a
 * QEMU that does not answer.
 *
 * @param emulator Which, from {@linkcode openEmulator}.
 * @returns Whether it ran.
 * @throws {HotbootError} when it is of another profile, or a QEMU that does not answer cannot be killed.
 *
 * @example
 * ```ts
 * import { openEmulator, reset, start } from "@hotboot/hotboot";
 *
 * const emulator = await openEmulator();
 * await reset(emulator);
 * console.log((await start(emulator)).origin); // resume
 * ```
 */
export async function reset(emulator: Emulator): Promise<StopResult> {
  using _lock = await lockInstance(emulator);
  const stopped = await endAny(emulator);
  await dropInstance(emulator);
  await Deno.remove(emulator.home.instance(emulator.instance), { recursive: true }).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
  return { stopped };
}

/** Ends the instance's QEMU, in whatever state. */
async function endAny(emulator: Emulator): Promise<boolean> {
  await using state = await stateOf(emulator, { isOwner: true });
  requireOwn(emulator, state);
  if (state.kind === "unresponsive") {
    await killUnresponsive(emulator, state);
    return true;
  }
  const qmp = "qmp" in state ? state.qmp : undefined;
  if (qmp) await quit(qmp, emulator.signal);
  return qmp !== undefined;
}

async function shutDown(emulator: Emulator, { qmp, record }: Up): Promise<void> {
  const { signal, report } = emulator;
  await writeRecord(emulator, { ...record, phase: "stopping" });
  try {
    try {
      await using agent = await connectAgent(emulator);
      await agent.powerDown({ signal });
    } catch (error) {
      signal.throwIfAborted();
      report.detail(`the guest agent: ${messageOf(error)}`);
    }
    await qmp.execute("system_powerdown").catch(() => {}); // the button, for a guest without an agent
    await within(qmp.closed, "the guest's shutdown", { timeoutMs: SHUTDOWN_MS, signal }).catch(async (error) => {
      signal.throwIfAborted();
      report.warn(`${messageOf(error)}: it is switched off, as when the power goes`);
      await quit(qmp, signal);
    });
  } catch (error) {
    await writeRecord(emulator, record); // it runs on
    throw error;
  }
  await writeEnding(emulator, record, "shut down");
  await dropMemory(emulator);
}
