/** Checkpoints and snapshots with made-up memory, on real overlays. */

import { type Emulator, imageKey } from "../../lib/instance/emulator.ts";
import { backingPath } from "../../lib/instance/home.ts";
import { layerDisk } from "../../lib/instance/layers.ts";
import { fingerprint } from "../../lib/snapshot/fingerprint.ts";
import { type GuestState, SNAPSHOT_FILES } from "../../lib/snapshot/manifest.ts";
import {
  type Captured,
  commitSnapshot,
  prepareSnapshot,
  type Snapshot,
  syncSnapshot,
} from "../../lib/snapshot/store.ts";
import { createOverlay } from "../../lib/vm/qcow2.ts";

const SIZE = 1 << 26;

/** What a capture of a guest may say. */
export const GUEST: GuestState = {
  clock: "shift",
  clockOffsetMs: 0,
  stoppedAt: 0,
  reseeds: true,
  frozen: [],
  notFrozen: [],
};

/** Makes a disk at `path` on top of the one at `below`, as the home's are. */
export async function diskOn(emulator: Emulator, path: string, below: string): Promise<void> {
  const directory = path.replace(/\/[^/]+$/, "");
  await Deno.mkdir(directory, { recursive: true });
  await createOverlay(path, await backingPath(emulator.home, directory, below), SIZE);
}

async function files(prepared: string, ram: Uint8Array): Promise<void> {
  await Deno.writeFile(`${prepared}/${SNAPSHOT_FILES.ram}`, ram);
  await Deno.writeTextFile(`${prepared}/${SNAPSHOT_FILES.state}`, "state");
}

/** A snapshot on top of the image. */
export async function madeSnapshot(emulator: Emulator, image: string, ram = new Uint8Array(8192)): Promise<Snapshot> {
  const prepared = await prepareSnapshot(emulator.home.snapshots(imageKey(emulator)));
  await files(prepared, ram);
  await diskOn(emulator, `${prepared}/${SNAPSHOT_FILES.disk}`, image);
  const snapshot = await commitSnapshot(prepared, { engine: "instant", identity: {}, guest: GUEST });
  await syncSnapshot(snapshot);
  return snapshot;
}

/** One of the engine mapped-ram, whose memory is one compressed file. */
export async function madeCompressed(emulator: Emulator, image: string): Promise<Snapshot> {
  const prepared = await prepareSnapshot(emulator.home.snapshots(imageKey(emulator)));
  await Deno.writeTextFile(`${prepared}/${SNAPSHOT_FILES.savevm}`, "memory");
  await diskOn(emulator, `${prepared}/${SNAPSHOT_FILES.disk}`, image);
  return await commitSnapshot(prepared, { engine: "mapped-ram", identity: {}, guest: GUEST });
}

/** A checkpoint with a layer of its own, on top of a disk. */
export async function madeCheckpoint(
  emulator: Emulator,
  below: string,
  options: { name?: string; base?: string; ram?: Uint8Array } = {},
): Promise<Snapshot & { layer: string }> {
  const { name, base, ram = new Uint8Array(8192) } = options;
  const layer = crypto.randomUUID();
  await diskOn(emulator, layerDisk(emulator.home, layer), below);
  const prepared = await prepareSnapshot(emulator.home.checkpoints(imageKey(emulator)));
  await files(prepared, ram);
  await diskOn(emulator, `${prepared}/${SNAPSHOT_FILES.disk}`, layerDisk(emulator.home, layer));
  const checkpoint = {
    ...(name && { name }),
    instance: emulator.instance,
    layer: { name: layer, disk: await fingerprint(layerDisk(emulator.home, layer)) },
    ...(base && { base }),
  };
  const captured: Captured = { engine: "flat", identity: {}, guest: GUEST, checkpoint };
  const snapshot = await commitSnapshot(prepared, captured, { sync: true });
  return { ...snapshot, layer };
}
