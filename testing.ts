/**
 * Stacks for tests: each test, or each worker, has an instance of its own that resumes the warm snapshot, and so begins in
 * the time of a resume instead of a boot.
 *
 * - {@linkcode fork} starts one, which is dropped when the test disposes of it;
 * - {@linkcode stackPool} makes a pool of them, which one test after another uses;
 * - {@linkcode withStack} does work with one, and can keep it if that fails.
 *
 * What a test run leaves that is killed is dropped by the next one. Importing this needs no permissions. It prints nothing
 * but warnings, unless you give a `report`.
 *
 * @example
 * ```ts
 * import { fork } from "@hotboot/hotboot/testing";
 *
 * Deno.test("the backend reaches its database", async () => {
 *   await using stack = await fork({ profile: "demo" });
 *   const response = await fetch(`${stack.url("backend")}/health?db=1`);
 *   if (!response.ok) throw new Error(await response.text());
 *   await response.body?.cancel();
 * });
 * ```
 *
 * @module
 */

export { fork, type StackOptions } from "./lib/testing/fork.ts";
export { type PoolOptions, type StackPool, stackPool } from "./lib/testing/pool.ts";
export type { Stack, StackExecResult, StackMaker } from "./lib/testing/stack.ts";
export { withStack, type WithStackOptions } from "./lib/testing/with_stack.ts";
export { HotbootError } from "./lib/base/error.ts";
