/** Waiting until a guest's services answer. */

import { HotbootError, messageOf } from "../error.ts";
import type { HealthCheck } from "../profile/profile.ts";
import { sleep } from "../vm/wait.ts";
import { getStatus } from "./http.ts";

/** One attempt's limit: a connection that was lost while the guest's network came up is never answered. */
const ATTEMPT_MS = 3000;
/** The pause after a failed attempt: short at first, for a resume, and soon long enough not to load a booting guest. */
const [FIRST_PAUSE_MS, LONGEST_PAUSE_MS] = [5, 200];

/** One attempt: undefined when the service answers as expected, else what it did instead. */
export async function probeHealth(
  check: HealthCheck,
  ports: Record<string, number>,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const limit = AbortSignal.timeout(ATTEMPT_MS);
  try {
    const status = await getStatus(ports[check.port], check.path, signal ? AbortSignal.any([signal, limit]) : limit);
    const expected = check.status ?? 200;
    return status === expected ? undefined : `status ${status} instead of ${expected}`;
  } catch (error) {
    signal?.throwIfAborted();
    if (limit.aborted) return `no answer within ${ATTEMPT_MS / 1000} s`;
    return messageOf(error);
  }
}

/**
 * Returns when every check has been answered as expected at least once.
 *
 * @param onHealthy Called as each check turns healthy.
 * @throws {HotbootError} naming the checks that were not, and what they did instead, after `timeoutMs`.
 */
export async function waitHealthy(
  checks: HealthCheck[],
  ports: Record<string, number>,
  timeoutMs: number,
  signal: AbortSignal,
  onHealthy: (check: HealthCheck) => void = () => {},
): Promise<void> {
  const failures = new Map<string, string>();
  const end = performance.now() + timeoutMs;
  await Promise.all(checks.map(async (check) => {
    for (let pause = FIRST_PAUSE_MS;; pause = Math.min(pause * 1.5, LONGEST_PAUSE_MS)) {
      const failure = await probeHealth(check, ports, signal);
      if (failure === undefined) {
        failures.delete(check.name);
        onHealthy(check);
        return;
      }
      failures.set(check.name, failure);
      if (performance.now() > end) return;
      await sleep(pause, signal);
    }
  }));
  if (failures.size > 0) {
    const list = [...failures].map(([name, failure]) => `${name} (${failure})`).join(", ");
    throw new HotbootError(
      `not healthy within ${timeoutMs / 1000} s: ${list}; 'hotboot logs' shows the guest's console`,
    );
  }
}
