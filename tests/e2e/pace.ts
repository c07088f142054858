/** How long tests wait, and how often they try. */

import { assert } from "@std/assert";
import { sleep } from "../../lib/base/wait.ts";

/** Waits until `condition` holds, by polling. The default of two minutes is usually enough on any machine. */
export async function until(
  condition: () => Promise<boolean> | boolean,
  what: string,
  minutes = 2,
): Promise<void> {
  for (const end = Date.now() + minutes * 60_000; !await condition(); await sleep(20)) {
    assert(Date.now() < end, `waited in vain for ${what}`);
  }
}

/** Sends the program a signal after some time, unless it has ended. The caller must clear the returned timer. */
export function killLater(child: Deno.ChildProcess, signal: Deno.Signal, ms: number): ReturnType<typeof setTimeout> {
  return setTimeout(() => {
    try {
      child.kill(signal);
    } catch {
      // it has ended already
    }
  }, ms);
}

/** How often to repeat something: `full` times if HOTBOOT_TEST_SOAK is `full`, else a few times. */
export function rounds(few: number, full: number): number {
  return Deno.env.get("HOTBOOT_TEST_SOAK") === "full" ? full : few;
}

/** `count` moments, evenly spread over `totalMs`. */
export function moments(count: number, totalMs: number): number[] {
  return Array.from({ length: count }, (_, at) => (at + 0.5) / count * totalMs);
}
