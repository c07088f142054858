/**
 * Spares: moments of guests that have secrets of their own already, proven, each for one start. A spare lies in its directory
 * as a checkpoint does. It counts while that has its own name, so whoever renames it has it for himself.
 */

import { removeIfThere, writeJson } from "../base/files.ts";
import { entriesIn, isAbandoned } from "../base/entries.ts";
import { removeSnapshot, type Snapshot, snapshotIds, TEMPORARY_PREFIX } from "../snapshot/store.ts";
import { savedBelow, type SavedCheckpoint } from "./checkpoints.ts";
import { type Emulator, imageKey } from "./emulator.ts";
import { privateDirectory } from "./home.ts";
import { removeUnusedLayers } from "./layers.ts";
import { lockLayers } from "./locks.ts";
import { profileDigest } from "./record.ts";

/** The prefix of one that a start has taken. */
const TAKEN_PREFIX = `${TEMPORARY_PREFIX}taken-`;

/** How many spares of this image its user wants. */
export async function wantedSpares(emulator: Emulator): Promise<number> {
  const found: unknown = await Deno.readTextFile(wantedPath(emulator)).then(JSON.parse).catch(() => undefined);
  const { wanted } = Object(found);
  return Number.isInteger(wanted) && wanted > 0 ? wanted : 0;
}

/** Remembers it. */
export async function wantSpares(emulator: Emulator, wanted: number): Promise<void> {
  if (wanted === 0) return await removeIfThere(wantedPath(emulator));
  await privateDirectory(`${emulator.home.root}/spares`);
  await writeJson(wantedPath(emulator), { wanted });
}

function wantedPath(emulator: Emulator): string {
  return `${emulator.home.spares(imageKey(emulator))}.json`;
}

/** The emulator's spares, or those of another image, the oldest first. */
export async function sparesOf(emulator: Emulator, key = imageKey(emulator)): Promise<SavedCheckpoint[]> {
  return (await savedBelow(emulator.home.spares(key))).readable;
}

/** What of the profile a spare depends on, beside its machine: all but the host's ports, which its guest learns when it wakes. */
export function spareDigest({ profile }: Emulator): Promise<string> {
  return profileDigest({ ...profile, ports: {} });
}

/** Whether it is of this snapshot, and was made with the profile as it is. */
export function isSpareFor(
  { manifest: { checkpoint: { base, profileDigest } } }: SavedCheckpoint,
  snapshot: string,
  digest: string,
): boolean {
  return base === snapshot && profileDigest === digest;
}

/** Takes it, so that nobody else does; `undefined` if somebody else has. The directory is the caller's to remove. */
export async function takeSpare(
  emulator: Emulator,
  { directory, manifest }: SavedCheckpoint,
): Promise<Snapshot | undefined> {
  using _lock = await lockLayers(emulator); // whoever looks for unused layers sees it under one of its names
  const taken = directory.replace(/[^/]+$/, `${TAKEN_PREFIX}${crypto.randomUUID()}`);
  const now = new Date();
  try {
    await Deno.utime(directory, now, now); // it is no leftover
    await Deno.rename(directory, taken);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  return { directory: taken, manifest };
}

/** Removes those that are to go, with the layers that only they use. */
export async function removeSpares(
  emulator: Emulator,
  isToGo: (spare: SavedCheckpoint) => boolean = () => true,
): Promise<void> {
  for (const spare of (await sparesOf(emulator)).filter(isToGo)) {
    const taken = await takeSpare(emulator, spare);
    if (taken) await removeSnapshot(taken.directory);
  }
  await removeUnusedLayers(emulator);
}

/** Removes those whose snapshot is gone. */
export async function removeOrphanedSpares(emulator: Emulator): Promise<void> {
  await removeSpares(emulator, await isOrphaned(emulator));
}

/** Those whose snapshot is gone. */
export async function orphanedSpares(emulator: Emulator): Promise<SavedCheckpoint[]> {
  return (await sparesOf(emulator)).filter(await isOrphaned(emulator));
}

async function isOrphaned(emulator: Emulator): Promise<(spare: SavedCheckpoint) => boolean> {
  const snapshots = new Set(await snapshotIds(emulator.home.snapshots(imageKey(emulator))));
  return ({ manifest: { checkpoint: { base } } }) => !snapshots.has(base ?? "");
}

/** Removes what killed commands have left of spares that they were making. Only whoever makes them may call it. */
export async function removeHalfMade(emulator: Emulator): Promise<void> {
  const root = emulator.home.spares(imageKey(emulator));
  const whole = new Set((await sparesOf(emulator)).map(({ manifest }) => manifest.id));
  for (const { name } of await entriesIn(root)) {
    const path = `${root}/${name}`;
    if (whole.has(name) || (name.startsWith(TAKEN_PREFIX) && !await isAbandoned(path))) continue;
    await Deno.remove(path, { recursive: true });
  }
}
