/** Whether a snapshot can be resumed here: one answer for commands that resume and for commands that only look. */

import { messageOf } from "../base/error.ts";
import { makeConfigDisk } from "../instance/config_disk.ts";
import { qemuFacts } from "../instance/acceleration.ts";
import { type Emulator, imageKey } from "../instance/emulator.ts";
import { identityOf, IMAGE_DISK, machineIdentity } from "../instance/identity.ts";
import { isPublished } from "../profile/profile.ts";
import type { Setup } from "../instance/machine.ts";
import { readImage } from "../image/image.ts";
import { engineOf } from "../snapshot/engines.ts";
import {
  difference,
  type Engine,
  type Manifest,
  readManifest,
  type SavedBy,
  UnusableSnapshot,
  wrongContent,
  wrongSize,
} from "../snapshot/manifest.ts";
import { type Snapshot, snapshotIds } from "../snapshot/store.ts";

/**
 * The newest of the emulator's snapshots that fits this machine and the current profile; `undefined` if there are no
 * snapshots.
 *
 * @throws {UnusableSnapshot} if there are snapshots but none fits: says what is wrong with the newest.
 */
export async function findFitting(emulator: Emulator, setup: Setup, wanted?: Engine): Promise<Snapshot | undefined> {
  const root = emulator.home.snapshots(imageKey(emulator));
  let first: unknown;
  for (const id of (await snapshotIds(root)).toReversed()) {
    const directory = `${root}/${id}`;
    try {
      const manifest = await readManifest(directory);
      const fault = await manifestFault(emulator, setup, manifest, wanted);
      if (fault === undefined) return { directory, manifest };
      first ??= new UnusableSnapshot(`snapshot ${id} does not fit here: ${fault}`, "'hotboot capture' makes another");
    } catch (error) {
      emulator.signal.throwIfAborted();
      first ??= error;
    }
  }
  if (first !== undefined) throw first;
}

/** Why a snapshot's engine is wrong: it cannot work here, or another engine is wanted and works. */
export async function engineFault(
  { profile }: Emulator,
  { qemu }: Setup,
  { engine }: Manifest,
  wanted: SavedBy = profile.engine ?? engine,
): Promise<string | undefined> {
  if (engine === "flat") return undefined;
  const why = (await engineOf(engine)).impossible(qemu.version);
  if (why) return why;
  if (wanted === engine || (await engineOf(wanted)).impossible(qemu.version)) return undefined;
  return `it was captured with engine ${engine}, but ${wanted} is wanted`;
}

/**
 * The same QEMU with the machine type of the capture, if QEMU offers that.
 *
 * @param options `emulated`: emulate what was emulated then, even if hardware acceleration works by now, and the same CPU,
 * even if an earlier hotboot chose another.
 */
export async function asCaptured(
  emulator: Emulator,
  setup: Setup,
  { identity }: Pick<Manifest, "identity">,
  { emulated }: { emulated?: boolean } = {},
): Promise<Setup> {
  const { qemu } = setup;
  const { "machine type": machineType, "CPU model": emulatedCpu, accelerator } = identity;
  const isOther = machineType !== qemu.machineType && qemu.machineTypes.includes(machineType);
  const wasEmulated = emulated && accelerator === "tcg";
  const toEmulate = wasEmulated && (qemu.accelerator !== "tcg" || qemu.cpuModel !== emulatedCpu);
  if (!isOther && !toEmulate) return setup;
  const choice = { ...(isOther && { machineType }), ...(toEmulate && { accelerator, emulatedCpu }) };
  return { ...setup, qemu: await qemuFacts(emulator, choice) };
}

/** What differs between this machine and the machine of the capture. */
export function machineFault(emulator: Emulator, setup: Setup, manifest: Manifest): string | undefined {
  // What is frozen for a capture, and runs before it, does not matter for a session that is there.
  const identity = manifest.checkpoint ? machineIdentity(emulator, setup) : identityOf(emulator, setup);
  return difference(manifest, identity);
}

/** Why a snapshot cannot be resumed here, judged by its manifest. */
export async function manifestFault(
  emulator: Emulator,
  setup: Setup,
  manifest: Manifest,
  wanted?: Engine,
): Promise<string | undefined> {
  return await engineFault(emulator, setup, manifest, wanted) ??
    machineFault(
      emulator,
      await asCaptured(emulator, setup, manifest, { emulated: manifest.checkpoint !== undefined }),
      manifest,
    );
}

/** What is wrong with the snapshot's files, judged by their sizes and some of their pages. */
export async function fileFault(directory: string, manifest: Manifest): Promise<string | undefined> {
  return await wrongSize(directory, manifest) ?? await wrongContent(directory, manifest);
}

/** Whether a snapshot can be used here. */
export interface Verdict {
  /** `unknown` if something else is missing, such as its image or QEMU; it may be usable with that. */
  state: "usable" | "unusable" | "unknown";
  /** The reason, unless it is usable. */
  why?: string;
}

/** What every kind of start needs to know, as far as it is here: creates nothing that is missing. `undefined`: there is no image. */
export async function presentSetup(emulator: Emulator): Promise<Setup | undefined> {
  const config = await makeConfigDisk(emulator);
  const qemu = await qemuFacts(emulator);
  const image = await readImage(emulator, { look: "only" });
  return image && { qemu, image, ...(config && { config }) };
}

/**
 * Looks at this machine once, and then judges each manifest. Creates nothing that is missing.
 */
export async function judgeOf(emulator: Emulator): Promise<(manifest: Manifest) => Promise<Verdict>> {
  let setup: Setup | undefined;
  try {
    setup = await presentSetup(emulator);
  } catch (error) {
    emulator.signal.throwIfAborted();
    return () => Promise.resolve({ state: "unknown", why: messageOf(error) });
  }
  if (!setup) return (manifest) => Promise.resolve({ state: "unknown", why: lacksImage(emulator, manifest) });
  const present = setup;
  return async (manifest) => {
    const why = await manifestFault(emulator, present, manifest);
    return why === undefined ? { state: "usable" } : { state: "unusable", why };
  };
}

function lacksImage({ profile, arch }: Emulator, { identity }: Manifest): string {
  const how = isPublished(profile) ? "pull" : "build";
  const digest = identity[IMAGE_DISK] ?? "unknown";
  return `its image is not here ('${profile.name}' for ${arch}, SHA-256 ${digest}): 'hotboot ${how}' gets it`;
}
