/**
 * Lists, removes and verifies snapshots.
 *
 * @module
 */

import { walk } from "@std/fs/walk";
import { didYouMean } from "../base/closest.ts";
import { entriesIn } from "../base/entries.ts";
import { HotbootError, messageOf } from "../base/error.ts";
import {
  damagedSnapshot,
  difference,
  type Manifest,
  OtherFormat,
  readManifest,
  type SavedBy,
  UnusableSnapshot,
} from "../snapshot/manifest.ts";
import { recordDigests, removeSnapshot, type Snapshot, snapshotIds } from "../snapshot/store.ts";
import type { SealedManifest } from "../snapshot/archive.ts";
import { type Arch, resolveArch } from "../vm/arch.ts";
import { type Emulator, imageKey } from "../instance/emulator.ts";
import { sha256File } from "../base/hash.ts";
import { allCheckpoints, neededByUnreadable, requireChain, requireLayer } from "../instance/checkpoints.ts";
import { lockCheckpoints } from "../instance/locks.ts";
import { dropUnnamed } from "../instance/forks.ts";
import { removeOrphanedSpares, sparesOf } from "../instance/spares.ts";
import { dropUser, nameOfUser, type SnapshotUser, usersOfSnapshots } from "../instance/users.ts";
import { fileFault, judgeOf, type Verdict } from "./compatibility.ts";

/** A snapshot in the list. */
export interface SnapshotInfo {
  /** Its id; ids sort by time. */
  id: string;
  /** Whether it is a snapshot or a checkpoint. */
  kind: "snapshot" | "checkpoint";
  /** A checkpoint's name. */
  name?: string;
  /** The name of its profile. */
  profile: string;
  /** The guest's architecture. */
  arch: Arch;
  /** How it stores RAM; absent if its manifest cannot be read. */
  engine?: SavedBy;
  /** When it was captured, ISO 8601; absent if its manifest cannot be read. */
  created?: string;
  /** What its files take on disk, in bytes. */
  bytes: number;
  /** The sum of its files' sizes, in bytes: RAM that was never used takes no space. */
  apparentBytes: number;
  /** The snapshot or checkpoint that it is on top of. */
  base?: string;
  /** The instances that use it. */
  usedBy: SnapshotUser[];
  /** How many spares of it there are; absent where there are none. They go with it. */
  spares?: number;
  /**
   * Whether it can be resumed here. `unknown` if that cannot be judged: it is of another profile than the emulator's, or its
   * image or QEMU is missing. `damaged` if its manifest cannot be read; what is below it stays until it is removed.
   */
  state: "usable" | "unusable" | "unknown" | "damaged";
  /** The reason, unless it is usable: what differs, or what is damaged. */
  why?: string;
}

/**
 * Lists the emulator's snapshots, newest first: {@linkcode start} resumes the first. Its checkpoints follow. Builds, pulls and
 * changes nothing, and reads only some pages of large files.
 *
 * Needs read permission for the home, and write permission for its `cache`; run permission for QEMU, to ask for its version
 * and features, with env permission for `PATH` and `HOTBOOT_ACCEL` and read permission for the directories of `PATH`;
 * net permission for the sockets of instances; sys permission for `osUptime`.
 *
 * @param emulator The emulator, from {@linkcode openEmulator}.
 * @param options `all`: those of all profiles and architectures in the home.
 * @returns One entry each, with what is wrong with the snapshot. Empty if there is no home yet.
 * @throws The reason of the emulator's signal, if it aborts.
 *
 * @example
 * ```ts
 * import { listSnapshots, openEmulator } from "@hotboot/hotboot";
 *
 * for (const { id, state, why, bytes } of await listSnapshots(await openEmulator())) {
 *   console.log(id, why ?? state, bytes);
 * }
 * ```
 */
export async function listSnapshots(emulator: Emulator, options: { all?: boolean } = {}): Promise<SnapshotInfo[]> {
  const users = await usersOfSnapshots(emulator);
  const found: SnapshotInfo[] = [];
  for (const key of options.all ? await snapshotKeys(emulator) : [imageKey(emulator)]) {
    const [, profile, name] = key.match(/^(.+)-(.+)$/)!;
    const arch = resolveArch(name);
    const ids = (await snapshotIds(emulator.home.snapshots(key))).toReversed();
    const checkpoints = await savedIn(emulator, key);
    if (ids.length === 0 && checkpoints.length === 0) continue;
    const isOwn = profile === emulator.profile.name;
    const judge = isOwn ? await judgeOf({ ...emulator, arch }) : () => OTHER_PROFILE;
    const root = emulator.home.snapshots(key);
    const bases = (await sparesOf(emulator, key)).map(({ manifest }) => manifest.checkpoint.base);
    const snapshots = ids.map((id): Saved => ({ id, kind: "snapshot", directory: `${root}/${id}`, needs: [] }));
    for (const { directory, needs: [base], ...one } of [...snapshots, ...checkpoints.toReversed()]) {
      const described = await describe(directory, judge);
      const spares = bases.filter((base) => base === one.id).length;
      if (!described) continue;
      found.push({
        ...one,
        profile,
        arch,
        ...described,
        ...(base !== undefined && { base }),
        usedBy: users.get(one.id) ?? [],
        ...(spares > 0 && { spares }),
      });
    }
  }
  return found;
}

const OTHER_PROFILE: Verdict = { state: "unknown", why: "it belongs to another profile: add --profile" };

/** `undefined` if the snapshot was just removed. */
async function describe(directory: string, judge: (manifest: Manifest) => Verdict | Promise<Verdict>) {
  const sizes = await sizeOnDisk(directory);
  if (!sizes) return undefined;
  try {
    const manifest = await readManifest(directory);
    const { engine, created } = manifest;
    const fault = await fileFault(directory, manifest);
    return {
      engine,
      created,
      ...sizes,
      ...(fault ? { state: "unusable" as const, why: fault } : await judge(manifest)),
    };
  } catch (error) {
    const why = error instanceof UnusableSnapshot ? error.reason : messageOf(error);
    const isDamaged = error instanceof UnusableSnapshot && !(error instanceof OtherFormat);
    return { ...sizes, state: isDamaged ? "damaged" as const : "unusable" as const, why };
  }
}

/** A snapshot or a checkpoint as the commands that list and remove need it. */
interface Saved {
  id: string;
  kind: "snapshot" | "checkpoint";
  name?: string;
  directory: string;
  /** The ids of the snapshots and checkpoints that a checkpoint needs. */
  needs: string[];
}

/** All checkpoints of an image, the oldest first, also those whose manifests cannot be read. */
async function savedIn(emulator: Emulator, key = imageKey(emulator)): Promise<Saved[]> {
  const { readable, unreadable } = await allCheckpoints(emulator, key);
  const kind = "checkpoint";
  const saved = readable.map(({ directory, manifest: { id, checkpoint: { name, base } } }): Saved => {
    return { id, kind, ...(name && { name }), directory, needs: base === undefined ? [] : [base] };
  });
  for (const each of unreadable) saved.push({ ...each, kind, needs: await neededByUnreadable(emulator, key, each) });
  return saved.sort((one, other) => one.id < other.id ? -1 : 1);
}

/** The names of images that this home has, or had, snapshots or checkpoints of. */
export async function snapshotKeys({ home }: Emulator): Promise<string[]> {
  const places = await Promise.all(["snapshots", "checkpoints"].map((name) => entriesIn(`${home.root}/${name}`)));
  const keys = places.flat().filter(({ isDirectory, name }) => isDirectory && /.-(amd64|arm64)$/.test(name));
  return [...new Set(keys.map(({ name }) => name))].sort();
}

/** What a file, or everything below a directory, takes on disk, and the sum of the sizes; `undefined` if it is gone. */
export async function sizeOnDisk(path: string): Promise<{ bytes: number; apparentBytes: number } | undefined> {
  const found = await Deno.lstat(path).catch(() => undefined);
  if (!found) return undefined;
  const sum = { bytes: 0, apparentBytes: 0 };
  try {
    for await (const each of found.isDirectory ? walk(path) : [{ path }]) {
      const { blocks, size, isFile } = await Deno.lstat(each.path);
      sum.bytes += (blocks ?? Math.ceil(size / 512)) * 512;
      sum.apparentBytes += isFile ? size : 0;
    }
  } catch {
    // it is being removed, or unreadable: count what was seen
  }
  return sum;
}

/**
 * The snapshot that the user means.
 *
 * @param ids All ids, oldest first.
 * @param prefix The beginning of its id; the newest by default.
 * @param names What else the user can have meant.
 * @throws {HotbootError} if none begins like that, or several do.
 */
export function findId(ids: string[], prefix: string | undefined, profile: string, names: string[] = []): string {
  if (prefix === "") throw new HotbootError("the snapshot id is empty: type the beginning of an id");
  const found = prefix === undefined ? ids.slice(-1) : ids.filter((id) => id.startsWith(prefix));
  if (found.length === 1) return found[0];
  if (found.length > 1) {
    throw new HotbootError(
      `${found.length} snapshots of '${profile}' begin with '${prefix}' (${found.join(", ")}): type more of the id`,
    );
  }
  if (ids.length > 0) {
    const guess = didYouMean(prefix ?? "", [...names, ...ids]);
    throw new HotbootError(`'${profile}' has no snapshot '${prefix}'${guess}: 'hotboot snapshot ls' lists them`);
  }
  throw new HotbootError(`'${profile}' has no snapshot: 'hotboot start' or 'hotboot capture' makes one`);
}

/**
 * One of the emulator's snapshots or checkpoints, by the beginning of its id or by its name; the newest snapshot by default.
 *
 * @throws {HotbootError} if there is none, or several, or its manifest cannot be read.
 */
export async function findSnapshot(emulator: Emulator, prefix?: string): Promise<Snapshot> {
  const checkpoints = prefix === undefined ? [] : await savedIn(emulator);
  const root = emulator.home.snapshots(imageKey(emulator));
  const id = meant(await snapshotIds(root), checkpoints, prefix, emulator.profile.name);
  const directory = checkpoints.find((each) => each.id === id)?.directory ?? `${root}/${id}`;
  return { directory, manifest: await readManifest(directory) };
}

/** The same with digests of all its files, for which all of it is read if nobody has done so. */
export async function findSealed(
  emulator: Emulator,
  prefix?: string,
): Promise<{ directory: string; manifest: SealedManifest }> {
  const found = await findSnapshot(emulator, prefix);
  if (Object.values(found.manifest.files).some(({ sha256 }) => sha256 === undefined)) {
    await verifySnapshot(emulator, found.manifest.id);
    found.manifest = await readManifest(found.directory);
  }
  return found as { directory: string; manifest: SealedManifest };
}

/** What to remove: some, by the names of checkpoints or the beginnings of ids, or all of the emulator's snapshots. */
export type RemoveOptions = { ids: string[] } | { all: true };

/**
 * Removes snapshots of the emulator: all that are named, or none if one of them cannot be removed.
 *
 * Needs read and write permission for the home; net permission for the sockets of instances.
 *
 * @param emulator The emulator, from {@linkcode openEmulator}.
 * @param options Which snapshots.
 * @returns Their ids, and the space that this freed, in bytes.
 * @throws {HotbootError} if there is no such snapshot, several ids begin like that, or an instance uses it.
 *
 * @example
 * ```ts
 * import { openEmulator, removeSnapshots } from "@hotboot/hotboot";
 *
 * const { removed, bytes } = await removeSnapshots(await openEmulator(), { all: true });
 * console.log(removed.length, bytes);
 * ```
 */
export async function removeSnapshots(
  emulator: Emulator,
  options: RemoveOptions,
): Promise<{ removed: string[]; bytes: number }> {
  const root = emulator.home.snapshots(imageKey(emulator));
  const ids = await snapshotIds(root);
  const checkpoints = await savedIn(emulator);
  const chosen = "all" in options
    ? ids
    : options.ids.map((text) => meant(ids, checkpoints, text, emulator.profile.name));
  const directories = new Map(chosen.map((id) => [id, `${root}/${id}`]));
  for (const { directory, id } of checkpoints) if (directories.has(id)) directories.set(id, directory);
  const bytes = await removeUnused(emulator, directories, checkpoints, chosen);
  for (const { id, needs } of checkpoints) {
    if (!directories.has(id)) continue;
    for (const below of needs) await dropUnnamed(emulator, below);
  }
  await removeOrphanedSpares(emulator);
  return { removed: [...directories.keys()], bytes };
}

/** Removes them unless one is used. Nobody makes a checkpoint meanwhile, which would use them. @returns How many bytes are free. */
async function removeUnused(
  emulator: Emulator,
  directories: Map<string, string>,
  checkpoints: Saved[],
  chosen: string[],
): Promise<number> {
  using _names = await lockCheckpoints(emulator);
  const users = await usersOfSnapshots(emulator);
  const names = new Set(chosen.map((id) => nameOf(checkpoints, id)));
  for (const id of directories.keys()) {
    const user = users.get(id)?.find((user) => !("checkpoint" in user && names.has(user.checkpoint)));
    if (!user) continue;
    const what = names.has(id) ? `snapshot ${id}` : `checkpoint '${nameOf(checkpoints, id)}'`;
    throw new HotbootError(`${what} stays: ${nameOfUser(user)} uses it; ${dropUser(user)} drops that`);
  }
  let bytes = 0;
  for (const directory of directories.values()) {
    bytes += (await sizeOnDisk(directory))?.bytes ?? 0;
    await removeSnapshot(directory);
  }
  return bytes;
}

/** The id of what is meant: a checkpoint by its name, or what has an id that begins so. */
function meant(ids: string[], checkpoints: Saved[], text: string | undefined, profile: string): string {
  const named = text === undefined ? undefined : checkpoints.find(({ name }) => name === text);
  const names = checkpoints.flatMap(({ name }) => name ?? []);
  return named?.id ?? findId([...ids, ...checkpoints.map(({ id }) => id)], text, profile, names);
}

function nameOf(checkpoints: Saved[], id: string): string {
  return checkpoints.find((each) => each.id === id)?.name ?? id;
}

/** The result of verifying a sound snapshot. */
export interface VerifyResult {
  /** The snapshot's id. */
  snapshot: string;
  /** Its files: their sizes in bytes, and SHA-256 in hex. */
  files: Record<string, { size: number; sha256: string }>;
  /**
   * True if there were no digests of all files to compare with: their sizes and samples are right, and their digests are now
   * stored for the next time.
   */
  recorded: boolean;
}

/**
 * Reads all of a snapshot, and compares it with the capture: the manifest, the sizes, the sampled pages, and each file's
 * SHA-256.
 *
 * Needs read permission for the home; write permission too, the first time; sys permission for `osUptime`.
 *
 * @param emulator The emulator, from {@linkcode openEmulator}.
 * @param prefix The beginning of its id; the newest by default.
 * @returns What it found, for a sound snapshot.
 * @throws {HotbootError} if there is no such snapshot, or with the first fault.
 * @throws The reason of the emulator's signal, if it aborts.
 *
 * @example
 * ```ts
 * import { openEmulator, verifySnapshot } from "@hotboot/hotboot";
 *
 * const { snapshot, files } = await verifySnapshot(await openEmulator());
 * console.log(snapshot, Object.keys(files));
 * ```
 */
export async function verifySnapshot(emulator: Emulator, prefix?: string): Promise<VerifyResult> {
  const { report, signal } = emulator;
  const { directory, manifest } = await findSnapshot(emulator, prefix);
  // The machine of the capture does not matter here, only whether the host went down too early.
  const fault = difference({ ...manifest, identity: {} }, {}) ?? await fileFault(directory, manifest);
  if (fault) throw damagedSnapshot(manifest, fault);
  await requireLayer(emulator, { directory, manifest });
  if (manifest.checkpoint) await requireChain({ directory, manifest });

  const entries = Object.entries(manifest.files);
  const total = entries.reduce((sum, [, { size }]) => sum + size, 0);
  let done = 0;
  const digests: Record<string, string> = {};
  for (const [name, { sha256 }] of entries) {
    digests[name] = await sha256File(`${directory}/${name}`, signal, (count) => {
      report.progress(`verify ${manifest.id}`, done += count, total);
    });
    if (sha256 !== undefined && sha256 !== digests[name]) {
      throw damagedSnapshot(manifest, `its file '${name}' differs from what was captured`);
    }
  }
  const recorded = entries.some(([, { sha256 }]) => sha256 === undefined);
  if (recorded) {
    using _names = manifest.checkpoint && await lockCheckpoints(emulator); // it may be getting another name
    await recordDigests(directory, digests);
  }
  const files = Object.fromEntries(entries.map(([name, { size }]) => [name, { size, sha256: digests[name] }]));
  return { snapshot: manifest.id, files, recorded };
}
