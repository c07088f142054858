/** Stopping all instances of a profile. */

import { withOptions } from "../base/advice.ts";
import { HotbootError, messageOf } from "../base/error.ts";
import { builderOf } from "../instance/channels.ts";
import { type Emulator, withInstance } from "../instance/emulator.ts";
import type { Ending } from "../instance/record.ts";
import { isAtRest, refusal, stateOf } from "../instance/state.ts";
import { instanceNames } from "../instance/users.ts";
import { stop, type StopOptions } from "./stop.ts";

/** What stopping all of them gave. */
export interface StopAllResult {
  /** Those that ran, and what they keep. */
  stopped: { instance: string; kept?: Ending }[];
  /** Those that could not be stopped, and why. */
  failed: { instance: string; why: string }[];
  /** How many instances of other profiles run in the home, and run on. */
  others: number;
}

/**
 * Stops every instance of the emulator's profile that runs in its home, one after the other. One that cannot be stopped
 * does not keep the others from it.
 *
 * Needs the same permissions as {@linkcode stop}, for the sockets of all instances of the home.
 *
 * @param emulator Whose profile and home, from {@linkcode openEmulator}.
 * @param options What is to be kept; all, unless told.
 * @returns What was stopped, and what was not.
 * @throws The reason of the emulator's signal, when that aborts. Those that are not stopped by then run on.
 *
 * @example
 * ```ts
 * import { openEmulator, stopAll } from "@hotboot/hotboot";
 *
 * const { stopped, failed } = await stopAll(await openEmulator({ profile: "demo" }), { how: "discard" });
 * console.log(stopped.map(({ instance }) => instance), failed);
 * ```
 */
export async function stopAll(emulator: Emulator, options: StopOptions = {}): Promise<StopAllResult> {
  const result: StopAllResult = { stopped: [], failed: [], others: 0 };
  for (const instance of await instanceNames(emulator)) {
    const one = await withInstance(emulator, instance);
    try {
      const whose = await profileOfRunning(one);
      if (whose === undefined) continue;
      if (whose !== emulator.profile.name) {
        result.others++;
        continue;
      }
      const { kept } = await stop(one, options);
      result.stopped.push({ instance, ...(kept && { kept }) });
    } catch (error) {
      emulator.signal.throwIfAborted();
      if (!(error instanceof HotbootError)) throw error;
      result.failed.push({ instance, why: withOptions(messageOf(error), { instance }) });
    }
  }
  return result;
}

/** The profile of an instance that runs, unless an image is being built in it. @throws {HotbootError} when it runs and nobody knows what it is. */
async function profileOfRunning(emulator: Emulator): Promise<string | undefined> {
  await using state = await stateOf(emulator);
  if (isAtRest(state.kind)) return undefined;
  const record = "record" in state ? state.record : undefined;
  const isBuilder = record && emulator.instance === builderOf({ ...emulator, arch: record.arch }).instance;
  if (record) return isBuilder ? undefined : record.profile;
  if (state.kind === "damaged" && !state.qmp) return undefined;
  throw refusal(emulator, state);
}
