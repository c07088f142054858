/**
 * Removes what nobody needs any more: stale snapshots, and leftovers of killed commands.
 *
 * @module
 */

import { entriesIn, isAbandoned } from "../base/entries.ts";
import { messageOf } from "../base/error.ts";
import { replacedName } from "../base/files.ts";
import { TEMPORARY_PREFIX } from "../snapshot/store.ts";
import { type Emulator, imageKey, withInstance } from "../instance/emulator.ts";
import { makerName } from "../instance/channels.ts";
import {
  areSparesLocked,
  checkpointsLock,
  imageLock,
  isLocked,
  snapshotsLock,
  tryLock,
  tryLockSpares,
} from "../instance/locks.ts";
import { deadOwners } from "../instance/owners.ts";
import { checkpointsOf } from "../instance/checkpoints.ts";
import { dropUnnamed } from "../instance/forks.ts";
import { orphanedSpares, removeOrphanedSpares } from "../instance/spares.ts";
import { instanceNames, nameOfUser } from "../instance/users.ts";
import { dropOrphan, dropUnfinished, orphans, unfinished } from "./reap.ts";
import { clearMaker } from "./spares.ts";
import { listSnapshots, removeSnapshots, sizeOnDisk, snapshotKeys } from "./snapshots.ts";

/** Something that was removed, or would be. */
export interface Pruned {
  /** Its path. */
  path: string;
  /** What it is, and why nobody needs it. */
  why: string;
  /** What it takes on disk, in bytes. */
  bytes: number;
}

/** The result of pruning. */
export interface PruneResult {
  /** What was removed, or would be in a dry run. */
  removed: Pruned[];
  /** The space that this freed or would free, in bytes. */
  bytes: number;
}

/**
 * Removes the emulator's stale snapshots, which cannot be resumed here or are older than the newest that can, and the
 * checkpoints whose manifests are damaged; and, for all profiles, the leftovers of commands that were killed while they
 * captured, imported, pulled or built. Also drops this profile's instances that a test run or a `run --fresh` has left that was
 * killed. Keeps downloads that can be continued, everything that an instance uses or another command works on, and snapshots
 * that cannot be judged because the image or QEMU is missing.
 *
 * Needs read and write permission for the home, and the permissions of {@linkcode listSnapshots}.
 *
 * @param emulator The emulator, from {@linkcode openEmulator}.
 * @param options `dryRun`: remove nothing, only report.
 * @returns What was removed, or would be, and the space that it takes.
 * @throws The reason of the emulator's signal, if it aborts.
 *
 * @example
 * ```ts
 * import { formatBytes, openEmulator, pruneSnapshots } from "@hotboot/hotboot";
 *
 * const { removed, bytes } = await pruneSnapshots(await openEmulator(), { dryRun: true });
 * console.log(removed.map(({ path, why }) => `${path}: ${why}`), formatBytes(bytes));
 * ```
 */
export async function pruneSnapshots(emulator: Emulator, options: { dryRun?: boolean } = {}): Promise<PruneResult> {
  const { dryRun = false } = options;
  const removed = await pruneOrphans(emulator, dryRun); // first: they use snapshots
  removed.push(...await pruneStale(emulator, dryRun), ...await pruneUnfinished(emulator, dryRun));
  return { removed, bytes: removed.reduce((sum, { bytes }) => sum + bytes, 0) };
}

/** The same without the stale snapshots: only what killed programs have left, which no command uses. */
export async function pruneLeftovers(emulator: Emulator, dryRun: boolean): Promise<Pruned[]> {
  return [...await pruneOrphans(emulator, dryRun), ...await pruneUnfinished(emulator, dryRun)];
}

async function pruneUnfinished(emulator: Emulator, dryRun: boolean): Promise<Pruned[]> {
  const removed: Pruned[] = [];
  for (const key of await snapshotKeys(emulator)) {
    const places = [[emulator.home.snapshots(key), snapshotsLock(key)], [
      emulator.home.checkpoints(key),
      checkpointsLock(key),
    ]];
    for (const [directory, lockName] of places) {
      const leftovers = (await names(directory)).filter((name) => name.startsWith(TEMPORARY_PREFIX));
      removed.push(...await pruneFiles(emulator, dryRun, lockName, directory, leftovers));
    }
  }
  for (const directory of await directoriesIn(emulator.home.spares(""))) {
    const leftovers: string[] = []; // no lock tells whether a start still uses one
    for (const name of await names(directory)) {
      if (name.startsWith(TEMPORARY_PREFIX) && await isAbandoned(`${directory}/${name}`)) leftovers.push(name);
    }
    removed.push(...await removeAll(dryRun, directory, leftovers));
  }
  if (!dryRun) {
    // Made for forks of which nothing is left; a younger one may be about to be used.
    for (const { directory, manifest: { id } } of await checkpointsOf(emulator)) {
      if (await isAbandoned(directory)) await dropUnnamed(emulator, id);
    }
  }
  removed.push(...await pruneSpares(emulator, dryRun));
  removed.push(...await pruneMaker(emulator, dryRun));
  for (const [key, leftovers] of await imageLeftovers(emulator)) {
    removed.push(...await pruneFiles(emulator, dryRun, imageLock(key), emulator.home.images, leftovers));
  }
  removed.push(...await removeAll(dryRun, emulator.home.cache, await cacheLeftovers(emulator)));
  const locks = `${emulator.home.root}/locks`;
  removed.push(...await removeAll(dryRun, locks, await deadOwners(emulator.home, await instanceNames(emulator))));
  return removed;
}

async function pruneOrphans(emulator: Emulator, dryRun: boolean): Promise<Pruned[]> {
  const pruned: Pruned[] = [];
  for (const instance of await unfinished(emulator)) {
    const path = emulator.home.instance(instance);
    const { bytes = 0 } = await sizeOnDisk(path) ?? {};
    if (!dryRun && !await dropUnfinished(await withInstance(emulator, instance))) continue;
    pruned.push({ path, why: "an instance that a killed command has not finished making", bytes });
  }
  for (const instance of await orphans(emulator)) {
    const path = emulator.home.instance(instance);
    const { bytes = 0 } = await sizeOnDisk(path) ?? {};
    if (!dryRun && !await dropOrphan(emulator, instance)) continue;
    pruned.push({ path, why: "an instance that a program that died had left", bytes });
  }
  return pruned;
}

async function pruneSpares(emulator: Emulator, dryRun: boolean): Promise<Pruned[]> {
  const pruned = await Promise.all((await orphanedSpares(emulator)).map(async ({ directory }) => {
    const { bytes = 0 } = await sizeOnDisk(directory) ?? {};
    return { path: directory, why: "a spare whose snapshot is gone", bytes };
  }));
  if (!dryRun) await removeOrphanedSpares(emulator);
  return pruned;
}

/** What a killed command has left where it made a spare, with the QEMU that may still run there. */
async function pruneMaker(emulator: Emulator, dryRun: boolean): Promise<Pruned[]> {
  const path = emulator.home.instance(makerName(emulator));
  const size = await sizeOnDisk(path);
  if (!size) return [];
  using lock = dryRun ? await areSparesLocked(emulator) ? undefined : NO_LOCK : await tryLockSpares(emulator);
  if (!lock) return [];
  try {
    if (!dryRun) await clearMaker(emulator);
  } catch (error) {
    emulator.signal.throwIfAborted();
    emulator.report.warn(`${path} stays: ${messageOf(error)}; 'hotboot snapshot prune' tries again`);
    return [];
  }
  return [{ path, why: "left by a killed command", bytes: size.bytes }];
}

async function pruneStale(emulator: Emulator, dryRun: boolean): Promise<Pruned[]> {
  const all = await listSnapshots(emulator);
  const snapshots = all.filter(({ kind }) => kind === "snapshot");
  // Checkpoints are the user's, but for what is left of one.
  const damaged = all.filter(({ kind, state }) => kind === "checkpoint" && state === "damaged");
  const newest = snapshots.find(({ state }) => state === "usable");
  const pruned: Pruned[] = [];
  const gone = new Set<string>();
  for (const { id, kind, state, why, bytes, usedBy } of [...damaged, ...snapshots]) {
    const isOlder = kind === "snapshot" && newest !== undefined && id < newest.id;
    if (!isOlder && state !== "unusable" && state !== "damaged") continue;
    const [user] = usedBy.filter((user) => !("checkpoint" in user && gone.has(user.checkpoint)));
    if (user) {
      emulator.report.step(`${kind} ${id} stays: ${nameOfUser(user)} uses it`);
      continue;
    }
    if (!dryRun) await removeSnapshots(emulator, { ids: [id] });
    gone.add(id);
    const key = imageKey(emulator);
    const root = kind === "snapshot" ? emulator.home.snapshots(key) : emulator.home.checkpoints(key);
    const reason = isOlder
      ? `is older than ${newest.id}`
      : state === "damaged"
      ? `is damaged: ${why}`
      : `cannot be resumed here: ${why}`;
    pruned.push({ path: `${root}/${id}`, why: `a ${kind} that ${reason}`, bytes });
  }
  return pruned;
}

/** Removes them from the directory, unless another command holds the lock. */
async function pruneFiles(
  emulator: Emulator,
  dryRun: boolean,
  lockName: string,
  directory: string,
  leftovers: string[],
): Promise<Pruned[]> {
  if (leftovers.length === 0) return [];
  using lock = dryRun
    ? await isLocked(emulator.home, lockName) ? undefined : NO_LOCK
    : await tryLock(emulator.home, lockName);
  if (!lock) {
    emulator.report.step(`${leftovers.join(", ")} in ${directory}: another hotboot works there`);
    return [];
  }
  return await removeAll(dryRun, directory, leftovers);
}

const NO_LOCK: Disposable = { [Symbol.dispose]() {} };

async function removeAll(dryRun: boolean, directory: string, leftovers: string[]): Promise<Pruned[]> {
  const pruned: Pruned[] = [];
  for (const name of leftovers) {
    const path = `${directory}/${name}`;
    const size = await sizeOnDisk(path);
    if (!size) continue;
    if (!dryRun) await Deno.remove(path, { recursive: true });
    pruned.push({ path, why: "left by a killed command", bytes: size.bytes });
  }
  return pruned;
}

/** Unfinished images and descriptions, by the images' names. */
async function imageLeftovers({ home }: Emulator): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>();
  for (const name of await names(home.images)) {
    const [, made] = name.match(/^\.tmp-(.+-(?:amd64|arm64))-[0-9a-f-]{36}$/) ?? [];
    const [, described] = replacedName(name)?.match(/^(.+-(?:amd64|arm64))\.json$/) ?? [];
    // Descriptions are also rewritten without the lock.
    const isOver = made !== undefined || (described !== undefined && await isAbandoned(`${home.images}/${name}`));
    const key = made ?? described;
    if (key !== undefined && isOver) found.set(key, [...found.get(key) ?? [], name]);
  }
  return found;
}

/** Unfinished files of the cache, which has no lock. */
async function cacheLeftovers({ home }: Emulator): Promise<string[]> {
  const found: string[] = [];
  for (const name of await names(home.cache)) {
    if (replacedName(name) === undefined && !/\.[0-9a-f]{8}-[0-9a-f-]{27}$/.test(name)) continue;
    if (await isAbandoned(`${home.cache}/${name}`)) found.push(name);
  }
  return found;
}

async function directoriesIn(path: string): Promise<string[]> {
  return (await entriesIn(path)).filter(({ isDirectory }) => isDirectory).map(({ name }) => path + name);
}

async function names(directory: string): Promise<string[]> {
  return (await entriesIn(directory)).map(({ name }) => name);
}
