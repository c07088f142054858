/** What goes into the archive of a checkpoint: its files, the disks below, and of its memory what the receiver does not have. */

import { HotbootError } from "../base/error.ts";
import { sha256File, sha256Of } from "../base/hash.ts";
import { pieces } from "../base/io.ts";
import { imagePath } from "../image/image.ts";
import { chainOf, CREDENTIALS, requireLayer } from "../instance/checkpoints.ts";
import type { Emulator } from "../instance/emulator.ts";
import type { Member, OpenFiles, SealedManifest } from "../snapshot/archive.ts";
import { type Cargo, CARGO_FILES, cargoDisk, type Part } from "../snapshot/cargo.ts";
import { SNAPSHOT_FILES } from "../snapshot/manifest.ts";
import { changedPages, comparePages } from "../snapshot/page_changes.ts";
import { PAGE } from "../snapshot/ram_file.ts";
import { portableOverlay } from "../vm/qcow2.ts";
import { findSealed, sizeOnDisk } from "./snapshots.ts";

/** How to export a checkpoint. */
export interface ExportOptions {
  /**
   * A snapshot or checkpoint that the receiver has: its name, or the beginning of its id. The archive has neither its disks nor
   * the pages of memory that are the same in it.
   */
  since?: string;
  /** Include the session's secrets, so that the receiver can keep them. They are in the memory in any case. */
  withSecrets?: boolean;
}

interface Sealed {
  directory: string;
  manifest: SealedManifest;
}

/** The manifest and the members of a checkpoint's archive. */
export async function packCheckpoint(
  emulator: Emulator,
  files: OpenFiles,
  saved: Sealed,
  { since, withSecrets }: ExportOptions,
): Promise<{ manifest: SealedManifest; members: Member[] }> {
  const { directory, manifest } = saved;
  await requireLayer(emulator, saved);
  const { base: _, ...checkpoint } = manifest.checkpoint!;
  const image = imagePath(emulator, "disk");
  const below = await chainOf(saved, image);
  const base = since === undefined ? undefined : await findBase(emulator, manifest, since);
  const shared = base ? commonEnd(below, [diskOf(base), ...await chainOf(base, image)]) : [];
  const own = below.slice(0, below.length - shared.length);

  // Everything is open before much of it is read, so that nobody can remove it meanwhile.
  const opened = await Promise.all([diskOf(saved), ...own].map((path) => openOverlay(files, path)));
  const ram = await fileMember(files, directory, manifest, SNAPSHOT_FILES.ram);
  const state = await fileMember(files, directory, manifest, SNAPSHOT_FILES.state);
  const lower = await Promise.all(shared.map((path) => openOverlay(files, path)));
  const [disk, ...disks] = await inTurn(opened, async ({ size, content }, index) => {
    const name = index === 0 ? SNAPSHOT_FILES.disk : cargoDisk(index - 1);
    return { name, size, content, sha256: await sha256Of(content(), emulator.signal) };
  });
  const memory = base ? await changedMembers(emulator, files, saved, base) : [ram];
  const credentials = withSecrets ? await credentialsMember(emulator, files, saved) : undefined;
  const archive: Cargo = {
    bytes: (await sizeOnDisk(`${directory}/${SNAPSHOT_FILES.ram}`))!.bytes +
      [state, disk, ...disks].reduce((sum, { size }) => sum + size, 0),
    disks: disks.map(partOf),
    ...(credentials && { credentials: partOf(credentials) }),
    ...(base && {
      since: {
        id: base.manifest.checkpoint?.origin ?? base.manifest.id,
        ...(base.manifest.checkpoint?.name && { name: base.manifest.checkpoint.name }),
        ram: base.manifest.files[SNAPSHOT_FILES.ram].sha256,
        state: base.manifest.files[SNAPSHOT_FILES.state].sha256,
        disks: await inTurn(lower, ({ content }) => sha256Of(content(), emulator.signal)),
        changed: memory[1].size / PAGE,
      },
    }),
  };
  const described = { ...manifest.files[SNAPSHOT_FILES.disk], ...partOf(disk) };
  return {
    manifest: { ...manifest, checkpoint, files: { ...manifest.files, [SNAPSHOT_FILES.disk]: described }, archive },
    members: [...memory, state, disk, ...disks, ...(credentials ? [credentials] : [])],
  };
}

function diskOf({ directory }: Sealed): string {
  return `${directory}/${SNAPSHOT_FILES.disk}`;
}

function partOf({ size, sha256 }: Part): Part {
  return { size, sha256 };
}

async function findBase(emulator: Emulator, { id, files }: SealedManifest, since: string): Promise<Sealed> {
  const base = await findSealed(emulator, since);
  const ram = base.manifest.files[SNAPSHOT_FILES.ram];
  const cannot = (why: string) => new HotbootError(`a checkpoint cannot be exported since '${since}': ${why}`);
  if (base.manifest.id === id) throw cannot("that is itself; name another");
  if (!ram) throw cannot("its memory is compressed; name a snapshot of the engine instant, or a checkpoint");
  if (ram.size !== files[SNAPSHOT_FILES.ram].size) throw cannot("its memory has another size; name another");
  return base;
}

/** What both lists end with. */
function commonEnd(one: string[], other: string[]): string[] {
  let count = 0;
  while (count < Math.min(one.length, other.length) && one.at(-1 - count) === other.at(-1 - count)) count++;
  return one.slice(one.length - count);
}

async function fileMember(files: OpenFiles, directory: string, manifest: SealedManifest, name: string) {
  const { size, sha256 } = manifest.files[name];
  const file = await files.open(`${directory}/${name}`);
  return { name, size, sha256, content: () => pieces(file) };
}

/** A disk without the name of what is below it, which says where this home is, and differs in the next one. */
async function openOverlay(files: OpenFiles, path: string) {
  const file = await files.open(path);
  return { size: (await file.stat()).size, content: () => portableOverlay(file, path) };
}

/** One after the other: each takes all of a core. */
async function inTurn<T, R>(all: T[], make: (each: T, index: number) => Promise<R>): Promise<R[]> {
  const made: R[] = [];
  for (const [index, each] of all.entries()) made.push(await make(each, index));
  return made;
}

/** What makes its memory of the other's. */
async function changedMembers(emulator: Emulator, files: OpenFiles, saved: Sealed, base: Sealed): Promise<Member[]> {
  const { report, signal } = emulator;
  const { size } = saved.manifest.files[SNAPSHOT_FILES.ram];
  if (size % PAGE !== 0) throw new HotbootError("its memory is not made of pages: export it without --since");
  const [before, after] = [
    await files.open(`${base.directory}/${SNAPSHOT_FILES.ram}`),
    await files.open(`${saved.directory}/${SNAPSHOT_FILES.ram}`),
  ];
  let done = 0;
  const { map, changed } = await comparePages(before, after, size, (count) => {
    signal.throwIfAborted();
    report.progress(`compare ${saved.manifest.id}`, done += count, size);
  });
  return [
    { name: CARGO_FILES.map, size: map.length, content: () => once(map) },
    { name: CARGO_FILES.changes, size: changed * PAGE, content: () => changedPages(after, map) },
  ];
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

async function credentialsMember(
  { signal }: Emulator,
  files: OpenFiles,
  { directory, manifest: { id, checkpoint } }: Sealed,
): Promise<Member & Part> {
  const path = `${directory}/${CREDENTIALS}`;
  if (checkpoint!.secrets !== "rotated") {
    throw new HotbootError(
      `checkpoint '${checkpoint!.name ?? id}' has no secrets of its own: leave out --with-secrets`,
    );
  }
  const file = await files.open(path).catch(() => {
    throw new HotbootError(`checkpoint '${checkpoint!.name ?? id}' came without its secrets: leave out --with-secrets`);
  });
  const { size } = await file.stat();
  return { name: CREDENTIALS, size, sha256: await sha256File(path, signal), content: () => pieces(file) };
}
