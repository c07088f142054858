/** The snapshots of one image on disk: prepares, commits and finds them. */

import { bootTime } from "../base/boot_time.ts";
import { removeIfThere, syncDirectory, syncFile } from "../base/files.ts";
import { move } from "@std/fs/move";
import { fingerprint } from "./fingerprint.ts";
import { describeFiles, FORMAT, type Manifest, readManifest, SNAPSHOT_FILES, writeManifest } from "./manifest.ts";

/** A snapshot in its directory. */
export interface Snapshot {
  /** Its directory's absolute path. */
  directory: string;
  /** Its description. */
  manifest: Manifest;
}

/** The time of the capture, and a suffix that tells it from others of the same second. */
const ID = /^\d{8}T\d{6}Z-[0-9a-f]{4}$/;
/** The prefix of a directory that will become a snapshot. */
export const TEMPORARY_PREFIX = ".tmp-";

/** The newest snapshot below `directory`, or `undefined`; ids sort by time. */
export async function newestSnapshot(directory: string): Promise<Snapshot | undefined> {
  const [newest] = (await snapshotIds(directory)).toReversed();
  if (newest === undefined) return undefined;
  const path = `${directory}/${newest}`;
  return { directory: path, manifest: await readManifest(path) };
}

/** The ids of all snapshots below `directory`, oldest first. */
export async function snapshotIds(directory: string): Promise<string[]> {
  const ids: string[] = [];
  try {
    for await (const entry of Deno.readDir(directory)) {
      if (entry.isDirectory && ID.test(entry.name)) ids.push(entry.name);
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return ids.sort();
}

/** An empty directory for a new snapshot; with a sparse file for `ramBytes` of RAM, if the engine uses one. */
export async function prepareSnapshot(directory: string, ramBytes?: number): Promise<string> {
  await Deno.mkdir(directory, { recursive: true, mode: 0o700 });
  const path = `${directory}/${TEMPORARY_PREFIX}${crypto.randomUUID()}`;
  await Deno.mkdir(path, { mode: 0o700 });
  if (ramBytes === undefined) return path;
  // Created here, because QEMU would let other users read it.
  const ram = await Deno.open(`${path}/${SNAPSHOT_FILES.ram}`, { write: true, createNew: true, mode: 0o600 });
  await ram.truncate(ramBytes);
  ram.close();
  return path;
}

/** What its maker knows of a new snapshot. */
export type Captured = Pick<Manifest, "engine" | "identity" | "guest" | "cache" | "checkpoint">;

/**
 * Puts a prepared directory in place as the newest snapshot. Nothing may write to its files any more.
 *
 * @param options `sync`: flush it to the disk first. After a power cut, there is all of it, or none.
 */
export async function commitSnapshot(
  prepared: string,
  captured: Captured,
  { sync = false }: { sync?: boolean } = {},
): Promise<Snapshot> {
  const created = new Date();
  const root = prepared.replace(/[^/]+$/, "");
  const id = await nextId(root, created);
  const manifest: Manifest = {
    format: FORMAT,
    id,
    created: created.toISOString(),
    ...captured,
    files: await describeFiles(prepared, captured.engine),
    ...(!sync && { unsyncedSinceBoot: bootTime() }),
  };
  if (sync) await syncFiles(prepared, manifest);
  await writeManifest(prepared, manifest, { sync });
  const directory = root + id;
  await move(prepared, directory);
  if (sync) await syncDirectory(root);
  return { directory, manifest };
}

/**
 * Puts a directory with the files of an imported snapshot in place as the newest one. It keeps its id if that makes it the
 * newest and is not in the future; otherwise it gets a new one.
 *
 * @param manifest Its own manifest; the files may have changed since, but not their names.
 * @param taken For a checkpoint, which need not be the newest: the ids that it must not have either.
 */
export async function adoptSnapshot(prepared: string, manifest: Manifest, taken?: string[]): Promise<Snapshot> {
  const { unsyncedSinceBoot: _, ...rest } = manifest;
  const root = prepared.replace(/[^/]+$/, "");
  const now = new Date();
  const ids = await snapshotIds(root);
  const isFree = taken ? ![...ids, ...taken].includes(rest.id) : ids.length === 0 || rest.id > ids.at(-1)!;
  const keepsId = ID.test(rest.id) && isFree && timeOf(rest.id) <= now.getTime();
  const adopted: Manifest = { ...rest, id: keepsId ? rest.id : await nextId(root, now), files: {} };
  for (const [name, { sha256 }] of Object.entries(rest.files)) {
    adopted.files[name] = { ...await fingerprint(`${prepared}/${name}`), sha256 };
  }
  await syncFiles(prepared, adopted);
  await writeManifest(prepared, adopted, { sync: true });
  const directory = root + adopted.id;
  await move(prepared, directory);
  await syncDirectory(root);
  return { directory, manifest: adopted };
}

/** A new id that sorts after all others, even if the host's clock has gone back. */
async function nextId(directory: string, now: Date): Promise<string> {
  const newest = (await snapshotIds(directory)).at(-1);
  const time = Math.max(now.getTime(), newest ? timeOf(newest) + 1000 : 0);
  return `${new Date(time).toISOString().replaceAll(/[-:]|\.\d+/g, "")}-${crypto.randomUUID().slice(0, 4)}`;
}

/** The time in an id, milliseconds since 1970. */
function timeOf(id: string): number {
  return Date.parse(id.replace(/^(....)(..)(..T..)(..)(..Z).*/, "$1-$2-$3:$4:$5"));
}

/** Flushes a snapshot's files to disk; from then on it is trusted even after a crash of the host. */
export async function syncSnapshot(snapshot: Snapshot): Promise<void> {
  const { unsyncedSinceBoot, ...manifest } = snapshot.manifest;
  if (unsyncedSinceBoot === undefined) return;
  await syncFiles(snapshot.directory, manifest);
  await writeManifest(snapshot.directory, manifest, { sync: true });
  await syncDirectory(snapshot.directory.replace(/[^/]+$/, ""));
  snapshot.manifest = manifest;
}

async function syncFiles(directory: string, { files }: Manifest): Promise<void> {
  for (const name of Object.keys(files)) await syncFile(`${directory}/${name}`);
}

/** Removes a snapshot: its manifest first, so that a half-removed one does not count. A missing one is not an error. */
export async function removeSnapshot(directory: string): Promise<void> {
  await Deno.remove(`${directory}/manifest.json`).catch(() => {});
  await removeIfThere(directory);
}

/** Adds the digests of a snapshot's whole files to its current manifest. */
export async function recordDigests(directory: string, digests: Record<string, string>): Promise<Manifest> {
  const manifest = await readManifest(directory);
  for (const [name, sha256] of Object.entries(digests)) manifest.files[name].sha256 = sha256;
  await writeManifest(directory, manifest);
  return manifest;
}
