/**
 * Exports a snapshot as one file, to give to others.
 *
 * @module
 */

import { HotbootError, messageOf } from "../base/error.ts";
import { replaceFile } from "../base/files.ts";
import { writeAll } from "../base/io.ts";
import type { Emulator } from "../instance/emulator.ts";
import { archiveChunks, fileMembers, type Member, OpenFiles, type SealedManifest } from "../snapshot/archive.ts";
import { zstdCompressStream } from "../zstd/stream.ts";
import { type ExportOptions, packCheckpoint } from "./export_checkpoint.ts";
import { findSealed, sizeOnDisk } from "./snapshots.ts";

export type { ExportOptions };

/** The result of an export. */
export interface ExportResult {
  /** The snapshot's id. */
  snapshot: string;
  /** The archive's size, in bytes. */
  bytes: number;
}

/**
 * Writes a snapshot or a checkpoint as one compact file: a tar archive with its manifest and files, compressed with zstd.
 * Compares all of it with the digests in the manifest; verifies it first if it has no digests yet. A checkpoint's archive has
 * all its disks down to the image's, which the receiver must have.
 *
 * Needs read permission for the home, and write permission the first time; read and write permission for the target's
 * directory; sys permission for `osUptime`.
 *
 * @param emulator The emulator, from {@linkcode openEmulator}.
 * @param target The archive's path, or a stream, which stays open. An existing file is replaced once the export succeeds. Only
 * its owner can read the archive, because it holds all of a guest's memory.
 * @param prefix A checkpoint's name, or the beginning of an id; the newest snapshot by default.
 * @param options Of a checkpoint: what the receiver has, and whether it gets the secrets.
 * @returns The snapshot's id, and the archive's size.
 * @throws {HotbootError} if there is no such snapshot, it or a disk below it is damaged, `since` cannot be built on, or the
 * archive cannot be written.
 * @throws The reason of the emulator's signal, if it aborts. No partial archive is left at the path.
 *
 * @example
 * ```ts
 * import { exportSnapshot, openEmulator } from "@hotboot/hotboot";
 *
 * const { snapshot, bytes } = await exportSnapshot(await openEmulator(), "demo.snapshot.tar.zst");
 * console.log(snapshot, bytes);
 * ```
 */
export async function exportSnapshot(
  emulator: Emulator,
  target: string | WritableStream<Uint8Array>,
  prefix?: string,
  options: ExportOptions = {},
): Promise<ExportResult> {
  const { report, signal } = emulator;
  using files = new OpenFiles();
  const snapshot = await findSealed(emulator, prefix);
  const { manifest, members } = snapshot.manifest.checkpoint
    ? await packCheckpoint(emulator, files, snapshot, options)
    : await packSnapshot(files, snapshot, options);
  const total = members.reduce((sum, { size }) => sum + size, 0);
  let [done, bytes] = [0, 0];
  const onBytes = (count: number) => report.progress(`export ${manifest.id}`, done += count, total);
  const copy = async (write: (bytes: Uint8Array) => Promise<unknown>) => {
    const chunks = ReadableStream.from(archiveChunks(manifest, members, onBytes));
    for await (const piece of chunks.pipeThrough(zstdCompressStream())) {
      signal.throwIfAborted();
      await write(piece);
      bytes += piece.length;
    }
  };
  try {
    if (typeof target === "string") {
      await replaceFile(target, (file) => copy((piece) => writeFile(file, piece, target)), { sync: true });
    } else await copyTo(target, copy);
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof HotbootError)) throw error;
    throw new HotbootError(`snapshot ${manifest.id} was not exported: ${error.message}`);
  }
  return { snapshot: manifest.id, bytes };
}

async function packSnapshot(
  files: OpenFiles,
  { directory, manifest }: { directory: string; manifest: SealedManifest },
  { since, withSecrets }: ExportOptions,
): Promise<{ manifest: SealedManifest; members: Member[] }> {
  if (since !== undefined || withSecrets) {
    throw new HotbootError(
      `${manifest.id} is a snapshot: only a checkpoint has secrets, or can be exported since another; name a checkpoint`,
    );
  }
  const members = await fileMembers(files, directory, manifest);
  const sizes = await Promise.all(members.map(({ name }) => sizeOnDisk(`${directory}/${name}`)));
  const bytes = sizes.reduce((sum, size) => sum + (size?.bytes ?? 0), 0);
  return { manifest: { ...manifest, archive: { bytes } }, members };
}

async function copyTo(
  stream: WritableStream<Uint8Array>,
  copy: (write: (bytes: Uint8Array) => Promise<void>) => Promise<void>,
): Promise<void> {
  const writer = stream.getWriter();
  try {
    await copy((piece) => writer.write(piece));
  } finally {
    writer.releaseLock();
  }
}

async function writeFile(file: Deno.FsFile, bytes: Uint8Array, path: string): Promise<void> {
  try {
    await writeAll(file, bytes);
  } catch (error) {
    throw new HotbootError(
      `${path} cannot be written (${messageOf(error)}): free some space, or name a path on another disk`,
    );
  }
}
