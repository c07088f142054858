/** Stacks that one test after another uses. */

import { HotbootError, messageOf } from "../base/error.ts";
import { dropFresh } from "../emulator/fresh.ts";
import { restart } from "../emulator/restart.ts";
import type { StartResult } from "../emulator/start_result.ts";
import type { Emulator } from "../instance/emulator.ts";
import { becomeOwner, type Owner } from "../instance/owners.ts";
import { openStack, type StackOptions, startOwned } from "./fork.ts";
import { Stack } from "./stack.ts";

/** Which stacks a pool has, and how many. */
export interface PoolOptions extends StackOptions {
  /** How many there are at most: how many tests use one at the same time; 1 by default. */
  size?: number;
}

/**
 * Makes a pool of stacks for the tests of one worker: it limits how many there are, and each has the same URLs from test to
 * test. A stack is made when one is wanted and none is free; one that was given back is put back to its beginning when it is
 * wanted again, which takes as long as a new one.
 *
 * Needs read and write permission for the home; what the pool does needs the permissions of `fork`.
 *
 * @param options Which stacks, as for `fork`, and how many. Name a checkpoint as their `source` if all are to begin at the
 * same moment: an instance that runs moves on.
 * @returns The pool, still without a stack. Dispose of it when the last test has ended.
 * @throws {HotbootError} as `openEmulator` does, or if the size is not a whole number from 1 on.
 *
 * @example
 * ```ts
 * import { stackPool } from "@hotboot/hotboot/testing";
 *
 * const pool = await stackPool({ profile: "demo", size: 2 });
 * Deno.test.afterAll(() => pool[Symbol.asyncDispose]());
 *
 * Deno.test("a test", async () => {
 *   await using stack = await pool.take();
 *   console.log(stack.url("backend"));
 * });
 * ```
 */
export async function stackPool(options: PoolOptions = {}): Promise<StackPool> {
  const { size = 1, ...stack } = options;
  if (!Number.isInteger(size) || size < 1) {
    throw new HotbootError(`a pool cannot have ${size} stacks: make it of 1 or more`);
  }
  const { home } = await openStack(stack);
  return new StackPool(size, stack, await becomeOwner(home));
}

/** One of a pool's stacks, whoever has it. */
interface Member {
  emulator: Emulator;
  started: StartResult;
}

/** Stacks that one test after another uses, from `stackPool`. */
export class StackPool implements AsyncDisposable {
  readonly #options: StackOptions;
  readonly #owner: Owner;
  readonly #members = new Set<Member>();
  /** Those that no test has now, and that one has had. */
  readonly #idle: Member[] = [];
  readonly #waiting: PromiseWithResolvers<void>[] = [];
  #places: number;
  #isOver = false;

  /** For `stackPool`. */
  constructor(size: number, options: StackOptions, owner: Owner) {
    this.#places = size;
    this.#options = options;
    this.#owner = owner;
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
        await dropFresh(member.emulator);
        throw isOver();
      }
      return new Stack(member.emulator, member.started, {
        noFallback: this.#options.noFallback,
        takeBack: () => {
          this.#idle.push(member);
          this.#leavePlace();
          return Promise.resolve();
        },
        forget: () => {
          this.#members.delete(member);
          this.#leavePlace();
        },
      });
    } catch (error) {
      this.#leavePlace();
      throw error;
    }
  }

  /** Drops all its stacks, also those that a test still has. @throws {HotbootError} if one cannot be dropped: the next fork tries again. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    for (const { reject } of this.#waiting.splice(0)) reject(isOver());
    using _owner = this.#owner;
    const dropped = await Promise.allSettled(Array.from(this.#members, ({ emulator }) => dropFresh(emulator)));
    for (const each of dropped) if (each.status === "rejected") throw each.reason;
  }

  async #freshMember(): Promise<Member> {
    const used = this.#idle.pop();
    if (!used) {
      const made = await startOwned(this.#options, this.#owner);
      this.#members.add(made);
      return made;
    }
    const { emulator, started: { ports } } = used;
    try {
      used.started = await restart(emulator, { discard: true, noFallback: this.#options.noFallback, ports });
      return used;
    } catch (error) {
      this.#members.delete(used);
      await dropFresh(emulator).catch((error) =>
        emulator.report.warn(
          `instance '${emulator.instance}' is left: ${
            messageOf(error)
          }; 'hotboot reset --instance ${emulator.instance}' drops it`,
        )
      );
      throw error;
    }
  }

  async #takePlace(): Promise<void> {
    if (this.#isOver) throw isOver();
    if (this.#places > 0) return void this.#places--;
    const turn = Promise.withResolvers<void>();
    this.#waiting.push(turn);
    await turn.promise;
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
