/** The checkpoints that there are: moments of instances, by their users' names. */

import { HotbootError } from "../base/error.ts";
import type { Secrets } from "../profile/secrets.ts";
import { matches } from "../snapshot/fingerprint.ts";
import { type Checkpoint, type Manifest, readManifest, UnusableSnapshot } from "../snapshot/manifest.ts";
import { type Snapshot, snapshotIds } from "../snapshot/store.ts";
import { type Emulator, imageKey } from "./emulator.ts";
import { layerDisk } from "./layers.ts";

/** The file in a checkpoint's directory that holds its guest's own secrets. */
export const CREDENTIALS = "credentials.json";

/** A checkpoint in its directory. */
export type SavedCheckpoint = Snapshot & { manifest: Manifest & { checkpoint: Checkpoint } };

/** All of the emulator's checkpoints that can be read, or of another image, the oldest first. */
export function checkpointsOf(emulator: Emulator, key = imageKey(emulator)): Promise<SavedCheckpoint[]> {
  return savedBelow(emulator.home.checkpoints(key));
}

/** All moments of instances below a directory that can be read, the oldest first. */
export async function savedBelow(root: string): Promise<SavedCheckpoint[]> {
  const found: SavedCheckpoint[] = [];
  for (const id of await snapshotIds(root)) {
    const directory = `${root}/${id}`;
    const manifest = await readManifest(directory).catch(() => undefined);
    if (manifest?.checkpoint) found.push({ directory, manifest } as SavedCheckpoint);
  }
  return found;
}

/** The checkpoint of that name, or whose id begins so. @throws {HotbootError} when there is none, or several. */
export async function findCheckpoint(emulator: Emulator, name: string): Promise<SavedCheckpoint> {
  const all = await checkpointsOf(emulator);
  const named = all.filter(({ manifest }) => manifest.checkpoint.name === name);
  const found = named.length > 0 || name === "" ? named : all.filter(({ manifest }) => manifest.id.startsWith(name));
  if (found.length === 1) return found[0];
  const names = all.flatMap(({ manifest }) => manifest.checkpoint.name ?? []);
  throw new HotbootError(
    found.length > 1
      ? `there are several checkpoints whose id begins with '${name}': say more of it`
      : `there is no checkpoint '${name}' of '${emulator.profile.name}': ${
        names.length > 0 ? `there are ${names.join(", ")}` : "'hotboot snapshot save NAME' makes one"
      }`,
  );
}

/** @throws {UnusableSnapshot} when it is a checkpoint, and the disk below its own is missing or another. */
export async function requireLayer({ home }: Emulator, { manifest }: Snapshot): Promise<void> {
  const { layer } = manifest.checkpoint ?? {};
  if (!layer) return;
  const path = layerDisk(home, layer.name);
  const { size } = await Deno.stat(path).catch(() => ({ size: undefined }));
  if (size === layer.disk.size && await matches(path, layer.disk)) return;
  throw new UnusableSnapshot(`checkpoint ${manifest.id} is damaged: ${path} is missing, or has other content`);
}

/** The secrets that a checkpoint's guest has, where they are its own. */
export async function checkpointSecrets({ directory, manifest }: Snapshot): Promise<Secrets | undefined> {
  if (manifest.checkpoint?.secrets !== "rotated") return undefined;
  return JSON.parse(await Deno.readTextFile(`${directory}/${CREDENTIALS}`));
}
