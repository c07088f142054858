/** Which instances use which snapshots and images: they are below the instances' disks, and running ones use the RAM, too. */

import { entriesIn } from "../base/entries.ts";
import { HotbootError } from "../base/error.ts";
import type { Identity } from "../snapshot/manifest.ts";
import { allCheckpoints, idOfDisk, neededByUnreadable } from "./checkpoints.ts";
import { type Emulator, imageKey, withInstance } from "./emulator.ts";
import { IMAGE_DISK } from "./identity.ts";
import { disksUnderInstance } from "./layers.ts";
import type { InstanceRecord } from "./record.ts";
import { type StateName, stateOf } from "./state.ts";

/** An instance that uses a snapshot, or a checkpoint of one: their disks are on top of the snapshot's. */
export type SnapshotUser =
  | {
    /** The instance's name. */
    instance: string;
    /** Its state. */
    state: StateName;
  }
  | {
    /** The checkpoint's name, or its id. */
    checkpoint: string;
    /** `unreadable` if its manifest is: then it may use all that is below its disk. */
    state: "saved" | "unreadable";
  };

/** Its name in messages. */
export function nameOfUser(user: SnapshotUser): string {
  if (!("checkpoint" in user)) return `instance '${user.instance}' (${user.state})`;
  return `checkpoint '${user.checkpoint}'${user.state === "saved" ? "" : ", whose manifest cannot be read,"}`;
}

/** The command that drops it. */
export function dropUser(user: SnapshotUser): string {
  return "checkpoint" in user
    ? `'hotboot snapshot rm ${user.checkpoint}'`
    : `'hotboot reset --instance ${user.instance}'`;
}

/** What an instance's files depend on. */
interface Dependency {
  snapshots: string[];
  identity: Identity;
  /** The name of the image below it, if nothing else is known of that. */
  image?: string;
}

/** The instances of this home that use a snapshot, by the snapshot's id. */
export async function usersOfSnapshots(emulator: Emulator): Promise<Map<string, SnapshotUser[]>> {
  const users = new Map<string, SnapshotUser[]>();
  for (const { user, on: { snapshots } } of [...await dependencies(emulator), ...await ofCheckpoints(emulator)]) {
    for (const id of snapshots) users.set(id, [...users.get(id) ?? [], user]);
  }
  return users;
}

/** @throws {HotbootError} if an instance uses the image with this disk, and so would lose its own disk. */
export async function requireUnused(emulator: Emulator, diskDigest: string | undefined): Promise<void> {
  if (diskDigest === undefined) return;
  // Nobody knows what a damaged one uses.
  const uses = ({ user, on }: { user: SnapshotUser; on: Dependency }) =>
    on.identity[IMAGE_DISK] === diskDigest || user.state === "damaged" || on.image === imageKey(emulator);
  const all = [...await dependencies(emulator), ...await ofCheckpoints(emulator)];
  const { user } = all.find(uses) ?? {};
  if (!user) return;
  if ("checkpoint" in user) {
    throw new HotbootError(
      `checkpoint '${user.checkpoint}' uses the present image, which another would replace: remove it first (${
        dropUser(user)
      })`,
    );
  }
  const { instance, state } = user;
  throw new HotbootError(
    `instance '${instance}' is ${state} and uses the current image, which this would replace: drop it first ('hotboot stop --discard${
      instance === emulator.instance ? "" : ` --instance ${instance}`
    }')`,
  );
}

/** Of all checkpoints of this home. */
async function ofCheckpoints(emulator: Emulator): Promise<{ user: SnapshotUser; on: Dependency }[]> {
  const found: { user: SnapshotUser; on: Dependency }[] = [];
  for (const key of await directoryNames(`${emulator.home.root}/checkpoints`)) {
    const { readable, unreadable } = await allCheckpoints(emulator, key);
    for (const { manifest: { id, identity, checkpoint: { name, base } } } of readable) {
      const snapshots = base === undefined ? [] : [base];
      found.push({ user: { checkpoint: name ?? id, state: "saved" }, on: { identity, snapshots } });
    }
    for (const each of unreadable) {
      const snapshots = await neededByUnreadable(emulator, key, each);
      found.push({ user: { checkpoint: each.id, state: "unreadable" }, on: { identity: {}, snapshots, image: key } });
    }
  }
  return found;
}

/** All instances of this home that depend on anything. Leftovers of a crashed start do not. */
async function dependencies(emulator: Emulator): Promise<{ user: SnapshotUser; on: Dependency }[]> {
  const found: { user: SnapshotUser; on: Dependency }[] = [];
  for (const instance of await instanceNames(emulator)) {
    const one = await withInstance(emulator, instance);
    await using state = await stateOf(one);
    const record = "record" in state ? state.record : undefined;
    const on = record ? dependencyOf(record) : state.kind === "stopped" ? undefined : await dependencyOfDisk(one);
    if (on) found.push({ user: { instance, state: state.kind }, on });
  }
  return found;
}

/** What the disk itself names below it, if the record is damaged. */
async function dependencyOfDisk(emulator: Emulator): Promise<Dependency | undefined> {
  const below = await disksUnderInstance(emulator);
  if (below.length === 0) return undefined;
  return { identity: {}, snapshots: below.flatMap((path) => idOfDisk(path) ?? []).slice(0, 1) };
}

function dependencyOf({ snapshot, identity }: InstanceRecord): Dependency {
  return { identity, snapshots: snapshot === undefined ? [] : [snapshot] };
}

/** The names of all instances of the emulator's home. Ignores files there. */
export async function instanceNames({ home }: Pick<Emulator, "home">): Promise<string[]> {
  return (await directoryNames(home.instances)).filter((name) => !name.startsWith("."));
}

async function directoryNames(path: string): Promise<string[]> {
  return (await entriesIn(path)).filter(({ isFile }) => !isFile).map(({ name }) => name);
}
