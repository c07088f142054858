/** Booting an instance anew, or beginning where it began. */

import type { Timeline } from "../base/timeline.ts";
import type { Emulator } from "../instance/emulator.ts";
import { recorded } from "../instance/history.ts";
import { lockInstance } from "../instance/locks.ts";
import { type InstanceRecord, readRecord } from "../instance/record.ts";
import { rewindLocked } from "./rewind.ts";
import { markForRun, startLocked } from "./start.ts";
import type { StartOptions, StartResult } from "./start_result.ts";
import { stopLocked } from "./stop.ts";

/** How to restart. */
export interface RestartOptions extends Omit<StartOptions, "from"> {
  /**
   * Drop the instance's disk and memory, and begin where it began: at the checkpoint that it was started from or forked
   * with, else at the newest snapshot. It keeps its ports, and gets new secrets.
   */
  discard?: boolean;
}

/**
 * Shuts the guest down, and boots the instance's disk anew. One that is suspended goes on first, so that nothing is lost
 * that is only in its memory. One that does not run is started.
 *
 * Needs the same permissions as {@linkcode start}.
 *
 * @param emulator Which, from {@linkcode openEmulator}.
 * @param options How to start it, and with which ports.
 * @returns What {@linkcode start} gives.
 * @throws {HotbootError} as {@linkcode stop} and {@linkcode start} do. An instance that was shut down keeps its disk.
 * @throws The reason of the emulator's signal, when that aborts.
 *
 * @example
 * ```ts
 * import { openEmulator, restart } from "@hotboot/hotboot";
 *
 * const { origin } = await restart(await openEmulator({ profile: "demo" }));
 * console.log(origin); // cold boot
 * ```
 */
export async function restart(emulator: Emulator, options: RestartOptions = {}): Promise<StartResult> {
  const { discard, ...starting } = options;
  using _lock = await lockInstance(emulator);
  const before = await readRecord(emulator);
  const record = before && "profile" in before ? before : undefined;
  const result = await recorded(
    emulator,
    "restart",
    (timeline) => discard ? rewindLocked(emulator, starting, timeline) : reboot(emulator, starting, timeline, record),
    ({ origin }) => origin,
  );
  if (record?.phase === "running" && record.isForRun) await markForRun(emulator, true); // which still uses it
  return result;
}

async function reboot(
  emulator: Emulator,
  starting: StartOptions,
  timeline: Timeline,
  record?: InstanceRecord,
): Promise<StartResult> {
  if (record?.memory) await startLocked(emulator, { noFallback: starting.noFallback }, timeline);
  await stopLocked(emulator, { how: "shutdown" }, timeline);
  return await startLocked(emulator, starting, timeline);
}
