/** The signals with which the user asks the program to end. */

import { HotbootError } from "../base/error.ts";

/** The signals that hotboot handles. */
export const INTERRUPTS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** The name of one. */
export type Interrupt = typeof INTERRUPTS[number];

/** A thread's reaction to interrupts: the first aborts its work, unless something has taken them over. */
export class Interrupts {
  #end = new AbortController();
  #handler: (name: Interrupt) => void = (name) => this.#end.abort(new HotbootError(`interrupted by ${name}`));

  /** Aborted by the first interrupt. */
  readonly signal: AbortSignal = this.#end.signal;

  /** Handles an interrupt. */
  raise(name: Interrupt): void {
    this.#handler(name);
  }

  /** From now on each goes to `handler`, and no longer aborts the signal. */
  takeOver(handler: (name: Interrupt) => void): void {
    this.#handler = handler;
  }
}
