/** Dropping what programs have left that owned instances and died. */

import { messageOf } from "../base/error.ts";
import { type Emulator, withInstance } from "../instance/emulator.ts";
import { forgetLocks, isInstanceLocked, tryLockInstance } from "../instance/locks.ts";
import { isOrphan, takeOrphan } from "../instance/owners.ts";
import { isUnfinished, readRecord } from "../instance/record.ts";
import { instanceNames } from "../instance/users.ts";
import { reset, resetLocked } from "./stop.ts";

/** Drops the instances of the emulator's profile whose owners have died, with all that they have written, and those that never were. */
export async function reap(emulator: Emulator): Promise<void> {
  for (const instance of await unfinished(emulator)) await dropUnfinished(await withInstance(emulator, instance));
  for (const instance of await orphans(emulator)) {
    if (!await dropOrphan(emulator, instance)) continue;
    emulator.report.step(`dropped instance '${instance}', which a program that died had left`);
  }
}

/** Their names. */
export async function orphans(emulator: Emulator): Promise<string[]> {
  const found: string[] = [];
  for (const instance of await instanceNames(emulator)) {
    const place = { ...emulator, instance };
    if (await isOrphan(place) && !await isOfAnother(place)) found.push(instance);
  }
  return found;
}

/** Drops one of them. False if it could not be dropped, which is reported, or if somebody else drops it. */
export async function dropOrphan(emulator: Emulator, instance: string): Promise<boolean> {
  const orphan = await withInstance(emulator, instance);
  using taken = await takeOrphan(orphan);
  if (!taken) return false;
  try {
    await reset(orphan);
    await forgetLocks(orphan);
    return true;
  } catch (error) {
    emulator.signal.throwIfAborted();
    emulator.report.warn(
      `instance '${instance}', which a program that died had left, stays: ${
        messageOf(error)
      }; 'hotboot reset --instance ${instance}' drops it`,
    );
    return false;
  }
}

/** The names of the profile's instances that a command has begun to make and, as it was killed, will never finish. */
export async function unfinished(emulator: Emulator): Promise<string[]> {
  const found: string[] = [];
  for (const instance of await instanceNames(emulator)) {
    const place = { ...emulator, instance };
    if (!isUnfinished(await readRecord(place)) || await isInstanceLocked(place) || await isOfAnother(place)) continue;
    found.push(instance);
  }
  return found;
}

/** Drops the instance if it is one of them, with the QEMU that may run for it. False if it is none, or somebody works on it. */
export async function dropUnfinished(emulator: Emulator): Promise<boolean> {
  if (!isUnfinished(await readRecord(emulator))) return false;
  using lock = await tryLockInstance(emulator);
  if (!lock || !isUnfinished(await readRecord(emulator))) return false;
  await resetLocked(emulator);
  return true;
}

async function isOfAnother(emulator: Emulator): Promise<boolean> {
  const record = await readRecord(emulator);
  return record !== undefined && "profile" in record && record.profile !== emulator.profile.name;
}
