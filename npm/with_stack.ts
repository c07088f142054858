/** A stack for one piece of work, which can be kept if that fails. */

import process from "node:process";
import { StackPool } from "./pool.ts";
import { fork, type Stack, type StackOptions } from "./stack.ts";

/** Which stack, and what becomes of it. */
export interface WithStackOptions extends StackOptions {
  /** `failed`: leave the stack, suspended, if the work fails; by default what the variable `HOTBOOT_KEEP` says, else nothing. */
  keep?: "failed" | "nothing";
}

/**
 * Does work with a stack, and disposes of it. If the work fails, the stack can be kept, so that you can look inside: with
 * `keep: "failed"`, or with `HOTBOOT_KEEP=failed` in the environment. A warning then says with which command.
 *
 * @param from Which stack: options as for `fork`, or a pool, which gives one.
 * @param work Gets the stack.
 * @returns What the work gives.
 * @throws {HotbootError} as `fork` does.
 * @throws What the work throws.
 */
export async function withStack<T>(from: WithStackOptions | StackPool, work: (stack: Stack) => T): Promise<Awaited<T>> {
  const { keep = process.env.HOTBOOT_KEEP, ...options } = from instanceof StackPool ? {} : from;
  const stack = from instanceof StackPool ? await from.take() : await fork(options);
  try {
    return await work(stack);
  } catch (error) {
    if (keep === "failed") {
      await stack.keep().catch(({ message }) =>
        stack.emulator.report?.warn?.(`instance '${stack.instance}' could not be kept: ${message}; run the test again`)
      );
    }
    throw error;
  } finally {
    await stack[Symbol.asyncDispose]();
  }
}
