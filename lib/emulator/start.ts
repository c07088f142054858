/** Bringing an emulator up, the fastest way that is right. */

import { HotbootError, messageOf } from "../base/error.ts";
import { UnusableSnapshot } from "../snapshot/manifest.ts";
import { newestSnapshot, syncSnapshot } from "../snapshot/store.ts";
import { coldBoot } from "./boot.ts";
import { type Emulator, imageKey, lockInstance } from "../instance/emulator.ts";
import { GuestFault, waitHealthy } from "../guest/health.ts";
import { findRunningOrClear, type InstanceRecord, powerOff, unpause } from "../instance/instance.ts";
import { readKept } from "../instance/kept.ts";
import { makeSetup, requireFreePorts, type Setup } from "./launch.ts";
import { resume } from "./resume.ts";
import { lostSecrets, rotateAgain } from "../guest/rotate.ts";
import { restoreShare } from "../guest/share.ts";
import { resultOf, type StartOptions, type StartResult } from "./started.ts";
import { Timeline } from "../base/timeline.ts";

export type { StartOptions, StartResult };

/**
 * Starts the emulator and returns when all its health checks are green: by resuming its snapshot or, where that is
 * impossible, by a cold boot, after which the reason has been reported. The first start obtains the image and
 * captures a snapshot. QEMU lives on when this program ends. Of an instance that runs already it is seen that it is healthy,
 * and has its own secrets and its share.
 *
 * Needs run permission for QEMU, and env permission for `PATH` and `HOTBOOT_ACCEL`, which say where it is and how it is to
 * run; read permission for the directories of `PATH`; net permission for the profile's ports on 127.0.0.1
 * and the instance's sockets; read and write permission for the home; sys permission for `osUptime`. Where there is no
 * image yet, also what {@linkcode pull} needs or, if the profile names no release, {@linkcode build}.
 *
 * @param emulator Which, from {@linkcode openEmulator}.
 * @param options Which of the ways to take, if not the fastest that is right.
 * @returns Where its services are, how it was started, and where the time went.
 * @throws {HotbootError} when a port is taken, there is no QEMU or image, the instance is of another profile, or the guest
 * does not become healthy within the profile's `timeouts` (seconds), or its new secrets do not take effect.
 * @throws The reason of the emulator's signal, when that aborts. The machine is ended then.
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
  const timeline = new Timeline();
  using _lock = await lockInstance(emulator);
  const kept = await readKept(emulator);
  if (kept?.how === "suspended") await powerOff(emulator); // its memory has been saved, and then something came in between
  const running = await findRunningOrClear(emulator);
  if (running) {
    const { profile } = running;
    if (profile === emulator.profile.name) {
      if (await unpause(emulator)) emulator.report.step("it was paused, and goes on");
      await beUp(emulator, running);
      return { ...resultOf(emulator, running), timeline: [] };
    }
    throw new HotbootError(
      `instance '${emulator.instance}' runs profile '${profile}': stop it first ('hotboot stop'), or name another --instance`,
    );
  }
  if (kept && kept.profile !== emulator.profile.name) {
    throw new HotbootError(
      `instance '${emulator.instance}' is ${kept.how} and has profile '${kept.profile}': name another --instance, or drop it ('hotboot stop --discard')`,
    );
  }
  requireFreePorts(emulator);

  const setup = await makeSetup(emulator);
  if (kept?.memory && !options.cold) {
    const { continueSuspended } = await import("./continue.ts");
    return await continueSuspended(emulator, setup, kept, timeline);
  }
  return options.cold || kept
    ? await coldBoot(emulator, setup, timeline, options, kept)
    : await fastest(emulator, setup, timeline, options);
}

/** Sees to it that one that runs already is as it would be after a start. */
async function beUp(emulator: Emulator, record: InstanceRecord): Promise<void> {
  const { profile, report, signal } = emulator;
  const onHealthy = (name: string) => report.detail(`${name} is healthy`);
  await waitHealthy(profile.health, record.ports, profile.timeouts.resume * 1000, signal, onHealthy);
  const lost = await lostSecrets(emulator, record);
  if (lost) {
    report.warn(`its own secrets were no longer in effect, and are put in again: ${lost}`);
    await rotateAgain(emulator, record);
  }
  await restoreShare(emulator);
}

async function fastest(
  emulator: Emulator,
  setup: Setup,
  timeline: Timeline,
  options: StartOptions,
): Promise<StartResult> {
  const { report, signal } = emulator;
  const notResumed = (error: unknown) => {
    signal.throwIfAborted();
    const reason = `not resumed: ${messageOf(error)}`;
    if (options.noFallback) throw new HotbootError(reason);
    report.warn(reason);
  };
  try {
    const snapshot = await newestSnapshot(emulator.home.snapshots(imageKey(emulator)));
    if (snapshot) return await resume(emulator, setup, snapshot, timeline, options);
  } catch (error) {
    notResumed(error);
    if (options.noCapture || !(error instanceof UnusableSnapshot)) {
      return await coldBoot(emulator, setup, timeline, options);
    }
  }
  if (options.noCapture) return await coldBoot(emulator, setup, timeline, options);
  // No snapshot, or one that will never resume: the cold boot that is needed now can as well be captured.
  const { captureStopped } = await import("./capture.ts");
  const captured = await captureStopped(emulator, setup, timeline, options).catch((error) => {
    signal.throwIfAborted();
    if (error instanceof GuestFault || options.noFallback) throw error; // which would boot no better once more
    report.warn(`no snapshot was captured: ${messageOf(error)}`);
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
    if (error) report.warn(`the snapshot may not survive a crash of the host: ${messageOf(error)}`);
  }
}
