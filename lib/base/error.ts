/**
 * Errors that a user can act on.
 *
 * @module
 */

import { printable } from "./printable.ts";

/**
 * Something hotboot could not do. The message is one line that says what happened, why, and what to do; it never contains a
 * secret. It is all that a user needs, so the CLI prints it without a stack. Anything else that is thrown is the reason of an
 * aborted signal, or comes from the runtime: a missing permission, a file that cannot be read.
 *
 * @example
 * ```ts
 * import { HotbootError, resolveArch } from "@hotboot/hotboot";
 * import { assertEquals } from "@std/assert";
 *
 * try {
 *   resolveArch("vax");
 * } catch (error) {
 *   if (!(error instanceof HotbootError)) throw error;
 *   assertEquals(error.message, "Invalid architecture 'vax': use amd64 or arm64");
 * }
 * ```
 */
export class HotbootError extends Error {
  /** The class's name, for logs. */
  override name = "HotbootError";
}

/** What a start needs and does not find on this machine. `hotboot doctor` looks at all of that, so the console names it. */
export class HostError extends HotbootError {
  /** What is wrong, without what to do about it. */
  readonly what: string;
  /** What to do about it. */
  readonly todo: string;

  constructor(what: string, todo: string) {
    super(`${what}: ${todo}`);
    this.what = what;
    this.todo = todo;
  }
}

/** The one-line text of whatever was thrown. */
export function messageOf(error: unknown): string {
  return printable((error instanceof Error ? error.message : String(error)).trim().replaceAll(/\s*\n\s*/g, "; "));
}

/** Whether there is nothing at a path: no such file, or something that is no directory on the way to it. */
export function isMissing(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory;
}

/**
 * Whether a disk is full, or the user's share of it: only the message says the latter.
 *
 * Source: errno(3), ENOSPC and EDQUOT, as the system and QEMU put them.
 */
export function isDiskFull(error: unknown): boolean {
  return /no space left on|dis[ck] quota exceeded/i.test(messageOf(error));
}
