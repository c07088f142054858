/** All instances of a home. */

import { withOptions } from "../base/advice.ts";
import { messageOf } from "../base/error.ts";
import { type Emulator, withInstance } from "../instance/emulator.ts";
import type { Memory } from "../instance/memory.ts";
import type { InstanceRecord } from "../instance/record.ts";
import { type State, type StateName, stateOf } from "../instance/state.ts";
import { urlsOf } from "../instance/urls.ts";
import { instanceNames } from "../instance/users.ts";
import type { Arch } from "../vm/arch.ts";
import { sizeOnDisk } from "./snapshots.ts";
import { healthOf, type Status, whyOf } from "./status.ts";

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
    /** With `details`: whether each health check passes; empty for another profile's. */
    health?: Record<string, boolean>;
    /** With `details`: its QEMU's memory, where the host says that. */
    memory?: Memory;
  };
  /** The snapshot that its disk is on top of. */
  snapshot?: string;
  /** When it ended, ISO 8601, where it has and keeps something. */
  ended?: string;
  /** What its files take on the disk, in bytes. */
  bytes: number;
}

/** How much to list. */
export interface ListOptions {
  /** Also the health of the profile's own instances, and the memory of all. */
  details?: boolean;
}

/**
 * Lists the instances of the emulator's home, of every profile. Each is asked for its state at once and no longer, and
 * without `details` none for its health.
 *
 * Needs read permission for the home, and net permission for the sockets of its instances. For `details`, also net
 * permission for their ports, and run permission for Bash.
 *
 * @param emulator Whose home, from {@linkcode openEmulator}.
 * @param options How much.
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
export async function listInstances(emulator: Emulator, options: ListOptions = {}): Promise<InstanceInfo[]> {
  const found = await Promise.all((await instanceNames(emulator)).map((name) => describe(emulator, name, options)));
  if (options.details) await addMemory(found);
  return found.map(({ uuid: _, ...info }) => info);
}

/** Adds what the host says of each QEMU's memory. */
async function addMemory(found: (InstanceInfo & { uuid?: string })[]): Promise<void> {
  const { memoryOf } = await import("../instance/memory.ts");
  const memory = await memoryOf(
    found.flatMap(({ running, uuid }) => running?.pid && uuid ? [[running.pid, uuid]] : []),
  );
  for (const { running } of found) {
    const own = running?.pid === undefined ? undefined : memory.get(running.pid);
    if (own) running!.memory = own;
  }
}

async function describe(
  emulator: Emulator,
  instance: string,
  { details }: ListOptions,
): Promise<InstanceInfo & { uuid?: string }> {
  const one = await withInstance(emulator, instance);
  const { bytes = 0 } = await sizeOnDisk(one.home.instance(instance)) ?? {};
  try {
    const state = await stateOf(one);
    await state[Symbol.asyncDispose](); // QEMU serves one at a time
    const { running, ...described } = describeState(one, state);
    const isUp = details && running && (state.kind === "running" || state.kind === "paused");
    const health = isUp ? await healthOf(one, state.record, state.kind === "running") : undefined;
    return {
      instance,
      ...described,
      ...(running && { running: { ...running, ...(health && { health }) } }),
      ...(isUp && { uuid: state.record.uuid }),
      bytes,
    };
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
