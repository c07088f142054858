/** Which instances stand on which snapshots and images: on their disks, and those that run also on a snapshot's RAM. */

import { HotbootError } from "../base/error.ts";
import type { Identity } from "../snapshot/manifest.ts";
import type { Emulator } from "./emulator.ts";
import { type Image, IMAGE_DISK } from "../image/image.ts";
import { findRunning, instanceNames, isBeingStarted, readInstance } from "./instance.ts";
import { readKept } from "./kept.ts";

/** An instance that stands on a snapshot. */
export interface SnapshotUser {
  /** Its name. */
  instance: string;
  /** What it does, or has kept. */
  state: "starting" | "running" | "suspended" | "shut down";
}

/** What an instance stands on. */
interface Footing {
  snapshot?: string;
  identity: Identity;
}

/** For each snapshot that any instance of this home stands on, by its id, those instances. */
export async function usersOfSnapshots(emulator: Emulator): Promise<Map<string, SnapshotUser[]>> {
  const users = new Map<string, SnapshotUser[]>();
  for (const { user, footing } of await usersAndFootings(emulator)) {
    if (footing.snapshot) users.set(footing.snapshot, [...users.get(footing.snapshot) ?? [], user]);
  }
  return users;
}

/** @throws {HotbootError} when an instance stands on the image, whose disk would be lost with it. */
export async function requireUnused(emulator: Emulator, image: Image | undefined): Promise<void> {
  const digest = image?.record.files.disk.sha256;
  for (const { user, footing } of digest ? await usersAndFootings(emulator) : []) {
    if (footing.identity[IMAGE_DISK] !== digest) continue;
    throw new HotbootError(
      `instance '${user.instance}' is ${user.state} and stands on the present image, which another would replace: drop it first ('hotboot stop --discard')`,
    );
  }
}

/** All instances of this home that stand on anything. What a crash has left of one does not. */
async function usersAndFootings(emulator: Emulator): Promise<{ user: SnapshotUser; footing: Footing }[]> {
  const found: { user: SnapshotUser; footing: Footing }[] = [];
  for (const name of await instanceNames(emulator)) {
    const instance = { ...emulator, instance: name };
    const [record, kept] = await Promise.all([readInstance(instance), readKept(instance).catch(() => undefined)]);
    const state = record && await runState(instance);
    if (state) found.push({ user: { instance: name, state }, footing: record! });
    else if (kept) found.push({ user: { instance: name, state: kept.how }, footing: kept });
  }
  return found;
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
