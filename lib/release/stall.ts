/** Notices that a connection brings nothing any more, or next to nothing. */

import { formatBytes } from "../base/format.ts";
import { TransientError } from "./transient.ts";

/** Bytes per second: a connection that brings less is not worth waiting for. */
const LOWEST_RATE = 1000;

/** Watches one connection, until it is disposed. */
export class StallWatch implements Disposable {
  #abort = new AbortController();
  #timer: ReturnType<typeof setInterval>;
  #heard = performance.now();
  #since = performance.now();
  #came = 0;

  /**
   * @param host Who sends, for the error.
   * @param stallMs How long it may be silent, in milliseconds.
   */
  constructor(host: string, stallMs: number) {
    const fail = (what: string) => this.#abort.abort(new TransientError(`${host} ${what} ${stallMs / 1000} s`));
    const least = LOWEST_RATE * stallMs / 1000;
    this.#timer = setInterval(() => {
      const now = performance.now();
      if (now - this.#heard > stallMs) fail("was silent for");
      if (now - this.#since <= stallMs) return;
      if (this.#came > 0 && this.#came < least) fail(`sent only ${formatBytes(this.#came)} in`);
      [this.#since, this.#came] = [now, 0];
    }, Math.min(1000, stallMs / 4));
  }

  /** Aborts with a {@linkcode TransientError} once it has stalled. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** So many more bytes have come. */
  came(count: number): void {
    this.#heard = performance.now();
    this.#came += count;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
