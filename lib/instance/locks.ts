/** Locks between commands. They are file locks, so they end with the process that holds them, however it ends. */

import { HostError, HotbootError, messageOf } from "../base/error.ts";
import { sleep } from "../base/wait.ts";
import { makerName } from "./channels.ts";
import { type Emulator, imageKey, type InstancePlace } from "./emulator.ts";
import { type Home, privateDirectory, requireNoLinks } from "./home.ts";

/** The longest time to take a free lock, where the runtime can only wait for it. */
const LOCKING_MS = 100;
const LOOK_MS = 100;

/** Locks out other operations on this instance until disposed of. */
export function lockInstance(emulator: Emulator): Promise<Disposable> {
  const { home, instance, report, signal } = emulator;
  const onWait = () => report.step(`waiting for another hotboot that works on instance '${instance}'`);
  return lock(home, instanceLock(instance), onWait, signal);
}

/** Whether another operation works on this instance. */
export function isInstanceLocked({ home, instance }: Emulator): Promise<boolean> {
  return isLocked(home, instanceLock(instance));
}

/** Locks out other operations on this instance without waiting; `undefined` if one works on it. */
export function tryLockInstance({ home, instance }: InstancePlace): Promise<Disposable | undefined> {
  return tryLock(home, instanceLock(instance));
}

/** Keeps others from making a snapshot of this emulator until disposed of. */
export function lockSnapshots(emulator: Emulator): Promise<Disposable> {
  const { home, profile, report, signal } = emulator;
  const onWait = () => report.step(`waiting for another hotboot that makes a snapshot of '${profile.name}'`);
  return lock(home, snapshotsLock(imageKey(emulator)), onWait, signal);
}

/** Keeps others from making spares of this emulator until disposed of. It is the lock of the instance that makes them. */
export function lockSpares(emulator: Emulator): Promise<Disposable> {
  const { home, profile, report, signal } = emulator;
  const onWait = () => report.step(`waiting for another hotboot that makes spares of '${profile.name}'`);
  return lock(home, instanceLock(makerName(emulator)), onWait, signal);
}

/** The same without waiting; `undefined` if another hotboot makes some. */
export function tryLockSpares(emulator: Emulator): Promise<Disposable | undefined> {
  return tryLock(emulator.home, instanceLock(makerName(emulator)));
}

/** Whether another hotboot makes spares of this emulator. */
export function areSparesLocked(emulator: Emulator): Promise<boolean> {
  return isLocked(emulator.home, instanceLock(makerName(emulator)));
}

/** Keeps others from adding, renaming or removing shared disks until disposed of. It is held for moments only. */
export function lockLayers({ home }: Pick<Emulator, "home">): Promise<Disposable> {
  return lock(home, "layers", () => {}, new AbortController().signal);
}

/** Keeps others from saving a checkpoint of this emulator until disposed of. */
export function lockCheckpoints(emulator: Emulator): Promise<Disposable> {
  const { home, profile, report, signal } = emulator;
  const onWait = () => report.step(`waiting for another hotboot that saves a checkpoint of '${profile.name}'`);
  return lock(home, checkpointsLock(imageKey(emulator)), onWait, signal);
}

/** Keeps others from putting an image of this emulator in place until disposed of. */
export function lockImage(emulator: Emulator): Promise<Disposable> {
  const { home, profile, report, signal } = emulator;
  const onWait = () => report.step(`waiting for another hotboot that works on the image of '${profile.name}'`);
  return lock(home, imageLock(imageKey(emulator)), onWait, signal);
}

/** The name of the lock for making snapshots of this image. */
export function snapshotsLock(key: string): string {
  return `snapshots-${key}`;
}

/** The name of the lock for making and naming checkpoints of this image. */
export function checkpointsLock(key: string): string {
  return `checkpoints-${key}`;
}

/** The name of the lock for putting an image of this name in place. */
export function imageLock(key: string): string {
  return `image-${key}`;
}

/** Marks the instance as used by a command until disposed of; several commands can do so at once. */
export async function shareRun({ home, instance, report, signal }: Emulator): Promise<Disposable> {
  const onWait = () => report.step(`waiting for another hotboot that suspends instance '${instance}'`);
  return await lock(home, runLock(instance), onWait, signal, { shared: true });
}

/** Ends the use if no other command uses it; `undefined` otherwise. */
export function tryEndRun({ home, instance }: Emulator): Promise<Disposable | undefined> {
  return tryLock(home, runLock(instance));
}

/** Removes the files of an instance's locks: of one whose name nobody will use again. */
export async function forgetLocks({ home, instance }: Pick<Emulator, "home" | "instance">): Promise<void> {
  for (const name of [instanceLock(instance), runLock(instance)]) {
    await Deno.remove(lockPath(home, name)).catch(() => {});
  }
}

/**
 * Holds a lock of a name that nobody else uses, until it is disposed of or the program ends. Others see the file only once it
 * is locked. A program that is killed leaves it, unlocked.
 */
export async function holdNamed(home: Home, name: string): Promise<Disposable> {
  const unseen = `.${name}`;
  const held = await tryLock(home, unseen);
  if (!held) throw new HotbootError(`${lockPath(home, unseen)} is locked by another program: end that, and try again`);
  await Deno.rename(lockPath(home, unseen), lockPath(home, name));
  return withFile(home, name, held);
}

/** Takes over the lock of a program that was killed; `undefined` if somebody holds it. */
export async function takeOver(home: Home, name: string): Promise<Disposable | undefined> {
  const held = await tryLock(home, name);
  return held && withFile(home, name, held);
}

/** The lock, and its file: both go when it is disposed of. */
function withFile(home: Home, name: string, held: Disposable): Disposable {
  return {
    [Symbol.dispose]() {
      try {
        Deno.removeSync(lockPath(home, name));
      } catch {
        // somebody has tidied up
      } finally {
        held[Symbol.dispose]();
      }
    },
  };
}

function runLock(instance: string): string {
  return `run-${instance}`;
}

function instanceLock(instance: string): string {
  return `instance-${instance}`;
}

/** Whether another program holds the lock called `name`. Writes nothing. */
export async function isLocked(home: Home, name: string): Promise<boolean> {
  try {
    using held = await holdNow(await Deno.open(lockPath(home, name)), true);
    held?.unlockSync(); // closing it takes Deno 2.6 a while, and who asks may lock it next
    return held === undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/**
 * Holds the lock called `name` until it is disposed of or the program ends.
 *
 * @param onWait Called once if another program holds the lock, before waiting.
 */
export async function lock(
  home: Home,
  name: string,
  onWait: () => void,
  signal?: AbortSignal,
  options: { shared?: boolean } = {},
): Promise<Disposable> {
  for (let waited = false;; waited = true) {
    const held = await tryLock(home, name, options);
    if (held) return held;
    if (!waited) onWait();
    await sleep(LOOK_MS, signal);
  }
}

/** The same without waiting; `undefined` if another program holds it. */
export async function tryLock(
  home: Home,
  name: string,
  { shared = false }: { shared?: boolean } = {},
): Promise<Disposable | undefined> {
  await privateDirectory(`${home.root}/locks`);
  await requireNoLinks(lockPath(home, name));
  const file = await Deno.open(lockPath(home, name), { create: true, write: true, mode: 0o600 }).catch((error) => {
    if (error instanceof Deno.errors.NotCapable) throw error;
    throw new HostError(
      `hotboot's home ${home.root} cannot be written (${messageOf(error)})`,
      "make it writable, or name another directory with --home",
    );
  });
  return await holdNow(file, !shared);
}

function lockPath(home: Home, name: string): string {
  return `${home.root}/locks/${name}`;
}

/** @throws {HostError} if the file system of this file of the caller's own has no locks. */
export async function requireLocks(path: string): Promise<void> {
  using _held = await holdNow(await Deno.open(path, { write: true }), true);
}

/** The file with its lock held. If another program holds the lock, closes the file and returns `undefined`. */
async function holdNow(file: Deno.FsFile, isExclusive: boolean): Promise<Deno.FsFile | undefined> {
  try {
    if (typeof file.tryLock !== "function") return await holdSoon(file, isExclusive);
    if (await file.tryLock(isExclusive)) return file;
    file.close();
  } catch (error) {
    file.close();
    throw new HostError(
      `the file system of hotboot's home does not support file locks (${messageOf(error)})`,
      "name a directory on another disk with --home",
    );
  }
}

/** The same in Deno 2.6, which can only wait. */
async function holdSoon(file: Deno.FsFile, isExclusive: boolean): Promise<Deno.FsFile | undefined> {
  let isWanted = true;
  const locking = file.lock(isExclusive).then(() => {
    if (isWanted) return file;
    file.close();
  });
  const held = await Promise.race([locking, sleep(LOCKING_MS)]);
  isWanted = held !== undefined;
  return held ?? undefined;
}
