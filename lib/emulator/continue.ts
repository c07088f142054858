/** Going on where an instance was suspended. */

import { HotbootError, messageOf } from "../base/error.ts";
import { difference } from "../snapshot/manifest.ts";
import { loadState } from "../snapshot/migration.ts";
import type { Emulator } from "../instance/emulator.ts";
import { writeJson } from "../instance/home.ts";
import { instancePath } from "../instance/instance.ts";
import { forgetKept, forgetMemory, type Kept, wrongState } from "../instance/kept.ts";
import { becomeHealthy, launch, machineIdentity, release, type Setup } from "./launch.ts";
import { restoreShare } from "../guest/share.ts";
import { describeStart, type StartResult } from "./started.ts";
import type { Timeline } from "../base/timeline.ts";
import { anyVersion, asCaptured } from "./usable.ts";
import { wake } from "../guest/wake.ts";

/**
 * Goes on where the instance was suspended. Until its guest runs, everything is kept as it was; from then on it is the
 * user's, and is not ended for being slow or ill.
 */
export async function continueSuspended(
  emulator: Emulator,
  setup: Setup,
  kept: Kept,
  timeline: Timeline,
): Promise<StartResult> {
  const { profile, report, signal } = emulator;
  const { guest, state } = kept.memory!;
  const refusal = (why: string) =>
    new HotbootError(
      `instance '${emulator.instance}' cannot go on where it was suspended, and is kept: ${why}; 'hotboot start --cold' boots its disk, without what was only in memory; 'hotboot reset' drops it`,
    );
  setup = await asCaptured(emulator, setup, kept, { emulated: true });
  const wrong = difference(kept, anyVersion(machineIdentity(emulator, setup), kept)) ??
    await wrongState(emulator, state);
  if (wrong) throw refusal(wrong);
  report.step("go on where it was suspended");
  const run = { memory: { kind: "anonymous" }, disk: instancePath(emulator, "disk"), origin: "continue" } as const;
  const launched = await timeline.phase("process", () => launch(emulator, setup, { ...run, snapshot: kept.snapshot }));
  await using _machine = launched;
  const { qemu, channels, record } = launched;
  await timeline.phase("incoming", async () => {
    try {
      await loadState(qemu.qmp, "all", channels.migration, { path: instancePath(emulator, "state") }, { signal });
    } catch (error) {
      signal.throwIfAborted();
      throw refusal(`${messageOf(error)} (QEMU: ${await qemu.reason()})`);
    }
  });
  await forgetMemory(emulator, kept); // before the guest writes to the disk
  const resumedAt = Date.now();
  await qemu.qmp.execute("cont", {}, { signal });
  record.secrets = kept.secrets;
  await release(emulator, launched);
  await forgetKept(emulator);
  try {
    await Promise.all([
      wake(emulator, channels.agent, { guest, resumedAt }, timeline).catch((error) => {
        signal.throwIfAborted();
        report.warn(`the guest's clock still stands at the time of its suspension: ${messageOf(error)}`);
      }),
      becomeHealthy(emulator, launched, timeline, profile.timeouts.resume),
    ]);
  } catch (error) {
    signal.throwIfAborted();
    throw new HotbootError(`it goes on where it was suspended, but ${messageOf(error)}`);
  }
  await restoreShare(emulator, timeline);
  await writeJson(instancePath(emulator, "timeline"), timeline.phases);
  return describeStart(emulator, record, timeline);
}
