/** Retries until it works, for a guest that is just coming up. */

import { HotbootError, messageOf } from "./error.ts";
import { sleep } from "./wait.ts";

/** The pause after a failed attempt: short at first, for a resume, and soon long enough to spare a booting guest. */
const [FIRST_PAUSE_MS, LONGEST_PAUSE_MS] = [5, 200];

/** Does something that ends by itself; returns what is wrong with the outcome, or `undefined`. */
export type Attempt = (signal: AbortSignal) => Promise<string | undefined>;

/** One attempt: undefined if it succeeded, else why not. */
export async function attemptOnce(attempt: Attempt, signal: AbortSignal): Promise<string | undefined> {
  try {
    return await attempt(signal);
  } catch (error) {
    signal.throwIfAborted();
    return messageOf(error);
  }
}

/**
 * Returns when each of `attempts` has succeeded once.
 *
 * @param what What they are not yet, as the start of the error: `not healthy`.
 * @param onPass Called with the name of each attempt that succeeded.
 * @throws {HotbootError} with those that did not succeed within `timeoutMs`, and what was wrong.
 */
export async function attemptAll(
  attempts: { name: string; attempt: Attempt }[],
  what: string,
  timeoutMs: number,
  signal: AbortSignal,
  onPass: (name: string) => void = () => {},
): Promise<void> {
  const failures: string[] = [];
  const limit = AbortSignal.timeout(timeoutMs);
  const either = AbortSignal.any([signal, limit]);
  await Promise.all(attempts.map(async ({ name, attempt }) => {
    let failure: string | undefined = "no answer";
    try {
      for (let pause = FIRST_PAUSE_MS;; pause = Math.min(pause * 1.5, LONGEST_PAUSE_MS)) {
        failure = await attemptOnce(attempt, either);
        if (failure === undefined) return onPass(name);
        await sleep(pause, either);
      }
    } catch (error) {
      signal.throwIfAborted();
      if (!limit.aborted) throw error;
      failures.push(`${name} (${failure})`);
    }
  }));
  if (failures.length > 0) throw new HotbootError(`${what} within ${timeoutMs / 1000} s: ${failures.join(", ")}`);
}
