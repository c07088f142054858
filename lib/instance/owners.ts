/**
 * Instances that belong to a program, such as a test run, and go with it.
 *
 * The program holds a lock as long as it lives, and each of its instances names that lock in its directory. An instance
 * whose lock nobody holds was left by a program that died. An instance that names none belongs to the user.
 */

import { entriesIn } from "../base/entries.ts";
import { removeIfThere, writeJson } from "../base/files.ts";
import { instancePath } from "./channels.ts";
import type { InstancePlace } from "./emulator.ts";
import { type Home, ownDirectory } from "./home.ts";
import { holdNamed, isLocked, takeOver } from "./locks.ts";

/** A program that has instances of its own, until it is disposed of. Its instances are to be dropped before. */
export interface Owner extends Disposable {
  /** The name of its lock. */
  readonly name: string;
}

/** The names of this program's own. */
const ours = new Set<string>();

/** Makes this program, or a part of it, an owner of instances in this home. */
export async function becomeOwner(home: Home): Promise<Owner> {
  const name = `owner-${crypto.randomUUID()}`;
  const held = await holdNamed(home, name);
  ours.add(name);
  return {
    name,
    [Symbol.dispose]() {
      ours.delete(name);
      held[Symbol.dispose]();
    },
  };
}

/** Writes down whose instance this is, before there is anything else of it. */
export async function giveTo({ name }: Owner, place: InstancePlace): Promise<void> {
  await ownDirectory(place.home.instance(place.instance));
  await writeJson(instancePath(place, "owner"), { owner: name }, { flush: true });
}

/** Makes it the user's. */
export async function giveToUser(place: InstancePlace): Promise<void> {
  await removeIfThere(instancePath(place, "owner"));
}

/** Makes it the user's if its owner has died: somebody uses it by its name. */
export async function adoptOrphan(place: InstancePlace): Promise<void> {
  using orphan = await takeOrphan(place);
  if (orphan) await giveToUser(place);
}

/** Whether its owner has died. */
export async function isOrphan(place: InstancePlace): Promise<boolean> {
  const name = await ownerOf(place);
  return name !== undefined && !ours.has(name) && !await isLocked(place.home, name);
}

/** Takes an orphan over, so that nobody else does: until disposed of. `undefined`: it is none, or somebody else has it. */
export async function takeOrphan(place: InstancePlace): Promise<Disposable | undefined> {
  const name = await ownerOf(place);
  if (name === undefined || ours.has(name)) return undefined;
  const held = await takeOver(place.home, name);
  if (held && await ownerOf(place) === name) return held; // the owner may have dropped it meanwhile
  held?.[Symbol.dispose]();
  return undefined;
}

/** The names of the locks of owners that have died, and have left none of these instances. */
export async function deadOwners(home: Home, instances: string[]): Promise<string[]> {
  const dead: string[] = [];
  const named = await Promise.all(instances.map((instance) => ownerOf({ home, instance })));
  for (const { name } of await entriesIn(`${home.root}/locks`)) {
    if (OWNER.test(name) && !ours.has(name) && !named.includes(name) && !await isLocked(home, name)) dead.push(name);
  }
  return dead;
}

/** The name of an owner's lock. */
const OWNER = /^owner-[0-9a-f-]{36}$/;

async function ownerOf(place: InstancePlace): Promise<string | undefined> {
  const { owner } = Object(
    await Deno.readTextFile(instancePath(place, "owner")).then(JSON.parse).catch(() => undefined),
  );
  return typeof owner === "string" && OWNER.test(owner) ? owner : undefined;
}
