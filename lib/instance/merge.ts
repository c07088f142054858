/**
 * Merging layers. Each save of a running instance makes one; what was saved is dropped some day, and the layers below the
 * instance's disk that only it has then become one again.
 */

import { messageOf } from "../base/error.ts";
import type { Timeline } from "../base/timeline.ts";
import { cancelCommit, commitDisks, diskNodes } from "../vm/commit.ts";
import type { QmpClient } from "../vm/qmp.ts";
import type { Emulator } from "./emulator.ts";
import { LAYER_PREFIX } from "./home.ts";
import { disksUnderInstance, dropMerged, ownLayers } from "./layers.ts";

/** The limit: a longer chain is better than a longer wait. */
const MERGE_MS = 30_000;

/**
 * Writes all layers that nothing else is on top of into the lowest of them, while the guest runs. Call it before the instance
 * is saved again, with its lock held: only a save of it can put anything else on top of them. If this fails or is killed, the
 * chain is as long as it was, and as whole.
 */
export async function mergeLayers(emulator: Emulator, qmp: QmpClient, timeline: Timeline): Promise<void> {
  const { signal, report } = emulator;
  try {
    await cancelCommit(qmp); // a killed command's: nothing can be saved beside it
    const layers = await ownLayers(emulator);
    if (layers.length < 2) return;
    await timeline.phase("merge", () => merge(emulator, qmp, layers));
    report.detail(`merged ${layers.length} layers of the disk`);
  } catch (error) {
    signal.throwIfAborted();
    report.detail(`layers of the disk are not merged: ${messageOf(error)}`);
  }
}

async function merge(emulator: Emulator, qmp: QmpClient, layers: string[]): Promise<void> {
  const options = { timeoutMs: MERGE_MS, signal: emulator.signal };
  const nodes = await diskNodes(qmp, "disk", options);
  const below = await disksUnderInstance(emulator);
  if (nodes.length !== below.length + 1) {
    throw new Error(`QEMU has ${nodes.length} disks open, not ${below.length + 1}`);
  }
  const merged = layers.slice(0, -1);
  const between = { top: nodes[1], base: nodes[layers.length] };
  await commitDisks(qmp, "disk", between, `../${LAYER_PREFIX}${layers.at(-1)}/disk.qcow2`, options);
  await dropMerged(emulator, merged);
}
