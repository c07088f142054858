/** Booting: from the image, or from the disk that an instance has kept. */

import { HotbootError } from "../base/error.ts";
import { difference, type Identity } from "../snapshot/manifest.ts";
import { bootWithin } from "../instance/acceleration.ts";
import type { Emulator } from "../instance/emulator.ts";
import { instancePath } from "../instance/instance.ts";
import { forgetMemory, type Kept } from "../instance/kept.ts";
import { IMAGE_DISK } from "../image/image.ts";
import { becomeHealthyFirst, freshDisk, launch, type Setup, whileAlive } from "./launch.ts";
import { checkProof, newSecrets, wakeAndProve } from "../guest/rotate.ts";
import { giveShare } from "../guest/share.ts";
import { finish, type StartOptions, type StartResult } from "./started.ts";
import type { Timeline } from "../base/timeline.ts";

/**
 * Boots and returns when all health checks are green and the new secrets are proven.
 *
 * @param kept What the instance has kept: its disk is booted then, and its memory is of no use any more.
 */
export async function coldBoot(
  emulator: Emulator,
  setup: Setup,
  timeline: Timeline,
  options: StartOptions,
  kept?: Kept,
): Promise<StartResult> {
  return await bootWithin(
    emulator,
    setup.qemu,
    !options.noFallback,
    (qemu) => bootOnce(emulator, { ...setup, qemu }, timeline, options, kept),
  );
}

async function bootOnce(
  emulator: Emulator,
  setup: Setup,
  timeline: Timeline,
  options: StartOptions,
  kept?: Kept,
): Promise<StartResult> {
  const { profile, report } = emulator;
  let disk: string;
  if (kept) {
    const different = diskDifference(kept, setup);
    if (different) {
      throw new HotbootError(`the disk that instance '${emulator.instance}' has kept cannot be used: ${different}`);
    }
    await forgetMemory(emulator, kept);
    disk = instancePath(emulator, "disk");
  } else {
    disk = await freshDisk(emulator, setup.image, setup.image.paths.disk);
  }
  report.step(`cold boot${kept ? " of its own disk" : ""} (${profile.machine.memory} MiB, ${setup.qemu.accelerator})`);
  const launched = await timeline.phase(
    "process",
    () =>
      launch(emulator, setup, {
        memory: { kind: "anonymous" },
        disk,
        origin: "cold boot",
        paused: true,
        ...(kept && { snapshot: kept.snapshot }),
      }),
  );
  await using _machine = launched;
  const secrets = newSecrets(profile, options.noRotation);
  await launched.qemu.qmp.execute("cont", {}, { signal: emulator.signal });
  await whileAlive(emulator, launched, async (emulator) => {
    await becomeHealthyFirst(emulator, setup, launched, timeline);
    if (!kept && secrets) await checkProof(emulator, launched, timeline);
    await wakeAndProve(emulator, launched, { secrets }, timeline, profile.timeouts.boot);
    await giveShare(emulator, launched.qemu.qmp, timeline);
  });
  return await finish(emulator, launched, timeline, secrets);
}

/** Why a kept disk cannot be used: it stands on an image that is no longer there. */
function diskDifference(kept: Kept, { image }: Setup): string | undefined {
  const only = (identity: Identity) => ({ identity: { [IMAGE_DISK]: identity[IMAGE_DISK] } });
  return difference(only(kept.identity), { [IMAGE_DISK]: image.record.files.disk.sha256 });
}
