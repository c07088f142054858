/**
 * A snapshot that another machine has exported.
 *
 * @module
 */

import { sha256File } from "../base/hash.ts";
import { HotbootError, messageOf } from "../base/error.ts";
import { StreamReader } from "../base/io.ts";
import { contentSize, readArchivedManifest, type SealedManifest, unpackFiles } from "../snapshot/archive.ts";
import { SNAPSHOT_FILES, wrongSize } from "../snapshot/manifest.ts";
import { adoptSnapshot, prepareSnapshot, type Snapshot } from "../snapshot/store.ts";
import { TarReader } from "../snapshot/tar.ts";
import { setBackingFile } from "../vm/qcow2.ts";
import { zstdDecompressStream } from "../zstd/stream.ts";
import { type Emulator, imageKey } from "../instance/emulator.ts";
import { lockSnapshots } from "../instance/locks.ts";
import { backingPath } from "../instance/home.ts";
import { imagePath } from "../image/image.ts";
import { judgeOf } from "./compatibility.ts";

/** How to import. */
export interface ImportOptions {
  /** Keep it although it cannot be resumed here. */
  force?: boolean;
}

/** What importing gave. */
export interface ImportResult {
  /** The snapshot's id here. */
  snapshot: string;
  /** Its id where it was exported. Here it is another one when it would not be the newest with that. */
  exported: string;
  /** Why it cannot be resumed here, when it was kept all the same. */
  why?: string;
}

/**
 * Takes in a snapshot that {@linkcode exportSnapshot} has written, as the emulator's newest: the next {@linkcode start}
 * resumes it. Everything in the archive is compared with the digests in its manifest. Pages of zeros take no room here.
 *
 * Import snapshots of people whom you trust: it is their machine that will run here, as it does with an image of theirs.
 *
 * Needs read permission for the archive; read and write permission for the home; run permission for QEMU, which is asked
 * what it is, with env permission for `PATH` and `HOTBOOT_ACCEL` and read permission for the directories of
 * `PATH`; sys permission for `osUptime`.
 *
 * @param emulator Which, from {@linkcode openEmulator}.
 * @param source The archive's path, or its bytes.
 * @param options Whether to keep one that cannot be resumed here.
 * @returns Its ids, here and where it was exported.
 * @throws {HotbootError} when it cannot be resumed here, with what differs, or is not what was exported. Nothing is left
 * of it then.
 * @throws The reason of the emulator's signal, when that aborts. Nothing is left of it then.
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
  // For damaged data, the native decoder of Deno 2.9 throws from its event loop, where nobody can catch it.
  const contents = bytes.pipeThrough(zstdDecompressStream({ engine: "wasm" }), { signal });
  const reader = new StreamReader(contents);
  try {
    using _lock = await lockSnapshots(emulator);
    return await importFrom(emulator, new TarReader(reader), options);
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof HotbootError)) throw error;
    throw new HotbootError(`${name} is not imported: ${error.message}`);
  } finally {
    await reader.close().catch(() => {}); // whatever has gone wrong is known already
  }
}

async function openArchive(path: string): Promise<ReadableStream<Uint8Array>> {
  try {
    const file = await Deno.open(path);
    if (!(await file.stat()).isDirectory) return file.readable;
    file.close();
  } catch (error) {
    throw new HotbootError(
      `${path} cannot be read (${messageOf(error)}): name a file that 'hotboot snapshot export' made`,
    );
  }
  throw new HotbootError(`${path} is a directory: name a file that 'hotboot snapshot export' made`);
}

async function importFrom(emulator: Emulator, tar: TarReader, { force }: ImportOptions): Promise<ImportResult> {
  const { home, report, signal } = emulator;
  const manifest = await readArchivedManifest(tar);
  const { why } = await (await judgeOf(emulator))(manifest);
  if (why !== undefined && !force) {
    throw new HotbootError(`snapshot ${manifest.id} cannot be resumed here: ${why}; --force keeps it all the same`);
  }
  const prepared = await prepareSnapshot(home.snapshots(imageKey(emulator)));
  let snapshot: Snapshot;
  try {
    const total = contentSize(manifest);
    let done = 0;
    await unpackFiles(tar, manifest, prepared, (count) => {
      signal.throwIfAborted();
      report.progress(`import ${manifest.id}`, done += count, total);
    });
    const wrong = await wrongSize(prepared, manifest);
    if (wrong) throw new HotbootError(wrong);
    await backByImage(emulator, prepared, manifest);
    snapshot = await adoptSnapshot(prepared, manifest);
  } catch (error) {
    await Deno.remove(prepared, { recursive: true }).catch(() => {});
    throw error;
  }
  return { snapshot: snapshot.manifest.id, exported: manifest.id, ...(why !== undefined && { why }) };
}

/** Wherever the disk's image was, and whatever the archive says: it is the one in this home. */
async function backByImage(emulator: Emulator, prepared: string, { files }: SealedManifest): Promise<void> {
  const disk = `${prepared}/${SNAPSHOT_FILES.disk}`;
  const image = await backingPath(emulator.home, prepared, imagePath(emulator, "disk"));
  if (!await setBackingFile(disk, image)) return;
  files[SNAPSHOT_FILES.disk].sha256 = await sha256File(disk, emulator.signal);
}
