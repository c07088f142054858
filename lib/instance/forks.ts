/** What a fork was started from: a checkpoint without a name, which goes with the last instance that uses it. */

import { removeSnapshot } from "../snapshot/store.ts";
import { checkpointsOf, type SavedCheckpoint } from "./checkpoints.ts";
import type { Emulator } from "./emulator.ts";
import { dropInstance } from "./files.ts";
import { removeUnusedLayers } from "./layers.ts";
import { lockCheckpoints } from "./locks.ts";
import { usersOfSnapshots } from "./users.ts";

/**
 * Drops a stopped instance with all that it has saved, and what only it has used.
 *
 * @param snapshot The snapshot or checkpoint that it was started from.
 */
export async function dropWithSource(emulator: Emulator, snapshot: string | undefined): Promise<void> {
  await dropInstance(emulator);
  await dropUnnamed(emulator, snapshot);
  await removeUnusedLayers(emulator);
}

/**
 * Removes a checkpoint that was made for a fork, if nobody uses it any more. What has a name, and any snapshot, stays; so do
 * the layers below, which the caller removes.
 */
export async function dropUnnamed(emulator: Emulator, id: string | undefined): Promise<void> {
  if (!await unneeded(emulator, id)) return;
  const dropped = await dropLocked(emulator, id);
  await dropUnnamed(emulator, dropped?.manifest.checkpoint.base);
}

/** It may have got a name meanwhile. */
async function dropLocked(emulator: Emulator, id: string | undefined): Promise<SavedCheckpoint | undefined> {
  using _names = await lockCheckpoints(emulator);
  const found = await unneeded(emulator, id);
  if (found) await removeSnapshot(found.directory);
  return found;
}

async function unneeded(emulator: Emulator, id: string | undefined): Promise<SavedCheckpoint | undefined> {
  const found = (await checkpointsOf(emulator)).find(({ manifest }) => manifest.id === id);
  if (!found || found.manifest.checkpoint.name !== undefined) return undefined;
  return (await usersOfSnapshots(emulator)).has(found.manifest.id) ? undefined : found;
}
