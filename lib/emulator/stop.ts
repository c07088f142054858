/**
 * Ends an instance: suspends it, shuts it down, or drops it.
 *
 * A suspension that fails or is interrupted leaves the guest running: `suspend.ts` undoes it.
 */

import { messageOf } from "../base/error.ts";
import { removeIfThere } from "../base/files.ts";
import type { Timeline } from "../base/timeline.ts";
import { within } from "../base/wait.ts";
import { connectAgent } from "../guest/agent.ts";
import { crashOf, endCrashed } from "../guest/crash.ts";
import { trimSerialLog } from "../instance/serial_log.ts";
import type { Emulator } from "../instance/emulator.ts";
import { clearRun, dropMemory } from "../instance/files.ts";
import { dropWithSource } from "../instance/forks.ts";
import { recorded } from "../instance/history.ts";
import { killUnresponsive } from "../instance/kill.ts";
import { lockInstance } from "../instance/locks.ts";
import { adoptOrphan } from "../instance/owners.ts";
import { type Ending, readRecord, writeEnding, writeRecord } from "../instance/record.ts";
import { quit, requireOwn, settledState, stateOf, type Up } from "../instance/state.ts";

/** How to stop. */
export interface StopOptions {
  /**
   * `suspend` (default): saves memory, devices and disk; the next start continues exactly there.
   * `shutdown`: the guest shuts itself down; its disk stays, and the next start boots it.
   * `discard`: switches it off at once, and drops its disk and memory.
   */
  how?: "suspend" | "shutdown" | "discard";
}

/** The result of ending an instance. */
export interface StopResult {
  /** False if the instance did not run. */
  stopped: boolean;
  /** What the next start finds, if anything. */
  kept?: Ending;
}

/** A guest that does not shut itself down in this time is switched off. */
const SHUTDOWN_MS = 60_000;

/**
 * Stops the instance. Touches no process but this instance's own QEMU: asks for its uuid first, and then tells it to end.
 *
 * Needs net permission for the instance's sockets, and read and write permission for the home.
 *
 * @param emulator The emulator, from {@linkcode openEmulator}.
 * @param options What to save; everything by default.
 * @returns Whether it ran, and what it keeps.
 * @throws {HotbootError} if it cannot be suspended (the guest runs on then), belongs to another profile, or QEMU does not answer.
 * @throws The reason of the emulator's signal, if it aborts. The guest runs on then.
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
  if (options.how !== "discard") await adoptOrphan(emulator);
  await trimSerialLog(emulator);
  return await recordedStop(emulator, options);
}

/** The same for a caller that holds the instance's lock. */
export async function recordedStop(emulator: Emulator, options: StopOptions): Promise<StopResult> {
  return await recorded(
    emulator,
    "stop",
    (timeline) => stopLocked(emulator, options, timeline),
    ({ stopped, kept }) => stopped ? kept ?? "discarded" : undefined,
  );
}

/** The same as a part of another command. */
export async function stopLocked(
  emulator: Emulator,
  { how = "suspend" }: StopOptions,
  timeline: Timeline,
): Promise<StopResult> {
  await using state = await settledState(emulator);
  switch (state.kind) {
    case "stopped": {
      const left = await readRecord(emulator); // of a killed start
      await dropWithSource(emulator, left && "snapshot" in left ? left.snapshot : undefined);
      return { stopped: false };
    }
    case "suspended":
    case "shut down":
    case "crashed":
      if (how === "discard") await dropWithSource({ ...emulator, arch: state.record.arch }, state.record.snapshot);
      return { stopped: false, ...(how !== "discard" && { kept: state.kind }) };
  }
  const own = { ...emulator, arch: state.record.arch }; // the guest's, whatever --arch says
  if (how === "discard") {
    await writeRecord(own, { ...state.record, phase: "stopping" });
    await timeline.phase("quit", () => quit(state.qmp, emulator.signal));
    await timeline.phase("drop", () => dropWithSource(own, state.record.snapshot));
    return { stopped: true };
  }
  const crash = await crashOf(own, state);
  if (crash !== undefined) {
    emulator.report.warn(`the guest crashed (${crash}): only its disk is saved`);
    await endCrashed(own, state);
    return { stopped: true, kept: "crashed" };
  }
  if (how === "shutdown") await timeline.phase("shutdown", () => shutDown(own, state));
  else {
    const { suspend } = await import("./suspend.ts");
    await suspend(own, state, timeline);
  }
  await clearRun(emulator);
  return { stopped: true, kept: how === "shutdown" ? "shut down" : "suspended" };
}

/**
 * Drops the instance, and removes all its files, including its console log. Images and snapshots stay. Kills a QEMU that does
 * not answer.
 *
 * Needs net permission for the instance's sockets, and read and write permission for the home; run permission for Bash, to
 * kill a QEMU that does not answer.
 *
 * @param emulator The emulator, from {@linkcode openEmulator}.
 * @returns Whether it ran.
 * @throws {HotbootError} if it belongs to another profile, or a QEMU that does not answer cannot be killed.
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
  return await resetLocked(emulator);
}

/** The same for a caller that holds the instance's lock. */
export async function resetLocked(emulator: Emulator): Promise<StopResult> {
  const directory = emulator.home.instance(emulator.instance);
  const record = await readRecord(emulator);
  const stopped = await endAny(emulator);
  if ((await Deno.lstat(directory).catch(() => undefined))?.isSymlink) await Deno.remove(directory); // not what it leads to
  const known = record && "arch" in record ? record : undefined;
  await dropWithSource({ ...emulator, arch: known?.arch ?? emulator.arch }, known?.snapshot);
  await removeIfThere(directory);
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
    await qmp.execute("system_powerdown").catch(() => {}); // the power button, for a guest without an agent
    await within(qmp.closed, "the guest's shutdown", { timeoutMs: SHUTDOWN_MS, signal }).catch(async (error) => {
      signal.throwIfAborted();
      report.warn(`${messageOf(error)}: switching it off, as a power cut would`);
      await quit(qmp, signal);
    });
  } catch (error) {
    await writeRecord(emulator, record).catch(() => {}); // it runs on; without this it looks like a stop that was killed
    throw error;
  }
  await writeEnding(emulator, record, "shut down");
  await dropMemory(emulator);
}
