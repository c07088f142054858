/** Turns at something that serves only a few at once. */

import { within } from "./wait.ts";

/** Serves a fixed number at a time; the others wait, first come, first served. */
export class Turns {
  #free: number;
  #waiting: (() => void)[] = [];

  /** @param atOnce The number. */
  constructor(atOnce = 1) {
    this.#free = atOnce;
  }

  /** Returns when the caller's turn comes; the turn lasts until disposed of. Throws the signal's reason if it aborts. */
  async take(signal?: AbortSignal): Promise<Disposable> {
    signal?.throwIfAborted();
    if (this.#free > 0) this.#free--;
    else {
      const turn = new Promise<void>((resolve) => this.#waiting.push(resolve));
      await within(turn, "a turn", { signal }).catch((error) => {
        turn.then(() => this.#end()); // when this turn comes, pass it on
        throw error;
      });
    }
    return { [Symbol.dispose]: () => this.#end() };
  }

  /** Runs `work` when its turn comes. */
  async run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    using _turn = await this.take(signal);
    return await work();
  }

  #end(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#free++;
  }
}
