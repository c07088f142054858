/** A clock of the host that can be stepped, for hotboot and its QEMU alone. See host_clock.c. */

import { shellCommand } from "../../lib/base/shell.ts";
import type { GuestHome } from "../e2e/guest_home.ts";
import { HOTBOOT } from "../e2e/program.ts";
import { preload } from "./preload.ts";

/** Of the numbers of `struct history`. */
const BYTES = 8;
const FIRST_STEP = 2;
const SIZE = 65_536;

/** While it is not disposed of, each hotboot that the tests start has it, and so has its QEMU. */
export class HostClock implements AsyncDisposable {
  readonly #file: Deno.FsFile;
  readonly #prefix: string[];
  #steps = 0;
  #aheadMs = 0;

  private constructor(file: Deno.FsFile, prefix: string[]) {
    this.#file = file;
    this.#prefix = prefix;
    HOTBOOT.unshift(...prefix);
  }

  /** The host's clock, for this home, until it is stepped. */
  static async of(guest: GuestHome): Promise<HostClock> {
    const path = `${guest.directory}/clock`;
    const loaded = [...await preload("host_clock.c", guest.directory), `HOTBOOT_TEST_CLOCK=${path}`];
    const file = await Deno.open(path, { read: true, write: true, createNew: true });
    await file.truncate(SIZE);
    const env = await guest.wrappedQemu((qemu) => `exec ${shellCommand([...loaded, qemu])} "$@"`);
    return new HostClock(file, [...loaded, ...Object.entries(env).map(([name, value]) => `${name}=${value}`)]);
  }

  /** What the clock says, in milliseconds since 1970. */
  now(): number {
    return Date.now() + this.#aheadMs;
  }

  /** Steps it forward or, with a negative number, back. */
  step(seconds: number): void {
    const ahead = this.#aheadMs + Math.round(seconds * 1000);
    this.#write(FIRST_STEP + 2 * this.#steps, BigInt(Date.now()) * 1_000_000n, BigInt(ahead) * 1_000_000n);
    this.#aheadMs = ahead;
    this.#write(0, BigInt(++this.#steps)); // from here on it counts
  }

  /** Sets it to a time, in milliseconds since 1970. */
  set(time: number): void {
    this.step((time - this.now()) / 1000);
  }

  #write(at: number, ...numbers: bigint[]): void {
    this.#file.seekSync(at * BYTES, Deno.SeekMode.Start);
    this.#file.writeSync(new Uint8Array(new BigInt64Array(numbers).buffer));
  }

  [Symbol.asyncDispose](): Promise<void> {
    HOTBOOT.splice(0, this.#prefix.length);
    this.#file.close();
    return Promise.resolve();
  }
}
