/** Brings an emulator up, the fastest way that is right. */

import { HotbootError, messageOf } from "../base/error.ts";
import type { Timeline } from "../base/timeline.ts";
import { crashOf, endCrashed } from "../guest/crash.ts";
import { GuestFault } from "../guest/health.ts";
import { warnOfShare } from "../guest/share.ts";
import type { Emulator } from "../instance/emulator.ts";
import { dropWithSource } from "../instance/forks.ts";
import { recorded } from "../instance/history.ts";
import { lockInstance } from "../instance/locks.ts";
import type { Setup } from "../instance/machine.ts";
import { NoSockets } from "../instance/network_home.ts";
import { adoptOrphan } from "../instance/owners.ts";
import { isUnfinished, readRecord, writeRecord } from "../instance/record.ts";
import { settledState } from "../instance/state.ts";
import { portsNow } from "../instance/ports.ts";
import { UnusableSnapshot } from "../snapshot/manifest.ts";
import { syncSnapshot } from "../snapshot/store.ts";
import { coldBoot } from "./boot.ts";
import { findFitting } from "./compatibility.ts";
import { startFromSpare } from "./from_spare.ts";
import { makeSetup } from "./launch.ts";
import { takePorts } from "./ports.ts";
import { resume } from "./resume.ts";
import type { StartOptions, StartResult } from "./start_result.ts";
import { beUp } from "./up.ts";

export type { StartOptions, StartResult };

/**
 * Starts the emulator, and returns when all its health checks pass. It uses a spare, or resumes the emulator's snapshot; if that is
 * impossible, it reports the reason and boots. The first start gets the image and captures a snapshot. A suspended instance
 * continues; one that was shut down, or whose QEMU ended by itself, boots its own disk. If the instance runs already, start
 * checks that it is healthy and has its own secrets and its share. QEMU keeps running when this program ends.
 *
 * Needs run permission for QEMU, and env permission for `PATH` and `HOTBOOT_ACCEL`, which say where QEMU is and how to run
 * it; read permission for the directories of `PATH`; net permission for the instance's ports on 127.0.0.1 (and, at the first
 * start of an instance other than the profile's own, for `127.0.0.1:0`, to find free ones) and its sockets; read and write
 * permission for the home; sys permission for `osUptime`. If there is no image yet, also what {@linkcode pull} needs or, if
 * the profile names no release, {@linkcode build}.
 *
 * @param emulator The emulator, from {@linkcode openEmulator}.
 * @param options Which way to take, if not the fastest that is right.
 * @returns Where its services are, how it was started, and where the time went.
 * @throws {HotbootError} if a port is taken, there is no QEMU or image, the instance belongs to another profile, the guest
 * does not become healthy within the profile's `timeouts` (seconds), or its new secrets do not take effect. The instance's
 * disk and memory are still there then.
 * @throws The reason of the emulator's signal, if it aborts. The machine is ended then.
 *
 * @example
 * ```ts
 * import { openEmulator, start } from "@hotboot/hotboot";
 *
 * const { origin, urls, timeline } = await start(await openEmulator({ profile: "demo" }));
 * console.log(origin ?? "it ran already", urls.backend, timeline.at(-1)?.endMs, "ms");
 * ```
 */
export async function start(emulator: Emulator, options: StartOptions = {}): Promise<StartResult> {
  return await startAs("start", emulator, options);
}

/** The same, recorded as the command that is meant. */
export async function startAs(
  command: "start" | "fork",
  emulator: Emulator,
  options: StartOptions,
): Promise<StartResult> {
  using _lock = await lockInstance(emulator);
  const result = await recordedStart(command, emulator, options);
  if (!result.origin) await markForRun(emulator, false);
  return result;
}

/** The same for `run`: what it starts is needed until the last such command ends. */
export async function startForRun(emulator: Emulator, options: StartOptions): Promise<StartResult> {
  using _lock = await lockInstance(emulator);
  const result = await recordedStart("start", emulator, options);
  if (result.origin) await markForRun(emulator, true);
  return result;
}

/** Writes down whether the last `run` is to end it. */
export async function markForRun(emulator: Emulator, isForRun: boolean): Promise<void> {
  const record = await readRecord(emulator);
  if (!record || "damaged" in record || (record.isForRun ?? false) === isForRun) return;
  await writeRecord(emulator, { ...record, isForRun });
}

async function recordedStart(
  command: "start" | "fork",
  emulator: Emulator,
  options: StartOptions,
): Promise<StartResult> {
  return await recorded(
    emulator,
    command,
    (timeline) => startLocked(emulator, options, timeline),
    ({ origin }) => origin,
  );
}

/** The same for whoever holds the instance's lock. */
export async function startLocked(
  emulator: Emulator,
  options: StartOptions,
  timeline: Timeline,
): Promise<StartResult> {
  const { report, profile } = emulator;
  const { ports: asked = {} } = options;
  if (options.from !== undefined && options.cold) throw notBoth(options.from);
  await adoptOrphan(emulator);
  const state = await settledState(emulator);
  if (options.from !== undefined && state.kind !== "stopped") {
    await state[Symbol.asyncDispose]();
    throw new HotbootError(
      `instance '${emulator.instance}' is ${state.kind}, which a start from '${options.from}' would drop: drop it yourself ('hotboot stop --discard'), or name another --instance`,
    );
  }
  switch (state.kind) {
    case "running":
    case "paused": {
      const crash = await crashOf(emulator, state);
      if (crash === undefined) {
        const own = { ...emulator, ports: portsNow(profile.ports, state.record.ports) };
        return await beUp(own, state, asked, timeline);
      }
      report.warn(`the guest crashed (${crash}): booting its disk, as after a power cut`);
      await endCrashed(emulator, state);
      return await startLocked(emulator, options, timeline);
    }
    case "stopped": {
      const left = await readRecord(emulator);
      if (isUnfinished(left) && left.snapshot !== options.from) await dropWithSource(emulator, left.snapshot);
      return await startFresh(await takePorts(emulator, { asked, isFresh: true }), timeline, options);
    }
    case "crashed":
      report.warn(
        `QEMU of instance '${emulator.instance}' ended by itself: booting its disk, as after a power cut`,
      );
  }
  emulator = await takePorts(emulator, { asked, isFresh: false });
  const setup = await makeSetup(emulator, { timeline });
  const { record } = state;
  if (state.kind === "suspended" && !options.cold) {
    const { continueSuspended } = await import("./continue.ts");
    return await continueSuspended(emulator, setup, record, timeline);
  }
  return await coldBoot(emulator, setup, timeline, options, record);
}

/** The error of a start from a checkpoint that is to be a boot. */
export function notBoth(source: string): HotbootError {
  return new HotbootError(
    `a start from '${source}' continues from memory, and --cold boots the image: leave one of them out`,
  );
}

async function startFresh(emulator: Emulator, timeline: Timeline, options: StartOptions): Promise<StartResult> {
  const { report, signal } = emulator;
  warnOfShare(emulator);
  const setup = await makeSetup(emulator, { timeline });
  if (options.from !== undefined) {
    const { startFrom } = await import("./from.ts");
    return await startFrom(emulator, setup, timeline, options.from, options);
  }
  if (options.cold) return await coldBoot(emulator, setup, timeline, options);
  const notResumed = (error: unknown) => {
    signal.throwIfAborted();
    if (error instanceof NoSockets) throw error;
    if (options.noFallback) {
      throw new HotbootError(`not resumed: ${messageOf(error)}; leave out --no-fallback to boot instead`);
    }
    report.warn(`not resumed: ${error instanceof UnusableSnapshot ? error.what : messageOf(error)}; booting instead`);
  };
  try {
    const snapshot = await findFitting(emulator, setup, options.engine);
    if (snapshot) {
      return await startFromSpare(emulator, setup, snapshot, timeline, options) ??
        await resume(emulator, setup, snapshot, timeline, options);
    }
  } catch (error) {
    notResumed(error);
    if (options.noCapture || !(error instanceof UnusableSnapshot)) {
      return await coldBoot(emulator, setup, timeline, options);
    }
  }
  if (options.noCapture) return await coldBoot(emulator, setup, timeline, options);
  return await captureAndResume(emulator, setup, timeline, options, notResumed);
}

/** There is no snapshot that will ever resume, so a cold boot is needed, and can be captured as well. */
async function captureAndResume(
  emulator: Emulator,
  setup: Setup,
  timeline: Timeline,
  options: StartOptions,
  notResumed: (error: unknown) => void,
): Promise<StartResult> {
  const { report, signal } = emulator;
  const { captureStopped } = await import("./capture.ts");
  const captured = await captureStopped(emulator, setup, timeline, options).catch((error) => {
    signal.throwIfAborted();
    if (error instanceof GuestFault || error instanceof NoSockets || options.noFallback) throw error; // another boot would fail, too
    report.warn(`no snapshot was captured: ${messageOf(error)}; booting without`);
  });
  if (!captured) return await coldBoot(emulator, setup, timeline, options);
  const { snapshot } = captured;
  const synced = syncSnapshot(snapshot).then(() => undefined, (error: unknown) => error);
  try {
    return await resume(emulator, captured.setup, snapshot, timeline, options);
  } catch (error) {
    notResumed(error);
    return await coldBoot(emulator, captured.setup, timeline, options);
  } finally {
    const error = await synced;
    if (error) {
      report.warn(
        `the snapshot may not survive a crash of the host: ${messageOf(error)}; 'hotboot capture' makes another`,
      );
    }
  }
}
