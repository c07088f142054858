/** Going on where an instance was suspended. */

import { writeJson } from "../base/files.ts";
import { HotbootError, messageOf } from "../base/error.ts";
import type { Timeline } from "../base/timeline.ts";
import { rightClock } from "../guest/clock.ts";
import { becomeHealthy } from "../guest/health.ts";
import { restoreShare } from "../guest/share.ts";
import { wake } from "../guest/wake.ts";
import { instancePath } from "../instance/channels.ts";
import type { Emulator } from "../instance/emulator.ts";
import { dropMemory, wrongMemory } from "../instance/files.ts";
import { machineIdentity } from "../instance/identity.ts";
import type { Setup } from "../instance/machine.ts";
import type { InstanceRecord } from "../instance/record.ts";
import { difference, type GuestState } from "../snapshot/manifest.ts";
import { loadState } from "../snapshot/migration.ts";
import { anyVersion, asCaptured } from "./compatibility.ts";
import { forgetMemory, handOver, launch } from "./launch.ts";
import { describeStart, type StartResult } from "./start_result.ts";

/**
 * Goes on where the instance was suspended. Until its guest runs, everything is kept as it was; from then on it is the
 * user's, and is not ended for being slow or ill.
 *
 * @param before The record of an instance that has its memory.
 */
export async function continueSuspended(
  emulator: Emulator,
  setup: Setup,
  before: InstanceRecord,
  timeline: Timeline,
): Promise<StartResult> {
  const { profile, report, signal } = emulator;
  const { guest, ram } = before.memory!;
  const cannot = (why: string) =>
    new HotbootError(
      `instance '${emulator.instance}' cannot go on where it was suspended, and is kept: ${why}; change that back and start again, or boot its disk, without what was only in memory ('hotboot start --cold')`,
    );
  setup = await asCaptured(emulator, setup, before, { emulated: true });
  const wrong = difference(before, anyVersion(machineIdentity(emulator, setup), before)) ??
    await wrongMemory(emulator, before.memory!);
  if (wrong) throw cannot(wrong);
  report.step("go on where it was suspended");
  const launched = await timeline.phase("process", () =>
    launch(emulator, setup, {
      memory: ram ? { kind: "private", path: instancePath(emulator, "ram") } : { kind: "anonymous" },
      disk: instancePath(emulator, "disk"),
      origin: "continue",
      snapshot: before.snapshot,
      before,
    }));
  await using _machine = launched;
  const { qemu, channels, record } = launched;
  await timeline.phase("incoming", async () => {
    try {
      await loadState(qemu.qmp, "all", channels.migration, { path: instancePath(emulator, "memory") }, { signal });
      await qemu.requireOneMoment();
    } catch (error) {
      signal.throwIfAborted();
      throw cannot(`${messageOf(error)} (QEMU: ${await qemu.reason()})`);
    }
  });
  record.phase = "running"; // whatever becomes of this hotboot from here on, the guest is to go on
  await forgetMemory(emulator, launched);
  const resumedAt = Date.now();
  await qemu.qmp.execute("cont", {}, { signal });
  await handOver(emulator, launched);
  await dropMemory(emulator);
  try {
    await Promise.all([
      wakeUp(emulator, guest, resumedAt, timeline),
      becomeHealthy(emulator, record.ports, profile.timeouts.resume, timeline),
    ]);
  } catch (error) {
    signal.throwIfAborted();
    throw new HotbootError(`it goes on where it was suspended, but ${messageOf(error)}`);
  }
  await restoreShare(emulator, timeline);
  await writeJson(instancePath(emulator, "timeline"), timeline.phases);
  return describeStart(emulator, record, timeline);
}

/** A guest that could not be asked about its clock when it was suspended is asked now. */
async function wakeUp(emulator: Emulator, guest: GuestState, resumedAt: number, timeline: Timeline): Promise<void> {
  if (guest.clock === "nothing") return await rightClock(emulator);
  await wake(emulator, { guest, resumedAt }, timeline).catch(async (error) => {
    emulator.signal.throwIfAborted();
    emulator.report.detail(messageOf(error));
    await rightClock(emulator);
  });
}
