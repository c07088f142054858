/** Boots from the image, or from an instance's own disk. */

import { HotbootError } from "../base/error.ts";
import type { Timeline } from "../base/timeline.ts";
import { becomeHealthy } from "../guest/health.ts";
import { checkProof, newSecrets, wakeAndProve } from "../guest/rotate.ts";
import { giveShare } from "../guest/share.ts";
import { bootWithin } from "../instance/acceleration.ts";
import { instancePath } from "../instance/channels.ts";
import type { Emulator } from "../instance/emulator.ts";
import { dropMemory } from "../instance/files.ts";
import { IMAGE_DISK } from "../instance/identity.ts";
import type { Setup } from "../instance/machine.ts";
import type { InstanceRecord } from "../instance/record.ts";
import { type Booting, unlessStuck, whileAlive } from "../instance/watch.ts";
import { difference, type Identity } from "../snapshot/manifest.ts";
import { forgetMemory, freshDisk, launch, type Launched } from "./launch.ts";
import { finish, type StartOptions, type StartResult } from "./start_result.ts";

/**
 * Boots, and returns when all health checks pass and the new secrets are proven.
 *
 * @param before The instance's earlier record, if it has a disk: boots that disk, and drops the saved memory.
 */
export async function coldBoot(
  emulator: Emulator,
  setup: Setup,
  timeline: Timeline,
  options: StartOptions,
  before?: InstanceRecord,
): Promise<StartResult> {
  return await bootWithin(
    emulator,
    setup.qemu,
    !options.noFallback,
    (qemu) => bootOnce(emulator, { ...setup, qemu }, timeline, options, before),
  );
}

async function bootOnce(
  emulator: Emulator,
  setup: Setup,
  timeline: Timeline,
  options: StartOptions,
  before?: InstanceRecord,
): Promise<StartResult> {
  const { profile, report, signal } = emulator;
  if (before) requireSameImage(emulator, before, setup);
  const disk = before ? instancePath(emulator, "disk") : await freshDisk(emulator, setup.image, setup.image.paths.disk);
  report.step(
    `cold boot${before ? " of its own disk" : ""} (${profile.machine.memory} MiB, ${setup.qemu.accelerator})`,
  );
  const launched = await timeline.phase(
    "process",
    () =>
      launch(emulator, setup, {
        memory: { kind: "anonymous" },
        disk,
        origin: "cold boot",
        paused: true,
        ...(before && { before, snapshot: before.snapshot }),
      }),
  );
  await using _machine = launched;
  const { qemu, record } = launched;
  const secrets = newSecrets(profile, options.noRotation);
  if (before) await forgetMemory(emulator, launched);
  await qemu.qmp.execute("cont", {}, { signal });
  await whileAlive(emulator, qemu, async (emulator) => {
    await becomeHealthyFirst(emulator, setup, launched, timeline);
    if (!before && secrets) await checkProof(emulator, record, timeline);
    await wakeAndProve(emulator, record, { secrets }, timeline, profile.timeouts.boot);
    await giveShare(emulator, qemu.qmp, timeline);
  });
  const result = await finish(emulator, launched, timeline, secrets);
  await dropMemory(emulator);
  return result;
}

/** Waits for a booting guest's health checks while the guest shows any sign of life. */
export async function becomeHealthyFirst(
  emulator: Emulator,
  { qemu }: Setup,
  launched: Launched,
  timeline: Timeline,
): Promise<void> {
  const { boot } = emulator.profile.timeouts;
  const { record, channels: { serialLog } } = launched;
  const booting: Booting = { qemu, qmp: launched.qemu.qmp, logs: [serialLog], patienceMs: boot * 1000 };
  await unlessStuck(emulator, booting, (emulator) => becomeHealthy(emulator, record.ports, boot, timeline));
}

/** @throws {HotbootError} if an instance's disk cannot be used, because the image below it is gone. */
export function requireSameImage({ instance }: Emulator, before: InstanceRecord, { image }: Setup): void {
  const only = (identity: Identity) => ({ identity: { [IMAGE_DISK]: identity[IMAGE_DISK] } });
  const different = difference(only(before.identity), { [IMAGE_DISK]: image.record.files.disk.sha256 });
  if (different) {
    throw new HotbootError(`the disk of instance '${instance}' cannot be used: ${different}; 'hotboot reset' drops it`);
  }
}
