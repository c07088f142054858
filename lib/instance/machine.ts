/** The machine of an instance, and what is known before it starts. */

import type { Arch } from "../vm/arch.ts";
import { findFirmware } from "../vm/firmware.ts";
import { type Machine, withConsole } from "../vm/machine.ts";
import type { QemuFacts } from "../vm/probe.ts";
import { instancePath } from "./channels.ts";
import type { Emulator } from "./emulator.ts";
import { sharedPart } from "./shared_part.ts";

/** One of an image's files. */
export type ImagePart = "disk" | "kernel" | "initrd";

/** The paths of an image's files. */
export type ImagePaths = { disk: string } & Partial<Record<ImagePart, string>>;

/** What every kind of start needs to know. */
export interface Setup {
  /** QEMU on this machine. */
  qemu: QemuFacts;
  /** The installed image, with the SHA-256 of its files in hex. */
  image: { paths: ImagePaths; record: { files: { disk: Digest } & Partial<Record<ImagePart, Digest>> } };
  /** The firmware that the image's boot loader needs, if it needs any. */
  firmware?: string;
  /** The profile's config disk, if it has one. */
  config?: { image: Uint8Array; sha256: string };
}

interface Digest {
  sha256: string;
}

/** The firmware that an image's boot loader needs, if it needs any. @throws {HotbootError} if it is not installed. */
export async function firmwareFor(arch: Arch, paths: ImagePaths, qemu: QemuFacts): Promise<string | undefined> {
  return arch === "arm64" && !paths.kernel ? await findFirmware(qemu.program) : undefined;
}

/** The machine of this emulator, with `disk` in it. */
export function describeMachine(
  emulator: Emulator,
  setup: Omit<Setup, "image"> & { image: Pick<Setup["image"], "paths"> },
  disk: string,
): Machine {
  const { qemu, image, firmware, config } = setup;
  const { arch, ports, profile: { machine, share } } = emulator;
  const { kernel, initrd } = image.paths;
  return {
    arch,
    machineType: qemu.machineType,
    accelerator: qemu.accelerator,
    cpuModel: qemu.cpuModel,
    memoryMiB: machine.memory,
    cpus: machine.cpus,
    ...(kernel && { kernel: { path: kernel, initrd, append: withConsole(arch, machine.append) } }),
    ...(firmware && { firmware }),
    disk,
    ...(config && { configDisk: instancePath(emulator, "config") }),
    forwards: Object.values(ports),
    restricted: machine.network === "restricted",
    ...(share && { share: { path: sharedPart(share), readOnly: share.readOnly ?? true } }),
  };
}
