/**
 * Merging layers. Each save of a running instance makes one; what was saved is dropped some day, and the layers below the
 * instance's disk that only it has then become one again.
 */

import { messageOf } from "../base/error.ts";
import { syncFile } from "../base/files.ts";
import type { Timeline } from "../base/timeline.ts";
import { cancelCommit, commitDisks, diskNodes } from "../vm/commit.ts";
import { mapsAll } from "../vm/qcow2_tables.ts";
import type { QmpClient } from "../vm/qmp.ts";
import type { Emulator } from "./emulator.ts";
import { LAYER_PREFIX } from "./home.ts";
import { dropMerged, layerDisk, markMerged, ownLayers } from "./layers.ts";

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
    const { own, depth } = await ownLayers(emulator);
    if (own.length < 2) return;
    await timeline.phase("merge", () => merge(emulator, qmp, own, depth));
    report.detail(`merged ${own.length} layers of the disk`);
  } catch (error) {
    signal.throwIfAborted();
    report.detail(`layers of the disk are not merged: ${messageOf(error)}`);
  }
}

async function merge(emulator: Emulator, qmp: QmpClient, layers: string[], depth: number): Promise<void> {
  const options = { timeoutMs: MERGE_MS, signal: emulator.signal };
  const nodes = await diskNodes(qmp, "disk", options);
  if (nodes.length !== depth + 1) throw new Error(`QEMU has ${nodes.length} disks open, not ${depth + 1}`);
  const target = layers.at(-1)!;
  await markMerged(emulator.home, target);
  const between = { top: nodes[1], base: nodes[layers.length] };
  const merged = layers.slice(0, -1);
  const isThere = async () => {
    const [disk, ...others] = [target, ...merged].map((name) => layerDisk(emulator.home, name));
    await syncFile(disk);
    return await mapsAll(disk, others);
  };
  await commitDisks(qmp, "disk", between, `../${LAYER_PREFIX}${target}/disk.qcow2`, isThere, options);
  await dropMerged(emulator, merged);
}
