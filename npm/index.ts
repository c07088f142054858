/**
 * hotboot for Node: local emulators that resume a warm snapshot in well under a second. The functions are those of the library
 * for Deno, and run the commands of the same names. `hotboot/testing` gives each test a stack of its own.
 *
 * @module
 */

export type { Reporter } from "./command.ts";
export { type Emulator, type EmulatorOptions, openEmulator } from "./emulator.ts";
export { HotbootError } from "./error.ts";
export type * from "./results.ts";
export {
  capture,
  credentials,
  exec,
  type ExecOptions,
  fork,
  type ForkOptions,
  reset,
  restart,
  type RestartOptions,
  saveCheckpoint,
  start,
  type StartOptions,
  status,
  stop,
  type StopOptions,
} from "./verbs.ts";
