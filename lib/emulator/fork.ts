/** Making one instance more of another, or of a checkpoint. */

import { checkpointsOf } from "../instance/checkpoints.ts";
import { adviseOn } from "../base/advice.ts";
import { HotbootError } from "../base/error.ts";
import { type Emulator, ownInstance, withInstance } from "../instance/emulator.ts";
import { dropUnnamed } from "../instance/forks.ts";
import { removeUnusedLayers } from "../instance/layers.ts";
import { stateOf } from "../instance/state.ts";
import { instanceNames } from "../instance/users.ts";
import { saveForFork } from "./checkpoint.ts";
import { dropUnfinished } from "./reap.ts";
import { startAs } from "./start.ts";
import type { StartOptions, StartResult } from "./start_result.ts";

/** How to fork. */
export interface ForkOptions extends Omit<StartOptions, "from" | "cold"> {
  /**
   * An instance that runs or is suspended, or a checkpoint. By default the profile's own instance, if it runs or is
   * suspended, else the newest snapshot.
   */
  source?: string;
}

/** What a fork gave. */
export interface ForkResult extends StartResult {
  /** How long the source stood still for it, in milliseconds; 0 if it did not run. */
  stoodStillMs: number;
}

/**
 * Starts a new instance that continues where another one is, with secrets, clock, randomness and ports of its own. A source
 * that runs stands still only while the last part of its memory is written; one that is suspended stays so.
 *
 * Needs the same permissions as {@linkcode start}.
 *
 * @param emulator The new instance, from {@linkcode openEmulator}. It must be stopped.
 * @param options What to fork, and how to start it.
 * @returns Where its services are, and how long the source stood still.
 * @throws {HotbootError} if there is no such source, or the instance cannot be started. Nothing is left of it then.
 * @throws The reason of the emulator's signal, if it aborts; likewise.
 *
 * @example
 * ```ts
 * import { fork, openEmulator } from "@hotboot/hotboot";
 *
 * const { urls } = await fork(await openEmulator({ profile: "demo", instance: "second" }));
 * console.log(urls);
 * ```
 */
export async function fork(emulator: Emulator, options: ForkOptions = {}): Promise<ForkResult> {
  const { source, ...starting } = options;
  await dropUnfinished(emulator); // a killed fork's
  await requireStopped(emulator);
  const instance = await instanceToFork(emulator, source);
  if (instance === undefined) {
    return { ...await startAs("fork", emulator, { ...starting, from: source }), stoodStillMs: 0 };
  }
  const startIt = async (id: string) => {
    try {
      return await adviseOn(emulator.instance, () => startAs("fork", emulator, { ...starting, from: id }));
    } catch (error) {
      const own = { ...emulator, signal: new AbortController().signal };
      await dropUnnamed(own, id); // the start has undone itself
      await removeUnusedLayers(own);
      throw error;
    }
  };
  const saved = await withInstance(emulator, instance);
  const { stoodStillMs, result } = await adviseOn(instance, () => saveForFork(saved, startIt));
  return { ...result, stoodStillMs };
}

/** Before anything stands still. */
async function requireStopped(emulator: Emulator): Promise<void> {
  await using state = await stateOf(emulator);
  if (state.kind === "stopped") return;
  throw new HotbootError(
    `instance '${emulator.instance}' is ${state.kind}: choose another name, or drop it with its disk ('hotboot reset --instance ${emulator.instance}')`,
  );
}

/** The instance that is meant; none: a checkpoint, or the newest snapshot. */
async function instanceToFork(emulator: Emulator, source?: string): Promise<string | undefined> {
  const { profile, home, instance } = emulator;
  if (source === instance) {
    throw new HotbootError(`instance '${instance}' cannot be a fork of itself: choose another name`);
  }
  const name = source ?? await ownInstance(profile, home);
  if (
    source !== undefined && (await checkpointsOf(emulator)).some(({ manifest }) => manifest.checkpoint.name === source)
  ) {
    return undefined;
  }
  if (!(await instanceNames(emulator)).includes(name)) return undefined;
  await using state = await stateOf(await withInstance(emulator, name));
  if (source === undefined && !["running", "suspended"].includes(state.kind)) return undefined;
  const arch = "record" in state ? state.record?.arch : undefined;
  if (arch !== undefined && arch !== emulator.arch) {
    throw new HotbootError(`instance '${name}' is ${arch}: type --arch ${arch}`);
  }
  return name;
}
