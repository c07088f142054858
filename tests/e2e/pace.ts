/** How long the tests wait, and how often they try. */

import { assert } from "@std/assert";
import { sleep } from "../../lib/base/wait.ts";

/** Waits until `condition` holds, looking again and again; two minutes are enough on any machine for most of what is waited for. */
export async function until(
  condition: () => Promise<boolean> | boolean,
  what: string,
  minutes = 2,
): Promise<void> {
  for (const end = Date.now() + minutes * 60_000; !await condition(); await sleep(20)) {
    assert(Date.now() < end, `waited in vain for ${what}`);
  }
}

/** Sends the program a signal after so long, unless it has ended by then; its timer is to be cleared. */
export function killLater(child: Deno.ChildProcess, signal: Deno.Signal, ms: number): ReturnType<typeof setTimeout> {
  return setTimeout(() => {
    try {
      child.kill(signal);
    } catch {
      // it was quicker
    }
  }, ms);
}

/** How often to do what is the surer the more often it is done: `full` times where HOTBOOT_TEST_SOAK is that word. */
export function rounds(few: number, full: number): number {
  return Deno.env.get("HOTBOOT_TEST_SOAK") === "full" ? full : few;
}

/** So many moments within `totalMs`, evenly spread. */
export function moments(count: number, totalMs: number): number[] {
  return Array.from({ length: count }, (_, at) => (at + 0.5) / count * totalMs);
}
