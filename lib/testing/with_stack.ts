/** A stack for one piece of work, which can be kept if that fails. */

import { messageOf } from "../base/error.ts";
import { fork, type StackOptions } from "./fork.ts";
import { StackPool } from "./pool.ts";
import type { Stack } from "./stack.ts";

/** Which stack, and what becomes of it. */
export interface WithStackOptions extends StackOptions {
  /** `failed`: leave the stack, suspended, if the work fails; by default what the variable `HOTBOOT_KEEP` says, else nothing. */
  keep?: "failed" | "nothing";
}

/**
 * Does work with a stack, and disposes of it. If the work fails, the stack can be kept, so that you can look inside: with
 * `keep: "failed"`, or with `HOTBOOT_KEEP=failed` in the environment. A warning then says with which command.
 *
 * Needs the permissions of `fork`, and env permission for `HOTBOOT_KEEP`, without which that variable has no effect.
 *
 * @param from Which stack: options as for `fork`, or a pool, which gives one.
 * @param work Gets the stack.
 * @returns What the work gives.
 * @throws {HotbootError} as `fork` does.
 * @throws What the work throws.
 *
 * @example
 * ```ts
 * import { withStack } from "@hotboot/hotboot/testing";
 *
 * Deno.test("the backend answers", () =>
 *   withStack({ profile: "demo" }, async (stack) => {
 *     const response = await fetch(stack.url("backend"));
 *     await response.body?.cancel();
 *     if (!response.ok) throw new Error(`status ${response.status}`);
 *   }));
 * ```
 */
export async function withStack<T>(from: WithStackOptions | StackPool, work: (stack: Stack) => T): Promise<Awaited<T>> {
  const isPool = from instanceof StackPool;
  await using stack = isPool ? await from.take() : await fork(from);
  try {
    return await work(stack);
  } catch (error) {
    const keep = (isPool ? undefined : from.keep) ?? await keepOfEnvironment();
    if (keep === "failed") {
      await stack.keep().catch((error) =>
        stack.emulator.report.warn(
          `instance '${stack.instance}' could not be kept: ${messageOf(error)}; run the test again`,
        )
      );
    }
    throw error;
  }
}

/** What the environment says, as far as it may be read. */
async function keepOfEnvironment(): Promise<string | undefined> {
  const { state } = await Deno.permissions.query({ name: "env", variable: "HOTBOOT_KEEP" });
  return state === "granted" ? Deno.env.get("HOTBOOT_KEEP") : undefined;
}
