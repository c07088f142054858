/** Writes in other threads while this one continues. */

import type { Pool } from "./pool.ts";
import { isZero, PAGE } from "./sparse.ts";

/** The size of one write, and how many of these may be pending. */
const BUFFER = 1024 * 1024;
const BUFFERS = 4;

/** Takes bytes in order and lets others write them, from one place of the file on. */
export class Writer {
  /** Where the next byte goes. */
  at: number;
  #pool: Pool;
  #buffer?: Uint8Array<ArrayBuffer>;
  #used = 0;
  #spare: Uint8Array<ArrayBuffer>[] = [];
  #pending = new Set<Promise<void>>();
  #failure?: { error: unknown };

  constructor(pool: Pool, at: number) {
    this.#pool = pool;
    this.at = at;
  }

  /** Takes a piece, and copies it. May wait for earlier writes. */
  async add(piece: Uint8Array): Promise<void> {
    if (piece.length >= PAGE && isZero(piece)) {
      await this.#flush();
      this.at += piece.length;
      return;
    }
    for (let taken = 0; taken < piece.length;) {
      this.#buffer ??= this.#spare.pop() ?? new Uint8Array(BUFFER);
      const part = piece.subarray(taken, taken + BUFFER - this.#used);
      this.#buffer.set(part, this.#used);
      this.#used += part.length;
      taken += part.length;
      if (this.#used === BUFFER) await this.#flush();
    }
  }

  /** Waits until everything is written. */
  async end(): Promise<void> {
    await this.#flush();
    await Promise.all(this.#pending);
    if (this.#failure) throw this.#failure.error;
  }

  async #flush(): Promise<void> {
    if (!this.#buffer) return;
    const bytes = this.#buffer.subarray(0, this.#used);
    const written: Promise<void> = this.#pool.run({ kind: "write", bytes, to: this.at }).then(
      (back) => void this.#spare.push(new Uint8Array(back!.buffer)),
      (error) => void (this.#failure ??= { error }),
    ).finally(() => this.#pending.delete(written));
    this.#pending.add(written);
    this.at += this.#used;
    this.#used = 0;
    this.#buffer = undefined;
    while (this.#pending.size >= BUFFERS) await Promise.race(this.#pending);
    if (this.#failure) throw this.#failure.error;
  }
}
