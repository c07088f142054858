/** Starting an instance from a spare. */

import { messageOf } from "../base/error.ts";
import type { Timeline } from "../base/timeline.ts";
import type { Emulator } from "../instance/emulator.ts";
import { removeUnusedLayers } from "../instance/layers.ts";
import type { Setup } from "../instance/machine.ts";
import { isSpareFor, spareDigest, sparesOf, takeSpare } from "../instance/spares.ts";
import { removeSnapshot, type Snapshot } from "../snapshot/store.ts";
import { manifestFault } from "./compatibility.ts";
import { resume } from "./resume.ts";
import type { StartOptions, StartResult } from "./start_result.ts";

/**
 * Starts a stopped instance from a spare of the snapshot. Its secrets were proven when it was made, and are the instance's now.
 *
 * @returns `undefined` if there is none, if the options ask for something else, or if it does not work, which is reported. The
 * instance is as it was then.
 */
export async function startFromSpare(
  emulator: Emulator,
  setup: Setup,
  snapshot: Snapshot,
  timeline: Timeline,
  options: StartOptions,
): Promise<StartResult | undefined> {
  if (options.noRotation || options.keepSecrets || options.engine) return undefined;
  let spare: Snapshot | undefined;
  try {
    spare = await takeOne(emulator, setup, snapshot);
    if (!spare) return undefined;
    return await resume(emulator, setup, spare, timeline, { ...options, keepSecrets: true }, "spare");
  } catch (error) {
    emulator.signal.throwIfAborted();
    emulator.report.warn(`a spare did not work, and is dropped: ${messageOf(error)}`);
    return undefined;
  } finally {
    if (spare) await removeUsed(emulator, spare.directory);
  }
}

/** A running machine keeps its mapping of the RAM. */
async function removeUsed(emulator: Emulator, directory: string): Promise<void> {
  try {
    await removeSnapshot(directory);
    await removeUnusedLayers(emulator);
  } catch (error) { // the instance runs all the same
    emulator.report.warn(`a used spare is left in ${directory}: ${messageOf(error)}; remove that directory`);
  }
}

/** The oldest that fits and that nobody else takes. */
async function takeOne(emulator: Emulator, setup: Setup, snapshot: Snapshot): Promise<Snapshot | undefined> {
  const spares = await sparesOf(emulator);
  if (spares.length === 0) return undefined;
  const digest = await spareDigest(emulator);
  for (const spare of spares) {
    if (!isSpareFor(spare, snapshot.manifest.id, digest)) continue;
    if (await manifestFault(emulator, setup, spare.manifest) !== undefined) continue;
    const taken = await takeSpare(emulator, spare);
    if (taken) return taken;
  }
}
