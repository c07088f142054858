/** The checkpoints that there are: moments of instances, by their users' names. */

import { exists } from "@std/fs/exists";
import { didYouMean } from "../base/closest.ts";
import { HotbootError } from "../base/error.ts";
import type { Secrets } from "../profile/secrets.ts";
import { CARGO_FILES } from "../snapshot/cargo.ts";
import { matches } from "../snapshot/fingerprint.ts";
import { type Checkpoint, damagedSnapshot, type Manifest, readManifest, SNAPSHOT_FILES } from "../snapshot/manifest.ts";
import { type Snapshot, snapshotIds } from "../snapshot/store.ts";
import { type Emulator, imageKey } from "./emulator.ts";
import { disksUnder, layerDisk } from "./layers.ts";

/** The file in a checkpoint's directory that holds its guest's own secrets. */
export const CREDENTIALS = CARGO_FILES.credentials;

/** A checkpoint in its directory. */
export type SavedCheckpoint = Snapshot & { manifest: Manifest & { checkpoint: Checkpoint } };

/** A checkpoint whose manifest cannot be read. What it is on top of, its disk says. */
export interface UnreadableCheckpoint {
  directory: string;
  id: string;
}

/** All of the emulator's checkpoints that can be read, or of another image, the oldest first. */
export async function checkpointsOf(emulator: Emulator, key = imageKey(emulator)): Promise<SavedCheckpoint[]> {
  return (await allCheckpoints(emulator, key)).readable;
}

/** The same, and those that cannot be read. */
export function allCheckpoints(emulator: Emulator, key = imageKey(emulator)): Promise<SavedMoments> {
  return savedBelow(emulator.home.checkpoints(key));
}

/** What is in a directory of saved moments, the oldest first. */
export interface SavedMoments {
  readable: SavedCheckpoint[];
  unreadable: UnreadableCheckpoint[];
}

/** All moments of instances below a directory. */
export async function savedBelow(root: string): Promise<SavedMoments> {
  const readable: SavedCheckpoint[] = [];
  const unreadable: UnreadableCheckpoint[] = [];
  for (const id of await snapshotIds(root)) {
    const directory = `${root}/${id}`;
    const manifest = await readManifest(directory).catch(() => undefined);
    if (manifest?.checkpoint) readable.push({ directory, manifest } as SavedCheckpoint);
    else unreadable.push({ directory, id });
  }
  return { readable, unreadable };
}

/** The id of the snapshot or checkpoint that a disk is of; `undefined` for a layer and an image. */
export function idOfDisk(path: string): string | undefined {
  return path.match(/\/(?:snapshots|checkpoints)\/[^/]+\/(\d{8}T\d{6}Z-[0-9a-f]{4})\/[^/]+$/)?.[1];
}

/** What a checkpoint that cannot be read may need: what is below its disk or, if nobody can tell, everything. */
export async function neededByUnreadable(
  { home }: Pick<Emulator, "home">,
  key: string,
  { directory, id }: UnreadableCheckpoint,
): Promise<string[]> {
  const below = await disksUnder(`${directory}/${SNAPSHOT_FILES.disk}`);
  if (below) return below.flatMap((path) => idOfDisk(path) ?? []);
  const older = (await snapshotIds(home.checkpoints(key))).filter((other) => other < id);
  return [...await snapshotIds(home.snapshots(key)), ...older];
}

/** @throws {HotbootError} if a checkpoint cannot have this name, or another one has it. */
export async function requireNewName(emulator: Emulator, name: string, elsewise: string): Promise<void> {
  if (!/^[A-Za-z][\w.-]{0,63}$/.test(name)) {
    throw new HotbootError(
      `a checkpoint cannot be called '${name}': use a letter, then letters, digits, '.', '_' or '-'`,
    );
  }
  for (const { manifest: { created, checkpoint } } of await checkpointsOf(emulator)) {
    if (checkpoint.name !== name) continue;
    throw new HotbootError(`there is a checkpoint '${name}' already, of ${created}: ${elsewise}`);
  }
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
      : `there is no checkpoint '${name}' of '${emulator.profile.name}'${didYouMean(name, names)}: ${
        names.length > 0 ? `there are ${names.join(", ")}` : "'hotboot snapshot save NAME' makes one"
      }`,
  );
}

/**
 * The disks below a snapshot's or checkpoint's own, the nearest first, down to the image's, which is not among them.
 *
 * @param image The path of the image's disk.
 * @throws {UnusableSnapshot} if one of them is missing or damaged, or they end on another image.
 */
export async function chainOf(snapshot: Snapshot, image: string): Promise<string[]> {
  const disks = await requireChain(snapshot);
  if (disks.at(-1) === image) return disks.slice(0, -1);
  throw damagedSnapshot(snapshot.manifest, `its lowest disk is ${disks.at(-1)}, which is not the image's`);
}

/**
 * All disks below its own, the nearest first.
 *
 * @throws {UnusableSnapshot} if one of them is missing or damaged.
 */
export async function requireChain(snapshot: Snapshot): Promise<string[]> {
  const disks = await disksUnder(`${snapshot.directory}/${SNAPSHOT_FILES.disk}`);
  const last = disks?.at(-1);
  if (!disks || last === undefined) throw damagedSnapshot(snapshot.manifest, "a disk below its own cannot be read");
  if (!await exists(last)) throw damagedSnapshot(snapshot.manifest, `${last} is missing, which its disk is on top of`);
  return disks;
}

/** @throws {UnusableSnapshot} when it is a checkpoint, and the disk below its own is missing or another. */
export async function requireLayer({ home }: Emulator, { manifest }: Snapshot): Promise<void> {
  const { layer } = manifest.checkpoint ?? {};
  if (!layer) return;
  const path = layerDisk(home, layer.name);
  const { size } = await Deno.stat(path).catch(() => ({ size: undefined }));
  if (size === layer.disk.size && await matches(path, layer.disk)) return;
  throw damagedSnapshot(manifest, `${path} is missing, or has other content`);
}

/** The secrets that a checkpoint's guest has, where they are its own. */
export async function checkpointSecrets({ directory, manifest }: Snapshot): Promise<Secrets | undefined> {
  if (manifest.checkpoint?.secrets !== "rotated") return undefined;
  const text = await Deno.readTextFile(`${directory}/${CREDENTIALS}`).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    const { id, checkpoint: { name = id } } = manifest as SavedCheckpoint["manifest"];
    throw new HotbootError(
      `checkpoint '${name}' was imported without its secrets, so nobody can keep them: start from it with new ones`,
    );
  });
  return JSON.parse(text);
}
