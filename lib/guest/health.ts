/** Waiting until a guest's services answer. */

import { type Attempt, attemptAll } from "../base/attempts.ts";
import { HotbootError, messageOf } from "../base/error.ts";
import { getStatus } from "./http.ts";
import type { HealthCheck } from "../profile/profile.ts";

/** A guest that does not do what its profile says: another boot would end the same. */
export class GuestFault extends HotbootError {}

/** An attempt at a check, on the host's ports. */
export function healthAttempt(check: HealthCheck, ports: Record<string, number>): Attempt {
  const expected = check.status ?? 200;
  return async (signal) => {
    const status = await getStatus({ port: ports[check.port], path: check.path }, signal);
    return status === expected ? undefined : `status ${status} instead of ${expected}`;
  };
}

/**
 * Returns when every check has been answered as expected at least once.
 *
 * @param onHealthy Called with the name of each check that turns healthy.
 * @throws {GuestFault} naming the checks that were not, and what they did instead, after `timeoutMs`.
 */
export async function waitHealthy(
  checks: HealthCheck[],
  ports: Record<string, number>,
  timeoutMs: number,
  signal: AbortSignal,
  onHealthy: (name: string) => void,
): Promise<void> {
  const attempts = checks.map((check) => ({ name: check.name, attempt: healthAttempt(check, ports) }));
  try {
    await attemptAll(attempts, "not healthy", timeoutMs, signal, onHealthy);
  } catch (error) {
    signal.throwIfAborted();
    throw new GuestFault(`${messageOf(error)}; 'hotboot logs' shows the guest's console`);
  }
}
