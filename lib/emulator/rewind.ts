/** Putting an instance back to where it was started from. */

import { HotbootError } from "../base/error.ts";
import type { Timeline } from "../base/timeline.ts";
import { allCheckpoints } from "../instance/checkpoints.ts";
import type { Emulator } from "../instance/emulator.ts";
import { dropContent } from "../instance/files.ts";
import { dropWithSource } from "../instance/forks.ts";
import { type InstanceRecord, readRecord, writeRecord } from "../instance/record.ts";
import { quit, settledState } from "../instance/state.ts";
import { notBoth, startLocked } from "./start.ts";
import type { StartOptions, StartResult } from "./start_result.ts";

/**
 * Drops what the instance has written, and starts it from the checkpoint that it was started from or, if that was none, as
 * a new instance starts. The caller holds the instance's lock.
 *
 * The record stays meanwhile, and if the start fails: as long as it names the checkpoint, nobody else removes that, and the
 * next attempt begins there.
 *
 * @throws {HotbootError} if the checkpoint is damaged or a boot is asked for, before anything is dropped; or as a start does.
 */
export async function rewindLocked(
  emulator: Emulator,
  options: StartOptions,
  timeline: Timeline,
): Promise<StartResult> {
  const found = await readRecord(emulator);
  const record = found && "phase" in found ? found : undefined;
  const own = { ...emulator, arch: record?.arch ?? emulator.arch };
  const source = record?.snapshot;
  const { readable, unreadable } = await allCheckpoints(own);
  const isCheckpoint = readable.some(({ manifest }) => manifest.id === source);
  if (unreadable.some(({ id }) => id === source)) {
    throw new HotbootError(
      `instance '${emulator.instance}' stays as it is: checkpoint ${source}, from which it was started, is damaged; 'hotboot reset' drops the instance`,
    );
  }
  if (isCheckpoint && options.cold) throw notBoth(source!);
  const begun = await timeline.phase("drop", () => dropToSource(own)) ?? record;
  try {
    return await startLocked(own, { ...options, ...(isCheckpoint && { from: source }) }, timeline);
  } catch (error) {
    const undoing = { ...own, signal: new AbortController().signal };
    if (isCheckpoint && begun) await writeRecord(undoing, begun);
    else await dropWithSource(undoing, source);
    throw error;
  }
}

/** Ends its QEMU and removes everything but the record, which is then that of a start that has not got far. @returns It. */
async function dropToSource(emulator: Emulator): Promise<InstanceRecord | undefined> {
  await using state = await settledState(emulator);
  if (state.kind === "stopped") return undefined;
  const { record } = state;
  if ("qmp" in state) {
    await writeRecord(emulator, { ...record, phase: "stopping" });
    await quit(state.qmp, emulator.signal);
  }
  const begun = { ...record, phase: "starting" as const, isDiskKept: false, memory: undefined, ended: undefined };
  await writeRecord(emulator, begun);
  await dropContent(emulator);
  return begun;
}
