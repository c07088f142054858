/** Taking turns at what serves only so many at once. */

import { within } from "./wait.ts";

/** So many can have it at a time; who comes then waits, first come, first served. */
export class Turns {
  #free: number;
  #waiting: (() => void)[] = [];

  /** @param atOnce How many. */
  constructor(atOnce = 1) {
    this.#free = atOnce;
  }

  /** Returns when it is one's turn, which lasts until it is disposed of. Throws the signal's reason when that aborts. */
  async take(signal?: AbortSignal): Promise<Disposable> {
    signal?.throwIfAborted();
    if (this.#free > 0) this.#free--;
    else {
      const turn = new Promise<void>((resolve) => this.#waiting.push(resolve));
      await within(turn, "a turn", { signal }).catch((error) => {
        turn.then(() => this.#end()); // when it comes, it goes to the next
        throw error;
      });
    }
    return { [Symbol.dispose]: () => this.#end() };
  }

  /** Does `work` when it is its turn. */
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
