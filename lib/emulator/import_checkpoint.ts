/** Takes a checkpoint that another home exported: its disks become layers here, and its memory is whole again. */

import { exists } from "@std/fs/exists";
import { syncFile } from "../base/files.ts";
import { HotbootError } from "../base/error.ts";
import { sha256File, sha256Of } from "../base/hash.ts";
import { readFull } from "../base/io.ts";
import { imagePath, readImage } from "../image/image.ts";
import { chainOf, checkpointsOf, CREDENTIALS, idOfDisk, requireNewName } from "../instance/checkpoints.ts";
import { type Emulator, imageKey } from "../instance/emulator.ts";
import { privateDirectory } from "../instance/home.ts";
import { IMAGE_DISK } from "../instance/identity.ts";
import { adoptLayers, disksUnder, layerDisk, layerName, removeUnusedLayers } from "../instance/layers.ts";
import { lockCheckpoints } from "../instance/locks.ts";
import { isPublished } from "../profile/profile.ts";
import { requireFreeSpace } from "../release/free_space.ts";
import { type Expected, OpenFiles, type SealedManifest, unpackFiles } from "../snapshot/archive.ts";
import { type Cargo, CARGO_FILES, cargoDisk, type Since } from "../snapshot/cargo.ts";
import { fingerprint } from "../snapshot/fingerprint.ts";
import { type Checkpoint, readManifest, SNAPSHOT_FILES } from "../snapshot/manifest.ts";
import { mergePages, requireMap } from "../snapshot/page_changes.ts";
import { PAGE } from "../snapshot/ram_file.ts";
import { adoptSnapshot, prepareSnapshot, type Snapshot, snapshotIds } from "../snapshot/store.ts";
import { type TarReader, unsound } from "../snapshot/tar.ts";
import { portableOverlay, readQcow2Header } from "../vm/qcow2.ts";
import { findSealed } from "./snapshots.ts";

/** What importing a checkpoint gave. */
interface ImportedCheckpoint {
  snapshot: string;
  exported: string;
  name?: string;
  wasThere?: true;
}

/**
 * Imports the rest of an archive whose manifest has been read and judged.
 *
 * @param wanted What to call it, if not as it was called.
 */
export async function importCheckpoint(
  emulator: Emulator,
  tar: TarReader,
  manifest: SealedManifest,
  wanted?: string,
): Promise<ImportedCheckpoint> {
  const { home } = emulator;
  const { archive, checkpoint } = manifest as { archive: Cargo; checkpoint: Checkpoint };
  const base = archive.since && await findBase(emulator, archive.since); // may write its digests, under the same lock
  using _names = await lockCheckpoints(emulator);
  const origin = checkpoint.origin ?? manifest.id;
  const there = await findSame(emulator, manifest, origin);
  if (there) {
    const { id, checkpoint: { name } } = there;
    return { snapshot: id, exported: manifest.id, ...(name !== undefined && { name }), wasThere: true };
  }
  const name = wanted ?? checkpoint.name;
  if (name === undefined) throw new HotbootError("it has no name: type --name NEW to give it one");
  await requireNewName(emulator, name, "type --name NEW to import this one under another");

  using files = new OpenFiles();
  const baseRam = base && await files.open(`${base.directory}/${SNAPSHOT_FILES.ram}`);
  const prepared = await prepareSnapshot(home.checkpoints(imageKey(emulator)));
  try {
    await requireFreeSpace(prepared, archive.bytes, "the import");
    if (!home.instances.startsWith(`${home.root}/`)) { // maybe on another disk
      await privateDirectory(home.instances);
      await requireFreeSpace(home.instances, archive.disks!.reduce((sum, { size }) => sum + size, 0), "the import");
    }
    await unpack(emulator, tar, manifest, prepared, baseRam);
    const layer = await placeDisks(emulator, prepared, archive, base?.below ?? imagePath(emulator, "disk"));
    const { instance, secrets } = checkpoint;
    const [under] = (await disksUnder(`${prepared}/${SNAPSHOT_FILES.disk}`))!.flatMap((path) => idOfDisk(path) ?? []);
    const adopted = {
      ...withoutArchive(manifest),
      checkpoint: {
        name,
        instance,
        layer,
        origin,
        ...(under && { base: under }),
        ...(secrets && { secrets }),
      },
    };
    adopted.files[SNAPSHOT_FILES.disk].sha256 = await sha256File(`${prepared}/${SNAPSHOT_FILES.disk}`);
    const taken = await snapshotIds(home.snapshots(imageKey(emulator)));
    const { manifest: { id } } = await adoptSnapshot(prepared, adopted, taken);
    return { snapshot: id, exported: manifest.id, name };
  } catch (error) {
    await Deno.remove(prepared, { recursive: true }).catch(() => {});
    await removeUnusedLayers(emulator).catch(() => {}); // the next one that removes any will do it
    throw error;
  }
}

/** The manifest as it was before it was exported. */
export function withoutArchive({ archive: _, ...manifest }: SealedManifest) {
  return manifest;
}

/** @throws {HotbootError} if its image is not here: the disks of a checkpoint are on top of that, and mean nothing on any other. */
export async function requireImage(emulator: Emulator, { identity }: SealedManifest): Promise<void> {
  const image = await readImage(emulator, { look: "only" });
  const digest = image?.record.files.disk.sha256;
  if (digest === identity[IMAGE_DISK]) return;
  const { profile, arch } = emulator;
  const here = digest === undefined ? "there is none here" : `the one here has ${digest}`;
  throw new HotbootError(
    `it needs the image of '${profile.name}' for ${arch} with SHA-256 ${identity[IMAGE_DISK]}, and ${here}: ` +
      `get that image first ('hotboot ${isPublished(profile) ? "pull" : "build"}')`,
  );
}

/** The same moment, if it has been imported, or saved here. */
async function findSame(emulator: Emulator, { files }: SealedManifest, origin: string) {
  const names = [SNAPSHOT_FILES.ram, SNAPSHOT_FILES.state];
  const all = (await checkpointsOf(emulator)).map(({ manifest }) => manifest);
  return all.find(({ id, checkpoint, files: others }) =>
    (checkpoint.origin ?? id) === origin && names.every((name) => others[name]?.sha256 === files[name].sha256)
  );
}

/** What an archive builds on, here, and the disk that its own go on top of. */
async function findBase(emulator: Emulator, since: Since): Promise<Snapshot & { below: string }> {
  const { home } = emulator;
  const key = imageKey(emulator);
  const ids = [...await snapshotIds(home.snapshots(key)), ...await snapshotIds(home.checkpoints(key))];
  const image = imagePath(emulator, "disk");
  let isThere = false;
  for (const id of ids.sort((one, other) => Number(other === since.id) - Number(one === since.id))) {
    const found = await findCandidate(emulator, id, since);
    if (!found) continue;
    isThere = true;
    const all = [`${found.directory}/${SNAPSHOT_FILES.disk}`, ...await chainOf(found, image)];
    const disks = all.slice(Math.max(0, all.length - since.disks.length));
    const digests = await Promise.all(disks.map((path) => digestOf(emulator, path)));
    if (digests.join() === since.disks.join()) return { ...found, below: disks[0] ?? image };
  }
  const what = since.name === undefined ? `'${since.id}'` : `'${since.name}' (${since.id})`;
  throw new HotbootError(
    isThere
      ? `it builds on ${what}, which has other disks here: export it without --since`
      : `it builds on ${what}, which is not here: import that first, or export this one without --since`,
  );
}

/** The snapshot or checkpoint of that id, if its memory is what is needed. */
async function findCandidate(emulator: Emulator, id: string, since: Since): Promise<Snapshot | undefined> {
  const { ram, state } = SNAPSHOT_FILES;
  const isIt = ({ manifest: { files } }: Snapshot) =>
    files[ram]?.sha256 === since.ram && files[state]?.sha256 === since.state;
  const { home } = emulator;
  for (const root of [home.snapshots(imageKey(emulator)), home.checkpoints(imageKey(emulator))]) {
    const directory = `${root}/${id}`;
    const manifest = await readManifest(directory).catch(() => undefined);
    if (!manifest) continue;
    // Nobody has read all of it yet: only one that has its id is worth that.
    const found = id === since.id ? await findSealed(emulator, id) : { directory, manifest };
    if (isIt(found)) return found;
  }
}

async function digestOf({ signal }: Emulator, path: string): Promise<string> {
  using file = await Deno.open(path);
  return await sha256Of(portableOverlay(file, path), signal);
}

/** Writes all that is in the archive to the directory, with the memory whole. */
async function unpack(
  emulator: Emulator,
  tar: TarReader,
  { id, files, archive }: SealedManifest,
  prepared: string,
  baseRam?: Deno.FsFile,
): Promise<void> {
  const { report, signal } = emulator;
  const { disks = [], credentials, since } = archive!;
  const expected: Record<string, Expected> = { ...files };
  for (const [index, part] of disks.entries()) expected[cargoDisk(index)] = part;
  if (credentials) expected[CREDENTIALS] = credentials;
  const total = Object.values(expected).reduce((sum, { size }) => sum + size, 0);
  let done = 0;
  const onBytes = (count: number) => {
    signal.throwIfAborted();
    report.progress(`import ${id}`, done += count, total);
  };
  if (since && baseRam) {
    const { size, sha256 } = files[SNAPSHOT_FILES.ram];
    delete expected[SNAPSHOT_FILES.ram];
    const map = new Uint8Array(size / PAGE);
    let hasMap = false;
    expected[CARGO_FILES.map] = {
      size: map.length,
      take: async (content) => {
        await readFull(content, map);
        requireMap(map, since.changed);
        hasMap = true;
      },
    };
    expected[CARGO_FILES.changes] = {
      size: since.changed * PAGE,
      take: async (content) => {
        if (!hasMap) throw unsound(`'${CARGO_FILES.changes}' comes before '${CARGO_FILES.map}'`);
        const made = await mergePages(baseRam, map, content, `${prepared}/${SNAPSHOT_FILES.ram}`, onBytes);
        if (made !== sha256) throw unsound("its memory differs from what was captured");
      },
    };
  }
  await unpackFiles(tar, { files: expected }, prepared, onBytes);
  if (credentials) await requireSecrets(`${prepared}/${CREDENTIALS}`);
}

/** @throws {HotbootError} unless the file has secrets, and flushes it to disk. */
async function requireSecrets(path: string): Promise<void> {
  const secrets: unknown = await Deno.readTextFile(path).then(JSON.parse).catch(() => undefined);
  const isRight = Object.prototype.toString.call(secrets) === "[object Object]" &&
    Object.values(secrets as object).every((value) => typeof value === "string");
  if (!isRight) throw unsound("its secrets are damaged");
  await syncFile(path);
}

/** Makes layers of the disks, and gives the topmost for the manifest. */
async function placeDisks(
  emulator: Emulator,
  prepared: string,
  { disks = [] }: Cargo,
  below: string,
): Promise<Checkpoint["layer"]> {
  const { home } = emulator;
  const top = `${prepared}/${SNAPSHOT_FILES.disk}`;
  const placed = disks.map(({ sha256 }, index) => ({ path: `${prepared}/${cargoDisk(index)}`, digest: sha256 }));
  for (const path of [top, ...placed.map(({ path }) => path)]) {
    const { backingFile } = await readQcow2Header(path);
    if (backingFile !== "") throw unsound(`'${path.split("/").at(-1)}' names a disk below it`);
  }
  if (!await exists(below)) throw new HotbootError(`${below} was removed meanwhile: import again`);
  const name = await adoptLayers(emulator, top, placed, below) ?? layerName(below);
  if (name === undefined) throw unsound("it has no disk of its own");
  for (const { path } of placed) await Deno.remove(path);
  return { name, disk: await fingerprint(layerDisk(home, name)) };
}
