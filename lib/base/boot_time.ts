/** Tells whether the host has rebooted since something was found out. */

/** The clock is corrected now and then, which moves the computed boot time. */
const SLACK_MS = 60_000;

/** When the host booted, milliseconds since 1970. Needs sys permission for `osUptime`. */
export function bootTime(): number {
  return Math.round(Date.now() - Deno.osUptime() * 1000);
}

/** Whether the host is still in the boot with this boot time. */
export function isSameBoot(since: number): boolean {
  return Math.abs(bootTime() - since) <= SLACK_MS;
}
