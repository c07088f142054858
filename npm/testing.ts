/**
 * Stacks for tests: each test, or each worker, has an instance of its own that resumes the warm snapshot, and so begins in
 * the time of a resume instead of a boot.
 *
 * @module
 */

export { HotbootError } from "./error.ts";
export { type PoolOptions, type StackPool, stackPool } from "./pool.ts";
export { fork, type Stack, type StackExecResult, type StackMaker, type StackOptions } from "./stack.ts";
export { withStack, type WithStackOptions } from "./with_stack.ts";
