/** What a snapshot, a suspended memory and a disk depend on: they can be used again only if all of it is the same. */

import type { Identity } from "../snapshot/manifest.ts";
import { deviceArguments } from "../vm/machine.ts";
import { shellCommand } from "../base/shell.ts";
import type { Emulator } from "./emulator.ts";
import { describeMachine, type Setup } from "./machine.ts";

/** The name of the disk's digest in an identity. */
export const IMAGE_DISK = "image's disk";

/** Everything that a snapshot depends on, in the user's words. */
export function identityOf(emulator: Emulator, setup: Setup): Identity {
  const { freeze = [], hooks = {} } = emulator.profile;
  return {
    ...machineIdentity(emulator, setup),
    "frozen units": freeze.map(({ unit, thaw = "after rotation" }) => `${unit} until ${thaw}`).join(", ") || "none",
    "commands before the capture": hooks.beforeCapture?.map(shellCommand).join("; ") || "none",
  };
}

/** The part that any memory depends on, including a suspended instance's. */
export function machineIdentity(emulator: Emulator, setup: Setup): Identity {
  const { qemu, image, config } = setup;
  const machine = describeMachine(emulator, setup, "");
  const { files } = image.record;
  return {
    "QEMU version": qemu.version,
    "machine type": qemu.machineType,
    "accelerator": qemu.accelerator,
    "CPU model": qemu.cpuModel,
    // The host CPU's with hardware acceleration, otherwise the QEMU version's.
    "CPU's features": qemu.cpuFeatures.slice(0, 12),
    "memory": `${machine.memoryMiB} MiB`,
    "number of CPUs": String(machine.cpus),
    "device layout": deviceArguments(machine).join(" "),
    // A restricted network announces no router, and cuts the guest off from what it had connected to.
    "network": emulator.profile.machine.network ?? "open",
    [IMAGE_DISK]: files.disk.sha256,
    "image's kernel": files.kernel?.sha256 ?? "none",
    "image's initrd": files.initrd?.sha256 ?? "none",
    "kernel command line": machine.kernel?.append ?? "none",
    "config disk": config?.sha256 ?? "none",
  };
}
