/** Making stacks for tests. */

import { messageOf } from "../base/error.ts";
import { dropFresh, ownFresh, startFresh } from "../emulator/fresh.ts";
import type { StartResult } from "../emulator/start_result.ts";
import { type Emulator, type EmulatorOptions, openEmulator, type Reporter } from "../instance/emulator.ts";
import { becomeOwner, type Owner } from "../instance/owners.ts";
import { Stack } from "./stack.ts";

/** Which stack a test gets. */
export interface StackOptions extends Omit<EmulatorOptions, "instance"> {
  /** An instance that runs or is suspended, or a checkpoint, to begin with; by default the newest snapshot. */
  source?: string;
  /** Fail where no snapshot can be resumed or captured. By default such a stack boots, which takes much longer. */
  noFallback?: boolean;
}

/** Tells warnings, which a test runner shows, and nothing else. */
const WARNINGS: Reporter = {
  step() {},
  detail() {},
  warn: (text) => console.warn(`hotboot: ${text}`),
  progress() {},
};

/**
 * Starts a stack of a test's own, in the time of a resume: an instance with a generated name, and with disk, memory, ports,
 * secrets, clock and randomness of its own. Several can run at once, in one process or in many. Also drops what earlier test
 * runs have left that were killed.
 *
 * The first one of all gets the image and captures a snapshot, and those that begin meanwhile wait for that.
 *
 * Needs the same permissions as `start`, for any port of 127.0.0.1 and for the sockets of all instances of the home.
 *
 * @param options The profile and so on, as for `openEmulator`, and what to begin with. Unless there is a `report`, warnings
 * go to the console.
 * @returns The stack, which runs. Dispose of it.
 * @throws {HotbootError} as `start` does, or if there is no such source. Nothing is left then.
 * @throws The reason of the options' signal, if that aborts; likewise.
 *
 * @example
 * ```ts
 * import { fork } from "@hotboot/hotboot/testing";
 *
 * Deno.test("the backend reaches its database", async () => {
 *   await using stack = await fork({ profile: "demo" });
 *   const response = await fetch(`${stack.url("backend")}/health?db=1`);
 *   if (!response.ok) throw new Error(await response.text());
 *   await response.body?.cancel();
 * });
 * ```
 */
export async function fork(options: StackOptions = {}): Promise<Stack> {
  const { home } = await openStack(options);
  const owner = await becomeOwner(home);
  const forget = () => owner[Symbol.dispose]();
  try {
    const { emulator, started } = await startOwned(options, owner);
    const takeBack = async () => {
      try {
        await dropFresh(emulator);
      } finally {
        forget();
      }
    };
    return new Stack(emulator, started, { noFallback: options.noFallback, takeBack, forget });
  } catch (error) {
    forget();
    throw error;
  }
}

/** An emulator with a name that no other has. */
export function openStack({ source: _, noFallback: __, ...options }: StackOptions): Promise<Emulator> {
  return openEmulator({ report: WARNINGS, ...options, instance: `test-${crypto.randomUUID().slice(0, 8)}` });
}

/** A new instance that runs, and is the owner's. */
export async function startOwned(
  options: StackOptions,
  owner: Owner,
): Promise<{ emulator: Emulator; started: StartResult }> {
  const { source, noFallback } = options;
  const emulator = await openStack(options);
  await ownFresh(emulator, owner);
  try {
    return { emulator, started: await startFresh(emulator, { from: source, noFallback }) };
  } catch (error) {
    await dropFresh(emulator).catch((error) => {
      emulator.report.warn(
        `instance '${emulator.instance}' is left: ${
          messageOf(error)
        }; 'hotboot reset --instance ${emulator.instance}' drops it`,
      );
    });
    throw error;
  }
}
