/** Making spares: guests that were resumed, rotated and proven ahead of time, each for one start. */

import { HotbootError, messageOf } from "../base/error.ts";
import { Timeline } from "../base/timeline.ts";
import { makerName } from "../instance/channels.ts";
import { type Emulator, imageKey, withInstance } from "../instance/emulator.ts";
import { lockSpares, tryLockSpares } from "../instance/locks.ts";
import type { Setup } from "../instance/machine.ts";
import {
  isSpareFor,
  removeHalfMade,
  removeSpares,
  spareDigest,
  sparesOf,
  wantedSpares,
  wantSpares,
} from "../instance/spares.ts";
import { requireFreeSpace } from "../release/free_space.ts";
import { type Snapshot, snapshotIds } from "../snapshot/store.ts";
import { saveLocked } from "./checkpoint.ts";
import { findFitting } from "./compatibility.ts";
import { makeSetup } from "./launch.ts";
import { takePorts } from "./ports.ts";
import { resume } from "./resume.ts";
import { sizeOnDisk } from "./snapshots.ts";
import { resetLocked } from "./stop.ts";

/** The spares of an emulator. */
export interface Spares {
  /** How many are to be kept. */
  wanted: number;
  /** How many there are for the newest snapshot and the profile as it is. */
  spares: number;
  /** What all of them take on the disk, in bytes, beside what their disks share with others. */
  bytes: number;
}

/**
 * Counts the emulator's spares. Changes nothing.
 *
 * Needs read permission for the home.
 *
 * @param emulator The emulator, from {@linkcode openEmulator}.
 * @returns How many there are, and how many are to be kept.
 * @throws The system's error if the home cannot be read.
 *
 * @example
 * ```ts
 * import { countSpares, openEmulator } from "@hotboot/hotboot";
 *
 * const { spares, wanted } = await countSpares(await openEmulator({ profile: "demo" }));
 * console.log(spares, "of", wanted);
 * ```
 */
export async function countSpares(emulator: Emulator): Promise<Spares> {
  const all = await sparesOf(emulator);
  const sizes = await Promise.all(all.map(({ directory }) => sizeOnDisk(directory)));
  const bytes = sizes.reduce((sum, size) => sum + (size?.bytes ?? 0), 0);
  const snapshot = (await snapshotIds(emulator.home.snapshots(imageKey(emulator)))).at(-1);
  const digest = await spareDigest(emulator);
  const spares = all.filter((spare) => isSpareFor(spare, snapshot ?? "", digest)).length;
  return { wanted: await wantedSpares(emulator), spares, bytes };
}

/**
 * Makes the emulator's spares: resumes its snapshot, gives the guest new secrets, proves them, and saves it. The next start of
 * a stopped instance uses one, once, and so has proven secrets in the time of a resume without any. Drops those that do not
 * fit any more, or are more than wanted.
 *
 * Needs the same permissions as {@linkcode start}, with net permission for `127.0.0.1:0`, to find free ports.
 *
 * @param emulator The emulator, from {@linkcode openEmulator}; the spares are for all of its instances.
 * @param count How many to keep, from now on; by default as many as the last call said. 0 removes all.
 * @returns How many there are then.
 * @throws {HotbootError} if there is no snapshot that fits, or a guest does not resume or take its secrets. The spares that
 * were made stay, and the count is remembered.
 * @throws The reason of the emulator's signal, if it aborts; likewise.
 *
 * @example
 * ```ts
 * import { makeSpares, openEmulator, start } from "@hotboot/hotboot";
 *
 * await makeSpares(await openEmulator({ profile: "demo" }), 2);
 * const { origin } = await start(await openEmulator({ profile: "demo", instance: "first" }));
 * console.log(origin); // spare
 * ```
 */
export async function makeSpares(emulator: Emulator, count?: number): Promise<Spares> {
  if (count !== undefined) {
    if (!Number.isInteger(count) || count < 0) {
      throw new HotbootError(`${count} spares cannot be kept: name a whole number, 0 or more`);
    }
    await wantSpares(emulator, count);
  }
  using _lock = await lockSpares(emulator);
  await makeMissing(emulator);
  return await countSpares(emulator);
}

/**
 * Makes those that are missing after a command's own work, and reports what keeps it from that. Leaves it to another hotboot
 * that makes some.
 */
export async function refillSpares(emulator: Emulator): Promise<void> {
  try {
    if (await wantedSpares(emulator) === 0) return;
    using lock = await tryLockSpares(emulator);
    if (lock) await makeMissing(emulator);
  } catch (error) {
    emulator.report.warn(`spares are missing: ${messageOf(error)}; 'hotboot spare' counts them`);
  }
}

/** Under the lock. */
async function makeMissing(emulator: Emulator): Promise<void> {
  const maker = await clearMaker(emulator);
  const wanted = await wantedSpares(emulator);
  if (wanted === 0) return await removeSpares(emulator);
  const name = emulator.profile.name;
  if ((await snapshotIds(emulator.home.snapshots(imageKey(emulator)))).length === 0) {
    throw new HotbootError(
      `'${name}' has no snapshot to make spares of: 'hotboot capture' makes one, and then the spares`,
    );
  }
  const setup = await makeSetup(maker);
  const digest = await spareDigest(emulator);
  for (let made = 0; made < wanted; made++) { // no more, however many are used meanwhile
    const snapshot = (await findFitting(maker, setup))!; // a capture may have replaced the last one
    let kept = 0;
    await removeSpares(emulator, (spare) => !isSpareFor(spare, snapshot.manifest.id, digest) || ++kept > wanted);
    if (kept >= wanted) break;
    emulator.report.step(`make spare ${kept + 1} of ${wanted}`);
    try {
      await makeOne(maker, setup, snapshot, digest);
    } finally {
      await clearMaker({ ...emulator, signal: new AbortController().signal });
    }
  }
}

async function makeOne(maker: Emulator, setup: Setup, snapshot: Snapshot, digest: string): Promise<void> {
  const { report } = maker;
  const quiet = { ...report, step: (text: string) => report.detail(text) };
  const taking = await takePorts({ ...maker, report: quiet }, { isFresh: true });
  const { bytes } = (await sizeOnDisk(snapshot.directory))!; // about what it takes itself
  await requireFreeSpace(maker.home.root, bytes, "a spare");
  await resume(taking, setup, snapshot, new Timeline(), {});
  const place = (key: string) => maker.home.spares(key);
  await saveLocked(taking, { place, profileDigest: digest, isLast: true }, () => Promise.resolve());
}

/**
 * Ends what runs where spares are made, and removes what is not a whole one. Only who holds the lock may call it.
 *
 * @returns The instance in which spares are made, with the ports that it had.
 */
export async function clearMaker(emulator: Emulator): Promise<Emulator> {
  const maker = await withInstance(emulator, makerName(emulator));
  await resetLocked(maker);
  await removeHalfMade(maker);
  return maker;
}
