/** Putting an instance back to where it was started from. */

import { checkpointsOf } from "../instance/checkpoints.ts";
import type { Emulator } from "../instance/emulator.ts";
import { dropContent } from "../instance/files.ts";
import { dropWithSource } from "../instance/forks.ts";
import { readRecord, writeRecord } from "../instance/record.ts";
import { quit, settledState } from "../instance/state.ts";
import { startLocked } from "./start.ts";
import type { StartOptions, StartResult } from "./start_result.ts";

/**
 * Drops what the instance has written, and starts it from the checkpoint that it was started from or, if that was none, as
 * a new instance starts. The caller holds the instance's lock.
 *
 * The record stays meanwhile: as long as it names the checkpoint, nobody else removes that.
 */
export async function rewindLocked(emulator: Emulator, options: StartOptions): Promise<StartResult> {
  const own = await dropToSource(emulator);
  const found = await readRecord(own);
  const source = found && "snapshot" in found ? found.snapshot : undefined;
  const isCheckpoint = (await checkpointsOf(own)).some(({ manifest }) => manifest.id === source);
  try {
    return await startLocked(own, { ...options, ...(isCheckpoint && { from: source }) });
  } catch (error) {
    await dropWithSource({ ...own, signal: new AbortController().signal }, source);
    throw error;
  }
}

/** Ends its QEMU and removes everything but the record, which then is that of a start that has not got far. */
async function dropToSource(emulator: Emulator): Promise<Emulator> {
  await using state = await settledState(emulator);
  if (state.kind === "stopped") return emulator;
  const { record } = state;
  const own = { ...emulator, arch: record.arch };
  if ("qmp" in state) {
    await writeRecord(own, { ...record, phase: "stopping" });
    await quit(state.qmp, emulator.signal);
  }
  await writeRecord(own, { ...record, phase: "starting", isDiskKept: false, memory: undefined, ended: undefined });
  await dropContent(own);
  return own;
}
