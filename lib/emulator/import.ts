/**
 * Imports a snapshot that another machine exported.
 *
 * @module
 */

import { sha256File } from "../base/hash.ts";
import { HotbootError, messageOf } from "../base/error.ts";
import { StreamReader } from "../base/io.ts";
import { contentSize, readArchivedManifest, type SealedManifest, unpackFiles } from "../snapshot/archive.ts";
import { nameOfSaved, SNAPSHOT_FILES, wrongSize } from "../snapshot/manifest.ts";
import { adoptSnapshot, prepareSnapshot, type Snapshot } from "../snapshot/store.ts";
import { TarReader, unsound } from "../snapshot/tar.ts";
import { setBackingFile } from "../vm/qcow2.ts";
import { zstdDecompressStream } from "../zstd/stream.ts";
import { type Emulator, imageKey } from "../instance/emulator.ts";
import { lockSnapshots } from "../instance/locks.ts";
import { backingPath } from "../instance/home.ts";
import { imagePath } from "../image/image.ts";
import { requireFreeSpace } from "../release/free_space.ts";
import { judgeOf } from "./compatibility.ts";
import { importCheckpoint, requireImage, withoutArchive } from "./import_checkpoint.ts";

/** How to import. */
export interface ImportOptions {
  /** Keep it even if it cannot be resumed here. A checkpoint needs its image in any case. */
  force?: boolean;
  /** What to call a checkpoint, if not as it was called; as for {@linkcode saveCheckpoint}. */
  name?: string;
}

/** The result of an import. */
export interface ImportResult {
  /** The snapshot's id here. */
  snapshot: string;
  /** Its id where it was exported. The id here differs if the exported id would not make it the newest. */
  exported: string;
  /** A checkpoint's name here. */
  name?: string;
  /** True if this checkpoint was here already, so that nothing was done. */
  wasThere?: true;
  /** Why it cannot be resumed here, if it was kept anyway. */
  why?: string;
}

/**
 * Imports an archive of {@linkcode exportSnapshot}. A snapshot becomes the emulator's newest, so the next {@linkcode start}
 * resumes it. A checkpoint keeps its name, and {@linkcode start} takes it with `from`; the same one twice is one. Compares
 * everything in the archive with the digests in its manifest. Pages of zeros take no space here.
 *
 * Import snapshots only from people whom you trust: their machine will run here, as it does with their image.
 *
 * Needs read permission for the archive; read and write permission for the home; run permission for QEMU, to ask for its
 * version and features, with env permission for `PATH` and `HOTBOOT_ACCEL` and read permission for the directories of
 * `PATH`; sys permission for `osUptime` and `statfs`.
 *
 * @param emulator The emulator, from {@linkcode openEmulator}.
 * @param source The archive's path, or its bytes.
 * @param options Whether to keep a snapshot that cannot be resumed here, and a checkpoint's name.
 * @returns Its ids, here and where it was exported.
 * @throws {HotbootError} if it cannot be resumed here, with the difference, or is not what was exported; what it builds on is
 * missing, its name is taken, or there is too little space. Nothing is left of it then.
 * @throws The reason of the emulator's signal, if it aborts. Nothing is left of it then.
 *
 * @example
 * ```ts
 * import { importSnapshot, openEmulator, start } from "@hotboot/hotboot";
 *
 * const emulator = await openEmulator();
 * const { snapshot } = await importSnapshot(emulator, "demo.snapshot.tar.zst");
 * console.log((await start(emulator)).snapshot === snapshot);
 * ```
 */
export async function importSnapshot(
  emulator: Emulator,
  source: string | ReadableStream<Uint8Array>,
  options: ImportOptions = {},
): Promise<ImportResult> {
  const { signal } = emulator;
  const name = typeof source === "string" ? source : "the archive";
  const bytes = typeof source === "string" ? await openArchive(source) : source;
  // On damaged data, Deno 2.9's native decoder throws from its event loop, where nobody can catch it.
  const contents = bytes.pipeThrough(zstdDecompressStream({ engine: "wasm" }), { signal });
  const reader = new StreamReader(contents);
  try {
    using _lock = await lockSnapshots(emulator);
    return await importFrom(emulator, new TarReader(reader), options);
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof HotbootError)) throw error;
    throw new HotbootError(`${name} was not imported: ${error.message}`);
  } finally {
    await reader.close().catch(() => {}); // the error is already known
  }
}

async function openArchive(path: string): Promise<ReadableStream<Uint8Array>> {
  try {
    const file = await Deno.open(path);
    if (!(await file.stat()).isDirectory) return ReadableStream.from(bytesOf(file));
    file.close();
  } catch (error) {
    throw new HotbootError(
      `${path} cannot be read (${messageOf(error)}): name a file that 'hotboot snapshot export' made`,
    );
  }
  throw new HotbootError(`${path} is a directory: name a file that 'hotboot snapshot export' made`);
}

/** The file's bytes. The file system may be another machine's. */
async function* bytesOf(file: Deno.FsFile): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  try {
    yield* file.readable;
  } catch (error) {
    throw new HotbootError(
      `the rest of it cannot be read (${messageOf(error)}): try again, or copy it to this machine first`,
    );
  }
}

async function importFrom(emulator: Emulator, tar: TarReader, options: ImportOptions): Promise<ImportResult> {
  const { home, report, signal } = emulator;
  const manifest = await readArchivedManifest(tar);
  const { why } = await (await judgeOf(emulator))(manifest);
  if (manifest.checkpoint) await requireImage(emulator, manifest);
  if (why !== undefined && !options.force) {
    throw new HotbootError(`${nameOfSaved(manifest)} cannot be resumed here: ${why}; --force keeps it anyway`);
  }
  const kept = why === undefined ? {} : { why };
  if (manifest.checkpoint) return { ...await importCheckpoint(emulator, tar, manifest, options.name), ...kept };
  if (options.name !== undefined) {
    throw new HotbootError("it is a snapshot, and only a checkpoint has a name: leave out --name");
  }
  const prepared = await prepareSnapshot(home.snapshots(imageKey(emulator)));
  let snapshot: Snapshot;
  try {
    await requireFreeSpace(prepared, manifest.archive?.bytes ?? 0, "the import");
    const total = contentSize(manifest);
    let done = 0;
    await unpackFiles(tar, manifest, prepared, (count) => {
      signal.throwIfAborted();
      report.progress(`import ${manifest.id}`, done += count, total);
    });
    const wrong = await wrongSize(prepared, manifest);
    if (wrong) throw unsound(wrong);
    await backByImage(emulator, prepared, manifest);
    snapshot = await adoptSnapshot(prepared, withoutArchive(manifest));
  } catch (error) {
    await Deno.remove(prepared, { recursive: true }).catch(() => {});
    throw error;
  }
  return { snapshot: snapshot.manifest.id, exported: manifest.id, ...kept };
}

/** Bases the disk on this home's image, wherever the image was and whatever the archive says. */
async function backByImage(emulator: Emulator, prepared: string, { files }: SealedManifest): Promise<void> {
  const disk = `${prepared}/${SNAPSHOT_FILES.disk}`;
  const image = await backingPath(emulator.home, prepared, imagePath(emulator, "disk"));
  if (!await setBackingFile(disk, image)) return;
  files[SNAPSHOT_FILES.disk].sha256 = await sha256File(disk, emulator.signal);
}
