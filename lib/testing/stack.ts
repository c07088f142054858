/** A stack of one test's own: an instance that goes with it. */

import { HotbootError } from "../base/error.ts";
import { environment } from "../emulator/environment.ts";
import { restart } from "../emulator/restart.ts";
import type { StartResult } from "../emulator/start_result.ts";
import { exec } from "../guest/exec.ts";
import { credentials } from "../guest/rotate.ts";
import type { Emulator } from "../instance/emulator.ts";
import { giveToUser } from "../instance/owners.ts";
import type { Secrets } from "../profile/secrets.ts";
import { suspendForUser } from "./keep.ts";

/** What a program in the guest has done. */
export interface StackExecResult {
  /** Its exit code; 128 + n if signal n ended it; 127 if there is no such program. */
  code: number;
  /** Its standard output. */
  stdout: string;
  /** Its standard error. */
  stderr: string;
}

/** Whoever has made a stack. */
export interface StackMaker {
  /** Whether it may boot, where nothing can be resumed. */
  noFallback?: boolean;
  /** The test no longer needs it. */
  takeBack(): Promise<void>;
  /** It is the user's from now on. */
  forget(): void;
}

/**
 * A stack of a test's own, from `fork` or a pool. Dispose of it when the test has ended: this drops the instance with its
 * disk or, if a pool gave it, gives it back. All that it does needs the permissions of `fork`.
 *
 * @example
 * ```ts
 * import { fork } from "@hotboot/hotboot/testing";
 *
 * await using stack = await fork({ profile: "demo" });
 * const response = await fetch(stack.url("backend"));
 * console.log(response.status, (await stack.exec("psql", "--version")).stdout);
 * ```
 */
export class Stack implements AsyncDisposable {
  /** Its emulator, for the functions of the library. */
  readonly emulator: Emulator;
  #started: StartResult;
  #maker?: StackMaker;
  readonly #noFallback?: boolean;

  /** For who makes stacks: an instance that runs. */
  constructor(emulator: Emulator, started: StartResult, maker: StackMaker) {
    this.emulator = emulator;
    this.#started = started;
    this.#maker = maker;
    this.#noFallback = maker.noFallback;
  }

  /** The instance's name, for `hotboot exec --instance` and the like. */
  get instance(): string {
    return this.emulator.instance;
  }

  /** Where its services are, by the names of the profile's ports. */
  get urls(): Record<string, string> {
    return this.#started.urls;
  }

  /** Its ports of the host's 127.0.0.1, likewise. */
  get ports(): Record<string, number> {
    return this.#started.ports;
  }

  /** Where one of its services is. @throws {HotbootError} if the profile has no port of that name. */
  url(name: string): string {
    if (Object.hasOwn(this.urls, name)) return this.urls[name];
    throw new HotbootError(
      `profile '${this.emulator.profile.name}' has no port '${name}': name one of ${Object.keys(this.urls).join(", ")}`,
    );
  }

  /** The variables for programs that use it, with its secrets: the profile's `environment`. */
  async env(): Promise<Record<string, string>> {
    return await environment(this.emulator);
  }

  /** Its own secrets. @throws {HotbootError} if its profile has none. */
  async credentials(): Promise<Secrets> {
    return await credentials(this.emulator);
  }

  /** Runs a program in the guest, as root, and gives what that has written. @throws {HotbootError} if the guest does not answer. */
  async exec(...command: string[]): Promise<StackExecResult> {
    const [stdout, stderr] = [new TextDecoder(), new TextDecoder()];
    const result = { code: 0, stdout: "", stderr: "" };
    result.code = await exec(this.emulator, {
      command,
      stdout: (bytes) => void (result.stdout += stdout.decode(bytes, { stream: true })),
      stderr: (bytes) => void (result.stderr += stderr.decode(bytes, { stream: true })),
    });
    return result;
  }

  /**
   * Puts it back to the moment at which it was forked: memory and disk. Its ports and URLs stay what they are; its secrets do
   * not.
   *
   * @throws {HotbootError} if it cannot be started again, or a port was taken meanwhile. Nothing is left of it then.
   */
  async reset(): Promise<void> {
    this.#requireOwn();
    this.#started = await restart(this.emulator, { discard: true, noFallback: this.#noFallback, ports: this.ports });
  }

  /**
   * Suspends it and leaves it to you: nothing drops it any more, and its services no longer answer. A warning says which
   * commands look inside, and which one drops it.
   *
   * @throws {HotbootError} if it cannot be suspended. It is yours all the same.
   */
  async keep(): Promise<void> {
    const maker = this.#requireOwn();
    this.#maker = undefined;
    try {
      await giveToUser(this.emulator);
    } finally {
      maker.forget();
    }
    await suspendForUser(this.emulator);
  }

  /** @throws {HotbootError} if the test has disposed of it or kept it: by now it may be another's. */
  #requireOwn(): StackMaker {
    if (this.#maker) return this.#maker;
    throw new HotbootError(
      `instance '${this.instance}' is no longer this test's: use a stack before it is disposed of or kept`,
    );
  }

  /** Drops it, or gives it back to its pool. @throws {HotbootError} if it cannot be dropped: the next fork tries again. */
  async [Symbol.asyncDispose](): Promise<void> {
    const maker = this.#maker;
    this.#maker = undefined;
    await maker?.takeBack();
  }
}
