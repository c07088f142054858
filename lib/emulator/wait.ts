/** Waiting for an instance that somebody else starts or stops. */

import { HotbootError } from "../base/error.ts";
import { sleep } from "../base/wait.ts";
import { warnOfLittleSpace } from "../instance/space.ts";
import type { Emulator } from "../instance/emulator.ts";
import { rightClockInPassing } from "../guest/clock.ts";
import { isAtRest } from "../instance/state.ts";
import { describeInstance, isUp, type Status } from "./status.ts";

/** What to wait for. */
export interface WaitForOptions {
  /** That it no longer runs, instead of that it runs and is healthy. */
  stopped?: boolean;
  /** The limit, in milliseconds; none unless told. With 0 it is looked at once. */
  timeoutMs?: number;
}

/** What an instance is that has been waited for. */
export type WaitResult = Pick<Status, "state" | "running">;

/** How often it is looked at. */
const LOOK_MS = 500;

/**
 * Returns when the instance runs and is healthy, with its secrets in effect; or when it no longer runs. Somebody else starts or
 * stops it. Nothing is changed but the clock of a guest that is off by more than a second, which is reported.
 *
 * Needs read permission for the home, and net permission for the instance's sockets and ports.
 *
 * @param emulator Which, from {@linkcode openEmulator}.
 * @param options What to wait for, and how long.
 * @returns What it is then.
 * @throws {HotbootError} when the limit passes, with what is missing; when the instance is damaged, or of another profile.
 * @throws The reason of the emulator's signal, when that aborts.
 *
 * @example
 * ```ts
 * import { openEmulator, waitFor } from "@hotboot/hotboot";
 *
 * const { running } = await waitFor(await openEmulator(), { timeoutMs: 60_000 });
 * console.log(running?.urls);
 * ```
 */
export async function waitFor(emulator: Emulator, options: WaitForOptions = {}): Promise<WaitResult> {
  const { stopped = false, timeoutMs = Infinity } = options;
  const { instance, signal } = emulator;
  const end = performance.now() + timeoutMs;
  await warnOfLittleSpace(emulator);
  while (true) {
    const found = await describeInstance(emulator);
    const { state, running, of, why } = found;
    if (of !== undefined) {
      throw new HotbootError(`instance '${instance}' is ${state}, and of profile '${of}': type --profile ${of}`);
    }
    if (state === "damaged") throw new HotbootError(why!);
    if (stopped ? isAtRest(state) : isUp(found)) {
      if (!stopped) await rightClockInPassing(emulator);
      return { state, ...(running && { running }) };
    }
    const leftMs = end - performance.now();
    if (leftMs <= 0) {
      const what = stopped ? `still runs after ${timeoutMs / 1000} s` : `is not up after ${timeoutMs / 1000} s`;
      throw new HotbootError(
        `instance '${instance}' ${what}: ${stopped ? `it is ${state}` : whatIsMissing(found)}; wait longer (--timeout)`,
      );
    }
    await sleep(Math.min(LOOK_MS, leftMs), signal);
  }
}

function whatIsMissing({ state, why, running }: Pick<Status, "state" | "why" | "running">): string {
  if (why !== undefined) return why;
  if (!running) return `it is ${state}`;
  const ill = Object.entries(running.health).filter(([, isGreen]) => !isGreen).map(([name]) => name);
  if (ill.length > 0) return `not healthy: ${ill.join(", ")}`;
  return running.lostSecrets ?? `it is ${state}`;
}
