/** Which instances use which snapshots and images: their disks are on top of them, and those that run use the RAM, too. */

import { HotbootError } from "../base/error.ts";
import type { Identity } from "../snapshot/manifest.ts";
import { readQcow2Header } from "../vm/qcow2.ts";
import { instancePath } from "./channels.ts";
import { type Emulator, withInstance } from "./emulator.ts";
import { IMAGE_DISK } from "./identity.ts";
import { type StateName, stateOf } from "./state.ts";

/** An instance that uses a snapshot. */
export interface SnapshotUser {
  /** Its name. */
  instance: string;
  /** What it does, or has kept. */
  state: StateName;
}

/** What an instance's files depend on. */
interface Dependency {
  snapshot?: string;
  identity: Identity;
}

/** For each snapshot that any instance of this home uses, by its id, those instances. */
export async function usersOfSnapshots(emulator: Emulator): Promise<Map<string, SnapshotUser[]>> {
  const users = new Map<string, SnapshotUser[]>();
  for (const { user, on: { snapshot } } of await dependencies(emulator)) {
    if (snapshot) users.set(snapshot, [...users.get(snapshot) ?? [], user]);
  }
  return users;
}

/** @throws {HotbootError} when an instance uses the image with this disk, and would lose its own disk with it. */
export async function requireUnused(emulator: Emulator, diskDigest: string | undefined): Promise<void> {
  if (diskDigest === undefined) return;
  // Of a damaged one nobody knows.
  const uses = ({ user, on }: { user: SnapshotUser; on: Dependency }) =>
    on.identity[IMAGE_DISK] === diskDigest || user.state === "damaged";
  const found = (await dependencies(emulator)).find(uses);
  if (!found) return;
  const { instance, state } = found.user;
  throw new HotbootError(
    `instance '${instance}' is ${state} and uses the present image, which another would replace: drop it first ('hotboot stop --discard${
      instance === emulator.instance ? "" : ` --instance ${instance}`
    }')`,
  );
}

/** All instances of this home that depend on anything. What a crash has left of a start does not. */
async function dependencies(emulator: Emulator): Promise<{ user: SnapshotUser; on: Dependency }[]> {
  const found: { user: SnapshotUser; on: Dependency }[] = [];
  for (const instance of await instanceNames(emulator)) {
    const one = await withInstance(emulator, instance);
    await using state = await stateOf(one);
    const record = "record" in state ? state.record : undefined;
    const on = record ?? (state.kind === "stopped" ? undefined : await dependencyOfDisk(one));
    if (on) found.push({ user: { instance, state: state.kind }, on });
  }
  return found;
}

/** What the disk itself says that it is on top of, where the record is damaged. */
async function dependencyOfDisk(emulator: Emulator): Promise<Dependency | undefined> {
  const header = await readQcow2Header(instancePath(emulator, "disk")).catch(() => undefined);
  if (header?.backingFile === undefined) return undefined;
  const [, snapshot] = header.backingFile.match(/(?:^|\/)snapshots\/[^/]+\/([^/]+)\/[^/]+$/) ?? [];
  return { identity: {}, ...(snapshot && { snapshot }) };
}

/** The names of all instances of the emulator's home. What is no directory there is no instance. */
export async function instanceNames({ home }: Pick<Emulator, "home">): Promise<string[]> {
  try {
    const entries = await Array.fromAsync(Deno.readDir(home.instances));
    return entries.filter(({ isFile }) => !isFile).map(({ name }) => name).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
