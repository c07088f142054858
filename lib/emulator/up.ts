/** Starting an instance that runs already: brings it to the state that a start would give. */

import type { Timeline } from "../base/timeline.ts";
import { sleep } from "../base/wait.ts";
import { rightClock } from "../guest/clock.ts";
import { thaw } from "../guest/quiesce.ts";
import { becomeHealthy } from "../guest/health.ts";
import { lostSecrets, rotateAgain } from "../guest/rotate.ts";
import { restoreShare } from "../guest/share.ts";
import { trimSerialLog } from "../instance/serial_log.ts";
import { warnOfLittleSpace } from "../instance/space.ts";
import type { Emulator } from "../instance/emulator.ts";
import { profileDigest, writeRecord } from "../instance/record.ts";
import { standsStill, type Up } from "../instance/state.ts";
import { BEING_SAVED, cancelMigration } from "../snapshot/migration.ts";
import { requireSamePorts } from "./ports.ts";
import { resultOf, type StartResult } from "./start_result.ts";

/** If the disk is still full, the guest stops again within this time. */
const GOES_ON_MS = 500;

/**
 * Continues the instance if it was paused. Waits until it is healthy, with its own secrets in effect, the right time, and its
 * share.
 *
 * @param state Disposed of here: this frees QEMU's monitor for others as soon as possible.
 * @param asked The ports that it is to have.
 * @throws {HotbootError} if it has others than those, is not healthy, or cannot continue.
 */
export async function beUp(
  emulator: Emulator,
  state: Up,
  asked: Record<string, number>,
  timeline: Timeline,
): Promise<StartResult> {
  const { profile, report } = emulator;
  const { record } = state;
  {
    await using up = state;
    requireSamePorts(emulator, record.ports, asked);
    if (up.kind === "paused") await goOn(emulator, up);
  }
  if (record.frozen) await thaw(emulator, record.frozen);
  if (record.phase !== "running" || record.frozen) {
    await writeRecord(emulator, { ...record, phase: "running", frozen: undefined });
  }
  if (record.profileDigest !== undefined && record.profileDigest !== await profileDigest(profile)) {
    report.warn(
      `profile '${profile.name}' has changed since instance '${emulator.instance}' was started, and the instance does not have the changes: 'hotboot stop --discard' and 'hotboot start' recreate it`,
    );
  }
  await Promise.all([trimSerialLog(emulator), warnOfLittleSpace(emulator)]);
  await rightClock(emulator);
  await becomeHealthy(emulator, record.ports, profile.timeouts.resume, timeline);
  const lost = await lostSecrets(emulator, record, profile.timeouts.resume);
  if (lost) {
    report.warn(`its own secrets were no longer in effect, putting them in again: ${lost}`);
    await rotateAgain(emulator, record);
  }
  await restoreShare(emulator);
  return { ...resultOf(emulator, record), timeline: [] };
}

/** Continues a guest whose CPUs stand still. @throws {HotbootError} if that fails, with the reason. */
async function goOn(emulator: Emulator, { qmp, runState }: Extract<Up, { kind: "paused" }>): Promise<void> {
  const { report, signal } = emulator;
  if (runState === BEING_SAVED) await cancelMigration(qmp); // the hotboot that was saving it died
  await qmp.execute("cont", {}, { signal });
  if (runState === "io-error") {
    await sleep(GOES_ON_MS, signal);
    const { running } = await qmp.execute<{ running: boolean }>("query-status", {}, { signal });
    if (!running) throw standsStill(emulator, runState);
  }
  report.step("it was paused, and continues");
}
