/** Continues a suspended instance. */

import { HotbootError, messageOf } from "../base/error.ts";
import type { Timeline } from "../base/timeline.ts";
import { rightClock } from "../guest/clock.ts";
import { becomeHealthy } from "../guest/health.ts";
import { endConnections } from "../guest/peers.ts";
import { restoreShare } from "../guest/share.ts";
import { wake } from "../guest/wake.ts";
import { type InstanceChannels, instancePath } from "../instance/channels.ts";
import type { Emulator } from "../instance/emulator.ts";
import { dropMemory, wrongMemory } from "../instance/files.ts";
import { machineIdentity } from "../instance/identity.ts";
import type { Setup } from "../instance/machine.ts";
import type { InstanceRecord } from "../instance/record.ts";
import { difference, type GuestState } from "../snapshot/manifest.ts";
import { loadState } from "../snapshot/migration.ts";
import { QmpClient } from "../vm/qmp.ts";
import { asCaptured } from "./compatibility.ts";
import { forgetMemory, handOver, launch } from "./launch.ts";
import { describeStart, type StartResult } from "./start_result.ts";

/**
 * Continues where the instance was suspended. Everything stays as it was until its guest runs; from then on the guest is the
 * user's, and hotboot does not end it for being slow or unhealthy.
 *
 * @param before The record of an instance with saved memory.
 */
export async function continueSuspended(
  emulator: Emulator,
  setup: Setup,
  before: InstanceRecord,
  timeline: Timeline,
): Promise<StartResult> {
  const { profile, report, signal } = emulator;
  const { guest, ram } = before.memory!;
  const cannot = (why: string, mend: string) =>
    new HotbootError(
      `instance '${emulator.instance}' cannot continue, and stays suspended: ${why}; ${mend}, or boot its disk and lose what was only in memory ('hotboot start --cold')`,
    );
  setup = await asCaptured(emulator, setup, before, { emulated: true });
  const fault = await sessionFault(emulator, setup, before);
  if (fault) throw cannot(fault.why, fault.mend);
  report.step("continue where it was suspended");
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
      const version = before.identity["QEMU version"];
      const mend = version === setup.qemu.version ? "try again ('hotboot start')" : `use QEMU ${version} again`;
      throw cannot(`${messageOf(error)} (QEMU: ${await qemu.reason()})`, mend);
    }
  });
  record.phase = "running"; // from here on the guest runs, even if hotboot dies
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
    await endPeers(emulator, guest, channels); // now: what the services do about it would delay the rest
  } catch (error) {
    signal.throwIfAborted();
    throw new HotbootError(
      `it continued where it was suspended, but ${
        messageOf(error)
      }; 'hotboot stop --shutdown' and then 'hotboot start' boot it again`,
    );
  }
  await restoreShare(emulator, timeline);
  return describeStart(emulator, record, timeline);
}

/**
 * Why a suspended instance cannot continue, and what to do; `undefined` if nothing keeps it from that.
 *
 * @param setup As it was when the instance was suspended: see `asCaptured`.
 */
export async function sessionFault(
  emulator: Emulator,
  setup: Setup,
  before: InstanceRecord,
): Promise<{ why: string; mend: string } | undefined> {
  const other = difference(before, machineIdentity(emulator, setup));
  if (other) return { why: other, mend: "change that back and start again" };
  const wrong = await wrongMemory(emulator, before.memory!);
  if (wrong) return { why: wrong, mend: "put the file back and start again" };
}

/** Corrects the clock, also of a guest whose clock could not be read when it was suspended. */
async function wakeUp(emulator: Emulator, guest: GuestState, resumedAt: number, timeline: Timeline): Promise<void> {
  if (guest.clock === "nothing") return await rightClock(emulator);
  await wake(emulator, { guest, resumedAt }, timeline).catch(async (error) => {
    emulator.signal.throwIfAborted();
    emulator.report.detail(messageOf(error));
    await rightClock(emulator);
  });
}

/** The machine was handed over, and with it its monitor. */
async function endPeers(emulator: Emulator, { peers = [] }: GuestState, { monitor }: InstanceChannels): Promise<void> {
  if (peers.length === 0) return;
  await using qmp = await QmpClient.connect(monitor, { signal: emulator.signal });
  await endConnections(emulator, qmp, peers);
}
