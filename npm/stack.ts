/** A stack of one test's own: an instance that goes with it. */

import { hold } from "./command.ts";
import { type Emulator, type EmulatorOptions, openEmulator } from "./emulator.ts";
import { HotbootError } from "./error.ts";
import type { RunResult, Secrets } from "./results.ts";
import { credentials, exec, restart, startFlags } from "./verbs.ts";

/** Which stack a test gets. */
export interface StackOptions extends Omit<EmulatorOptions, "instance"> {
  /** A checkpoint, or an instance that runs or is suspended, to begin with; by default the newest snapshot. */
  source?: string;
  /** Fail where no snapshot can be resumed or captured. By default such a stack boots, which takes much longer. */
  noFallback?: boolean;
}

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
  takeBack(started: RunResult): Promise<void>;
  /** It is the user's from now on, suspended. */
  keep(): Promise<void>;
}

/** Warnings, which a test runner shows, and nothing else. */
const WARNINGS = { warn: (text: string) => console.warn(`hotboot: ${text}`) };

/**
 * Starts a stack of a test's own, in the time of a resume: an instance with a generated name, and with disk, memory, ports,
 * secrets, clock and randomness of its own. Several can run at once, in one process or in many. It goes with this process,
 * however that ends.
 *
 * @param options The profile and so on, as for `openEmulator`, and what to begin with. Unless there is a `report`, warnings go
 * to the console.
 * @returns The stack, which runs. Dispose of it.
 * @throws {HotbootError} as `start` does, or if there is no such source. Nothing is left then.
 *
 * @example
 * ```ts ignore
 * import { fork } from "hotboot/testing";
 *
 * await using stack = await fork({ profile: "demo" });
 * const response = await fetch(`${stack.url("backend")}/health?db=1`);
 * ```
 */
export async function fork(options: StackOptions = {}): Promise<Stack> {
  const { noFallback } = options;
  const { emulator, started, end } = await forkHeld(options);
  return new Stack(emulator, started, { noFallback, takeBack: () => end(), keep: () => end("keep\n") });
}

/** A new instance that is this process's. */
export async function forkHeld(
  { source, noFallback, ...options }: StackOptions,
): Promise<{ emulator: Emulator; started: RunResult; end(word?: string): Promise<void> }> {
  const opened = await openEmulator({ report: WARNINGS, ...options });
  const from = source === undefined ? [] : ["--from", source];
  const args = ["run", "--fresh", "--json", ...opened.options, ...from, ...startFlags({ noFallback })];
  const { first, end } = await hold<RunResult>(opened, args);
  return { emulator: { ...opened, instance: first.instance }, started: first, end };
}

/**
 * A stack of a test's own, from `fork` or a pool. Dispose of it when the test has ended: this drops the instance with its
 * disk or, if a pool gave it, gives it back.
 */
export class Stack implements AsyncDisposable {
  /** Its emulator, for `start`, `stop` and the other functions. */
  readonly emulator: Emulator;
  #started: RunResult;
  #maker?: StackMaker;
  readonly #noFallback?: boolean;

  /** For who makes stacks: an instance that runs. */
  constructor(emulator: Emulator, started: RunResult, maker: StackMaker) {
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
  env(): Promise<Record<string, string>> {
    return Promise.resolve(this.#started.env);
  }

  /** Its own secrets. @throws {HotbootError} if its profile has none. */
  async credentials(): Promise<Secrets> {
    return await credentials(this.emulator);
  }

  /** Runs a program in the guest, as root, and gives what that has written. @throws {HotbootError} if the guest does not answer. */
  async exec(...command: string[]): Promise<StackExecResult> {
    const { exitCode, stdout, stderr } = await exec(this.emulator, { command });
    return { code: exitCode, stdout, stderr };
  }

  /**
   * Puts it back to the moment at which it was forked: memory and disk. Its ports and URLs stay what they are; its secrets do
   * not.
   *
   * @throws {HotbootError} if it cannot be started again.
   */
  async reset(): Promise<void> {
    this.#requireOwn();
    this.#started = await restart(this.emulator, { discard: true, noFallback: this.#noFallback });
  }

  /**
   * Suspends it and leaves it to you: nothing drops it any more, and its services no longer answer. A warning says which
   * commands look inside, and which one drops it.
   *
   * @throws {HotbootError} if it cannot be suspended.
   */
  async keep(): Promise<void> {
    const maker = this.#requireOwn();
    this.#maker = undefined;
    await maker.keep();
  }

  /** @throws {HotbootError} if the test has disposed of it or kept it: by now it may be another's. */
  #requireOwn(): StackMaker {
    if (this.#maker) return this.#maker;
    throw new HotbootError(
      `instance '${this.instance}' is no longer this test's: use a stack before it is disposed of or kept`,
    );
  }

  /** Drops it, or gives it back to its pool. @throws {HotbootError} if it cannot be dropped. */
  async [Symbol.asyncDispose](): Promise<void> {
    const maker = this.#maker;
    this.#maker = undefined;
    await maker?.takeBack(this.#started);
  }
}
