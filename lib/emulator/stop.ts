/** Ending an instance. */

import { type Emulator, lockInstance } from "./emulator.ts";
import { clearInstance, powerOff } from "./instance.ts";

/** What ending an instance found. */
export interface StopResult {
  /** False when the instance did not run. */
  stopped: boolean;
}

/**
 * Powers the instance off at once. What was changed in it since its snapshot was captured, or since it was booted, is
 * dropped. No process but this instance's own QEMU is touched: it is asked for its uuid first, and then to end.
 *
 * Needs net permission for the instance's sockets, and read and write permission for the home.
 *
 * @throws {HotbootError} when QEMU hangs.
 */
export async function stop(emulator: Emulator): Promise<StopResult> {
  using _lock = await lockInstance(emulator);
  const stopped = await powerOff(emulator);
  await clearInstance(emulator);
  return { stopped };
}

/** The same, and removes all that the instance has left, its console's log too. Images and snapshots stay. */
export async function reset(emulator: Emulator): Promise<StopResult> {
  using _lock = await lockInstance(emulator);
  const stopped = await powerOff(emulator);
  await clearInstance(emulator);
  await Deno.remove(emulator.home.instance(emulator.instance), { recursive: true }).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
  return { stopped };
}
