/**
 * The `mapped-ram` engine: QEMU writes RAM and devices to one file with several threads, each page at its own place.
 *
 * It moves all of the guest's RAM, so it takes longer the more of it is in use. In return the machine needs no special
 * memory, and the one file compresses well.
 *
 * Source: QEMU's documentation, "Mapped-ram" (docs/devel/migration/mapped-ram.rst); the capability came with QEMU 9.0.
 */

import type { QmpClient } from "../vm/qmp.ts";
import { sleep, type WaitOptions } from "../base/wait.ts";
import { compressFile, decompressFile } from "../zstd/file.ts";
import type { SnapshotEngine } from "./engine.ts";
import { type Fingerprint, fingerprint, matches } from "./fingerprint.ts";
import { SNAPSHOT_FILES } from "./manifest.ts";
import { migrationEnd, RAM_TIMEOUT_MS, requireCompleted, UNLIMITED } from "./migration.ts";

/** The first major version of QEMU that has it. */
const FIRST_MAJOR = 9;
const PROGRESS_MS = 250;

/** See {@linkcode SnapshotEngine}. */
export const mappedRam: SnapshotEngine = {
  hasRamFile: false,
  impossible: (version) =>
    parseInt(version) < FIRST_MAJOR ? `mapped-ram needs QEMU ${FIRST_MAJOR}.0, and this is ${version}` : undefined,
  memory: () => ({ kind: "anonymous" }),
  async save(qmp, directory, { threads, onProgress }, options) {
    const limits = { timeoutMs: RAM_TIMEOUT_MS, ...options };
    const path = `${directory}/${SNAPSHOT_FILES.savevmCache}`;
    // Created here, because QEMU would let other users read it.
    (await Deno.open(path, { write: true, createNew: true, mode: 0o600 })).close();
    await prepare(qmp, threads, limits);
    const ended = migrationEnd(qmp, "saving the machine's state", limits);
    const over = new AbortController();
    const reported = reportProgress(qmp, (done, total) => onProgress("save the memory", done, total), over.signal);
    try {
      await qmp.execute("migrate", { uri: `file:${path}` }, limits);
      await requireCompleted(qmp, await ended);
    } finally {
      over.abort();
      await reported;
    }
  },
  async finish(directory, { onProgress }, signal) {
    const [raw, savevm] = [SNAPSHOT_FILES.savevmCache, SNAPSHOT_FILES.savevm].map((name) => `${directory}/${name}`);
    await compressFile(raw, savevm, { signal, onProgress: (done, total) => onProgress("compress it", done, total) });
    await touch(raw, savevm);
    return await fingerprint(raw);
  },
  async open(directory, { cache }, { onProgress }, signal) {
    const [raw, savevm] = [SNAPSHOT_FILES.savevmCache, SNAPSHOT_FILES.savevm].map((name) => `${directory}/${name}`);
    if (!cache || !await isFresh(raw, savevm, cache)) {
      await decompressFile(savevm, raw, {
        signal,
        onProgress: (done, total) => onProgress("decompress the memory", done, total),
      });
      await touch(raw, savevm);
    }
    return async (qmp, { threads }, options) => {
      const limits = { timeoutMs: RAM_TIMEOUT_MS, ...options };
      await prepare(qmp, threads, limits);
      const ended = migrationEnd(qmp, "loading the machine's state", limits);
      await qmp.execute("migrate-incoming", { uri: `file:${raw}` }, limits);
      try {
        await requireCompleted(qmp, await ended);
      } catch (error) {
        // If the cache is damaged, the next start makes a new one.
        await Deno.remove(raw).catch(() => {});
        throw error;
      }
    };
  },
};

/** Whether the cache exists, is unchanged, and is not older than its source. */
async function isFresh(cache: string, source: string, made: Fingerprint): Promise<boolean> {
  const [is, from] = await Promise.all([Deno.stat(cache).catch(() => undefined), Deno.stat(source)]);
  return is !== undefined && is.size === made.size && is.mtime! >= from.mtime! && await matches(cache, made);
}

/** Makes it no older than its source, even if the host's clock has gone back since that was made. */
async function touch(path: string, source: string): Promise<void> {
  const { mtime } = await Deno.stat(source);
  const time = new Date(Math.max(Date.now(), mtime!.getTime()));
  await Deno.utime(path, time, time);
}

async function prepare(qmp: QmpClient, threads: number, limits: WaitOptions): Promise<void> {
  const capabilities = ["mapped-ram", "multifd", "events"].map((capability) => ({ capability, state: true }));
  await qmp.execute("migrate-set-capabilities", { capabilities }, limits);
  const parameters = { "multifd-channels": Math.min(threads, 255), "max-bandwidth": UNLIMITED };
  await qmp.execute("migrate-set-parameters", parameters, limits);
}

async function reportProgress(
  qmp: QmpClient,
  onProgress: (done: number, total: number) => void,
  over: AbortSignal,
): Promise<void> {
  try {
    while (true) {
      await sleep(PROGRESS_MS, over);
      const { ram } = await qmp.execute<{ ram?: { total: number; remaining: number } }>("query-migrate");
      if (ram) onProgress(ram.total - ram.remaining, ram.total);
    }
  } catch {
    // it is over, or QEMU has ended, which is noticed elsewhere
  }
}
