/** Gives a checkpoint another name. */

import { findCheckpoint, requireNewName } from "../instance/checkpoints.ts";
import type { Emulator } from "../instance/emulator.ts";
import { lockCheckpoints } from "../instance/locks.ts";
import { HotbootError } from "../base/error.ts";
import { difference, writeManifest } from "../snapshot/manifest.ts";
import { syncSnapshot } from "../snapshot/store.ts";

/** What renaming a checkpoint gave. */
export interface RenameResult {
  /** Its id, which stays. */
  id: string;
  /** Its name now. */
  name: string;
  /** Its name before; absent if it had none. */
  was?: string;
}

/**
 * Gives a checkpoint another name, in one step: a crash leaves it with either. One without a name, which was made for a fork
 * and goes with the last instance that uses it, stays from then on.
 *
 * Needs read and write permission for the home.
 *
 * @param emulator The emulator, from {@linkcode openEmulator}.
 * @param checkpoint Its name, or the beginning of its id.
 * @param name Its new name, as for {@linkcode saveCheckpoint}.
 * @returns Its id, and both names.
 * @throws {HotbootError} if there is no such checkpoint, several ids begin like that, or another checkpoint has the new name.
 * @throws The reason of the emulator's signal, if it aborts while another command saves a checkpoint.
 *
 * @example
 * ```ts
 * import { openEmulator, renameCheckpoint } from "@hotboot/hotboot";
 *
 * const { id, was } = await renameCheckpoint(await openEmulator(), "before-migration", "v1");
 * console.log(id, was);
 * ```
 */
export async function renameCheckpoint(emulator: Emulator, checkpoint: string, name: string): Promise<RenameResult> {
  using _names = await lockCheckpoints(emulator);
  const saved = await findCheckpoint(emulator, checkpoint);
  await requireNewName(emulator, name, "choose another name");
  const lost = difference({ ...saved.manifest, identity: {} }, {});
  if (lost) {
    throw new HotbootError(
      `checkpoint ${saved.manifest.id} cannot be kept: ${lost}; save it again ('hotboot snapshot save NAME')`,
    );
  }
  await syncSnapshot(saved); // one for a fork is not on the disk itself yet
  const { directory, manifest } = saved;
  const { id, checkpoint: { name: was } } = manifest;
  const renamed = { ...manifest, checkpoint: { ...manifest.checkpoint, name } };
  await writeManifest(directory, renamed, { sync: true });
  return { id, name, ...(was !== undefined && { was }) };
}
