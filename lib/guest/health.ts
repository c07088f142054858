/** Waits until a guest's services answer. */

import { type Attempt, attemptAll } from "../base/attempts.ts";
import { HotbootError, messageOf } from "../base/error.ts";
import { Timeline } from "../base/timeline.ts";
import type { Emulator } from "../instance/emulator.ts";
import type { HealthCheck } from "../profile/profile.ts";
import { getStatus } from "./http.ts";

/** The guest does not match its profile: another boot would fail the same way. */
export class GuestFault extends HotbootError {}

/** An attempt at a check, through the host's ports. */
export function healthAttempt(check: HealthCheck, ports: Record<string, number>): Attempt {
  const expected = check.status ?? 200;
  return async (signal) => {
    const status = await getStatus({ port: ports[check.port], path: check.path }, signal);
    return status === expected ? undefined : `status ${status} instead of ${expected}`;
  };
}

/**
 * Returns when each of the profile's checks has got the expected answer at least once.
 *
 * @param ports The host's ports by name.
 * @throws {GuestFault} with the checks that failed for `seconds`, and what they got instead.
 */
export async function becomeHealthy(
  { profile, report, signal }: Emulator,
  ports: Record<string, number>,
  seconds: number,
  timeline: Timeline = new Timeline(),
): Promise<void> {
  const attempts = profile.health.map((check) => ({ name: check.name, attempt: healthAttempt(check, ports) }));
  const onHealthy = (name: string) => report.detail(`${name} is healthy`);
  try {
    await timeline.phase("healthy", () => attemptAll(attempts, "not healthy", seconds * 1000, signal, onHealthy));
  } catch (error) {
    signal.throwIfAborted();
    throw new GuestFault(`${messageOf(error)}; 'hotboot logs' shows the guest's console`);
  }
}
