/** Which instances stand on which snapshots: on their disks, and those that run also on their RAM. */

import type { Emulator } from "./emulator.ts";
import { findRunning, isBeingStarted, readInstance } from "./instance.ts";
import { readKept } from "./kept.ts";

/** An instance that stands on a snapshot. */
export interface SnapshotUser {
  /** Its name. */
  instance: string;
  /** What it does, or has kept. */
  state: "starting" | "running" | "suspended" | "shut down";
}

/**
 * For each snapshot that any instance of this home stands on, by its id, those instances. What a crash has left of an
 * instance stands on nothing.
 */
export async function usersOfSnapshots(emulator: Emulator): Promise<Map<string, SnapshotUser[]>> {
  const users = new Map<string, SnapshotUser[]>();
  for (const name of await instanceNames(emulator)) {
    const instance = { ...emulator, instance: name };
    const [record, kept] = await Promise.all([readInstance(instance), readKept(instance).catch(() => undefined)]);
    const add = (snapshot: string, state: SnapshotUser["state"]) => {
      users.set(snapshot, [...users.get(snapshot) ?? [], { instance: name, state }]);
    };
    const state = record?.snapshot && await runState(instance);
    if (state) add(record!.snapshot!, state);
    else if (kept?.snapshot) add(kept.snapshot, kept.how);
  }
  return users;
}

async function runState(instance: Emulator): Promise<"starting" | "running" | undefined> {
  if (await isBeingStarted(instance)) return "starting";
  try {
    await using running = await findRunning(instance);
    return running && "running";
  } catch {
    instance.signal.throwIfAborted();
    return "running"; // a QEMU that hangs has its files open
  }
}

async function instanceNames({ home }: Emulator): Promise<string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(`${home.root}/instances`), ({ name }) => name)).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
