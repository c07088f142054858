/** The host's boots, by which what was found out before one is known from what was found out after it. */

/** The clock is corrected now and then, and the boot time computed from it moves along. */
const SLACK_MS = 60_000;

/** When the host booted, milliseconds since 1970. Needs sys permission for `osUptime`. */
export function bootTime(): number {
  return Math.round(Date.now() - Deno.osUptime() * 1000);
}

/** Whether the host has not been booted again since it had this boot time. */
export function isSameBoot(since: number): boolean {
  return Math.abs(bootTime() - since) <= SLACK_MS;
}
