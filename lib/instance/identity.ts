/** What a snapshot, a suspended memory and a disk depend on: all of it must be the same for them to be used again. */

import type { Identity } from "../snapshot/manifest.ts";
import { deviceArguments } from "../vm/machine.ts";
import { shellCommand } from "../vm/shell.ts";
import type { Emulator } from "./emulator.ts";
import { describeMachine, type Setup } from "./machine.ts";

/** What the digest of the image's disk is called in an identity. */
export const IMAGE_DISK = "image's disk";

/** Everything that a snapshot depends on, in a person's words. */
export function identityOf(emulator: Emulator, setup: Setup): Identity {
  const { freeze = [], hooks = {} } = emulator.profile;
  return {
    ...machineIdentity(emulator, setup),
    "frozen units": freeze.map(({ unit, thaw = "after rotation" }) => `${unit} until ${thaw}`).join(", ") || "none",
    "commands before the capture": hooks.beforeCapture?.map(shellCommand).join("; ") || "none",
  };
}

/** Of that, what any memory depends on, that of a suspended instance too. */
export function machineIdentity(emulator: Emulator, setup: Setup): Identity {
  const { qemu, image, config } = setup;
  const machine = describeMachine(emulator, setup, "");
  const { files } = image.record;
  return {
    "QEMU version": qemu.version,
    "machine type": qemu.machineType,
    "accelerator": qemu.accelerator,
    "CPU model": qemu.cpuModel,
    // The host's with hardware acceleration, and that of QEMU's version without.
    "CPU's features": qemu.cpuFeatures.slice(0, 12),
    "memory": `${machine.memoryMiB} MiB`,
    "number of CPUs": String(machine.cpus),
    "device layout": deviceArguments(machine).join(" "),
    // A guest that asks is told no router in a restricted network, and what it has connected to is out of reach.
    "network": emulator.profile.machine.network ?? "open",
    [IMAGE_DISK]: files.disk.sha256,
    "image's kernel": files.kernel?.sha256 ?? "none",
    "image's initrd": files.initrd?.sha256 ?? "none",
    "kernel command line": machine.kernel?.append ?? "none",
    "config disk": config?.sha256 ?? "none",
  };
}
