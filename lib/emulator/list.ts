/** All instances of a home. */

import { withOptions } from "../base/advice.ts";
import { messageOf } from "../base/error.ts";
import { type Emulator, withInstance } from "../instance/emulator.ts";
import type { InstanceRecord } from "../instance/record.ts";
import { type State, type StateName, stateOf } from "../instance/state.ts";
import { urlsOf } from "../instance/urls.ts";
import { instanceNames } from "../instance/users.ts";
import type { Arch } from "../vm/arch.ts";
import { sizeOnDisk } from "./snapshots.ts";
import { type Status, whyOf } from "./status.ts";

/** An instance of the home, as it is listed. */
export interface InstanceInfo {
  /** Its name. */
  instance: string;
  /** Its profile's name, where it has one: nothing is known of what is `stopped` or `damaged`. */
  profile?: string;
  /** The guest's architecture, where that is known. */
  arch?: Arch;
  /** Its state, as in `Status`. */
  state: StateName;
  /** What to know of the state, and what to do, where it is none to be content with. */
  why?: string;
  /** Of one that runs. */
  running?: Pick<NonNullable<Status["running"]>, "origin" | "started" | "pid" | "urls"> & {
    /** The host's ports, by the names of the profile's. */
    ports: Record<string, number>;
  };
  /** The snapshot that its disk is on top of. */
  snapshot?: string;
  /** When it ended, ISO 8601, where it has and keeps something. */
  ended?: string;
  /** What its files take on the disk, in bytes. */
  bytes: number;
}

/**
 * Lists the instances of the emulator's home, of every profile. Each is asked for its state at once and no longer, and
 * none for its health.
 *
 * Needs read permission for the home, and net permission for the sockets of its instances.
 *
 * @param emulator Whose home, from {@linkcode openEmulator}.
 * @returns The instances, by their names.
 * @throws The reason of the emulator's signal, when that aborts.
 *
 * @example
 * ```ts
 * import { listInstances, openEmulator } from "@hotboot/hotboot";
 *
 * for (const { instance, state, running } of await listInstances(await openEmulator())) {
 *   console.log(instance, state, running?.urls);
 * }
 * ```
 */
export async function listInstances(emulator: Emulator): Promise<InstanceInfo[]> {
  return await Promise.all((await instanceNames(emulator)).map((instance) => describe(emulator, instance)));
}

async function describe(emulator: Emulator, instance: string): Promise<InstanceInfo> {
  const one = await withInstance(emulator, instance);
  const { bytes = 0 } = await sizeOnDisk(one.home.instance(instance)) ?? {};
  try {
    const state = await stateOf(one);
    await state[Symbol.asyncDispose](); // QEMU serves one at a time
    return { instance, ...describeState(one, state), bytes };
  } catch (error) {
    emulator.signal.throwIfAborted();
    return { instance, state: "damaged", why: withOptions(messageOf(error), { instance }), bytes };
  }
}

function describeState(emulator: Emulator, state: State): Omit<InstanceInfo, "instance" | "bytes"> {
  const why = whyOf(emulator, state);
  const record = "record" in state ? state.record : undefined;
  const isUp = state.kind === "running" || state.kind === "paused";
  return {
    ...(record && { profile: record.profile, arch: record.arch }),
    state: state.kind,
    ...(why !== undefined && { why: withOptions(why, { instance: emulator.instance }) }),
    ...(isUp && { running: describeRun(emulator, state.record) }),
    ...(record?.snapshot && { snapshot: record.snapshot }),
    ...(record?.ended && { ended: record.ended.at }),
  };
}

function describeRun(emulator: Emulator, record: InstanceRecord): InstanceInfo["running"] {
  const { origin, started, pid, ports } = record;
  return { origin, started, ...(pid !== undefined && { pid }), ports, urls: urlsOf(emulator, record) };
}
