/** A few stacks for many tests. */

import type { Emulator } from "./emulator.ts";
import { HotbootError } from "./error.ts";
import type { RunResult } from "./results.ts";
import { forkHeld, Stack, type StackOptions } from "./stack.ts";
import { restart } from "./verbs.ts";

/** Which stacks a pool has, and how many. */
export interface PoolOptions extends StackOptions {
  /** How many there are at most: how many tests use one at the same time; 1 by default. */
  size?: number;
}

/** One of a pool's stacks, whoever has it. */
interface Member {
  emulator: Emulator;
  started: RunResult;
  end(word?: string): Promise<void>;
}

/**
 * Makes a pool of stacks for the tests of one worker: it limits how many there are, and each has the same URLs from test to
 * test. A stack that was given back is put back to its beginning when it is wanted again, which takes as long as a new one.
 *
 * @param options Which stacks, as for `fork`, and how many.
 * @returns The pool, still without a stack. Dispose of it when the last test has ended.
 * @throws {HotbootError} if the size is not a whole number from 1 on.
 */
export function stackPool(options: PoolOptions = {}): Promise<StackPool> {
  const { size = 1, ...stack } = options;
  if (Number.isInteger(size) && size >= 1) return Promise.resolve(new StackPool(size, stack));
  return Promise.reject(new HotbootError(`a pool cannot have ${size} stacks: make it of 1 or more`));
}

/** Stacks that one test after another uses, from `stackPool`. */
export class StackPool implements AsyncDisposable {
  readonly #options: StackOptions;
  readonly #members = new Set<Member>();
  /** Those that no test has now, and that one has had. */
  readonly #idle: Member[] = [];
  readonly #waiting: { resolve(): void; reject(error: Error): void }[] = [];
  #places: number;
  #isOver = false;

  /** For `stackPool`. */
  constructor(size: number, options: StackOptions) {
    this.#places = size;
    this.#options = options;
  }

  /**
   * Gives a stack at its beginning, with secrets of its own. Waits until one is free, or there is room for a new one. Its
   * disposal gives it back.
   *
   * @throws {HotbootError} as `fork` does, or if the pool was disposed of.
   */
  async take(): Promise<Stack> {
    await this.#takePlace();
    try {
      const member = await this.#freshMember();
      if (this.#isOver) {
        await member.end();
        throw isOver();
      }
      return new Stack(member.emulator, member.started, {
        noFallback: this.#options.noFallback,
        takeBack: (started) => {
          this.#idle.push(Object.assign(member, { started }));
          this.#leavePlace();
          return Promise.resolve();
        },
        keep: () => {
          this.#members.delete(member);
          this.#leavePlace();
          return member.end("keep\n");
        },
      });
    } catch (error) {
      this.#leavePlace();
      throw error;
    }
  }

  /** Drops all its stacks, also those that a test still has. @throws {HotbootError} if one cannot be dropped. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    for (const { reject } of this.#waiting.splice(0)) reject(isOver());
    const dropped = await Promise.allSettled(Array.from(this.#members, ({ end }) => end()));
    for (const each of dropped) if (each.status === "rejected") throw each.reason;
  }

  async #freshMember(): Promise<Member> {
    const used = this.#idle.pop();
    if (!used) {
      const made = await forkHeld(this.#options);
      this.#members.add(made);
      return made;
    }
    try {
      used.started = await restart(used.emulator, { discard: true, noFallback: this.#options.noFallback });
      return used;
    } catch (error) {
      this.#members.delete(used);
      await used.end().catch(() => {}); // the first error says more
      throw error;
    }
  }

  async #takePlace(): Promise<void> {
    if (this.#isOver) throw isOver();
    if (this.#places > 0) return void this.#places--;
    await new Promise<void>((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  #leavePlace(): void {
    const next = this.#waiting.shift();
    if (next) next.resolve();
    else this.#places++;
  }
}

function isOver(): HotbootError {
  return new HotbootError("the pool was disposed of: make another one");
}
