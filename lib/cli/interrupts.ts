/** The signals by which the user asks the program to end. */

import { HotbootError } from "../base/error.ts";

/** Those that hotboot knows what to do with. */
export const INTERRUPTS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** One of them, by its name. */
export type Interrupt = typeof INTERRUPTS[number];

/** What a thread does about them: the first one ends what it does, unless somebody has taken them over. */
export class Interrupts {
  #end = new AbortController();
  #handler: (name: Interrupt) => void = (name) => this.#end.abort(new HotbootError(`interrupted by ${name}`));

  /** Aborted by the first one. */
  readonly signal: AbortSignal = this.#end.signal;

  /** One has come. */
  raise(name: Interrupt): void {
    this.#handler(name);
  }

  /** From now on each goes to `handler`, and none aborts the signal. */
  takeOver(handler: (name: Interrupt) => void): void {
    this.#handler = handler;
  }
}
