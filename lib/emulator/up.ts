/** An instance that runs already, when somebody starts it: it is seen to be as it would be after a start. */

import { HotbootError } from "../base/error.ts";
import { sleep } from "../base/wait.ts";
import { rightClock } from "../guest/clock.ts";
import { becomeHealthy } from "../guest/health.ts";
import { lostSecrets, rotateAgain } from "../guest/rotate.ts";
import { restoreShare } from "../guest/share.ts";
import { trimSerialLog } from "../instance/serial_log.ts";
import type { Emulator } from "../instance/emulator.ts";
import { profileDigest, writeRecord } from "../instance/record.ts";
import { type Up, whyPaused } from "../instance/state.ts";
import { requireSamePorts } from "./ports.ts";
import { resultOf, type StartResult } from "./start_result.ts";

/** A disk that is still full stops the guest again within this time. */
const GOES_ON_MS = 500;

/**
 * Has it go on if it was paused, and waits until it is healthy, with its own secrets in effect, a clock that is right, and its
 * share.
 *
 * @param state Is disposed of: QEMU's monitor is free for others as soon as possible.
 * @param asked Ports that it is to have.
 * @throws {HotbootError} when it has others than those, is not healthy, or cannot go on.
 */
export async function beUp(emulator: Emulator, state: Up, asked: Record<string, number>): Promise<StartResult> {
  const { profile, report } = emulator;
  const { record } = state;
  {
    await using up = state;
    requireSamePorts(emulator, record.ports, asked);
    if (up.kind === "paused") await goOn(emulator, up);
  }
  if (record.phase !== "running") await writeRecord(emulator, { ...record, phase: "running" });
  if (record.profileDigest !== undefined && record.profileDigest !== await profileDigest(profile)) {
    report.warn(
      `profile '${profile.name}' has changed since instance '${emulator.instance}' was started, which it does not see: 'hotboot stop --discard' and 'hotboot start' make it anew`,
    );
  }
  await trimSerialLog(emulator);
  await rightClock(emulator);
  await becomeHealthy(emulator, record.ports, profile.timeouts.resume);
  const lost = await lostSecrets(emulator, record, profile.timeouts.resume);
  if (lost) {
    report.warn(`its own secrets were no longer in effect, and are put in again: ${lost}`);
    await rotateAgain(emulator, record);
  }
  await restoreShare(emulator);
  return { ...resultOf(emulator, record), timeline: [] };
}

/** Has a guest go on whose CPUs stand still. @throws {HotbootError} when it cannot, with the reason. */
async function goOn(emulator: Emulator, { qmp, runState }: Extract<Up, { kind: "paused" }>): Promise<void> {
  const { instance, report, signal } = emulator;
  const cannot = () => new HotbootError(`instance '${instance}' is paused: ${whyPaused(emulator, runState)}`);
  await qmp.execute("cont", {}, { signal });
  if (runState === "io-error") {
    await sleep(GOES_ON_MS, signal);
    const { running } = await qmp.execute<{ running: boolean }>("query-status", {}, { signal });
    if (!running) throw cannot();
  }
  report.step("it was paused, and goes on");
}
