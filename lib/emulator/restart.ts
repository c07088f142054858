/** Booting an instance anew. */

import { HotbootError } from "../base/error.ts";
import type { Emulator } from "../instance/emulator.ts";
import { lockInstance } from "../instance/locks.ts";
import { readRecord } from "../instance/record.ts";
import { markForRun, startLocked } from "./start.ts";
import type { StartOptions, StartResult } from "./start_result.ts";
import { stopLocked } from "./stop.ts";

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
export async function restart(emulator: Emulator, options: StartOptions = {}): Promise<StartResult> {
  if (options.from !== undefined) throw new HotbootError("a restart boots the instance's own disk, and no checkpoint");
  using _lock = await lockInstance(emulator);
  const before = await readRecord(emulator);
  const record = before && "profile" in before ? before : undefined;
  if (record?.memory) await startLocked(emulator, { noFallback: options.noFallback });
  const { stopped } = await stopLocked(emulator, { how: "shutdown" });
  const result = await startLocked(emulator, options);
  if (stopped && record?.phase !== "stopped" && record?.isForRun) await markForRun(emulator, true); // which still uses it
  return result;
}
