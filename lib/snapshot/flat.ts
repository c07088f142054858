/**
 * Saves a stopped machine that may continue: its RAM flat in a file that the next machine maps privately, its devices in a
 * stream that loads in milliseconds.
 */

import { type Source, writeAll } from "../base/io.ts";
import type { WaitOptions } from "../base/wait.ts";
import type { QmpClient } from "../vm/qmp.ts";
import type { SnapshotEngine } from "./engine.ts";
import { instant } from "./instant.ts";
import { SNAPSHOT_FILES } from "./manifest.ts";
import { loadState, saveState } from "./migration.ts";
import { RamFile } from "./ram_file.ts";
import { splitStream } from "./stream.ts";

/** The target files, which are new. */
export interface FlatFiles {
  ram: string;
  devices: string;
}

/** How to save it. */
export interface FlatOptions extends WaitOptions {
  /** Called now and then with how many bytes of RAM are done. */
  onProgress?: (bytes: number) => void;
}

/** The engine of checkpoints: their machine may run on once it is saved. */
export const flat: SnapshotEngine = {
  ...instant,
  async save(qmp, directory, { socket, onProgress }, options) {
    const files = { ram: `${directory}/${SNAPSHOT_FILES.ram}`, devices: `${directory}/${SNAPSHOT_FILES.state}` };
    const bytes = await ramSize(qmp, options);
    const onBytes = (done: number) => onProgress("save the memory", done, bytes);
    await saveFlat(qmp, socket, files, bytes, { ...options, onProgress: onBytes });
  },
  open(directory) {
    const state = { path: `${directory}/${SNAPSHOT_FILES.state}` };
    return Promise.resolve((qmp, { socket }, options) => loadState(qmp, "all", socket, state, options));
  },
};

/** The size of a machine's RAM, in bytes. */
export async function ramSize(qmp: QmpClient, options: WaitOptions): Promise<number> {
  type Summary = { "base-memory": number };
  return (await qmp.execute<Summary>("query-memory-size-summary", {}, options))["base-memory"];
}

/** The devices' pieces are small, so they are combined up to this size. */
const TOGETHER = 1 << 18;

/**
 * Saves the machine.
 *
 * @param socketPath A free path for a socket.
 * @param ramBytes The size of its RAM.
 * @throws {UnknownStream} if hotboot does not understand this QEMU's stream: {@linkcode saveState} can still save it.
 * @throws {HotbootError} like {@linkcode saveState}. Partial files are left.
 */
export async function saveFlat(
  qmp: QmpClient,
  socketPath: string,
  { ram, devices }: FlatFiles,
  ramBytes: number,
  { onProgress, ...options }: FlatOptions = {},
): Promise<void> {
  const receive = async (source: Source) => {
    using pages = await RamFile.create(ram, ramBytes);
    using file = await Deno.open(devices, { write: true, createNew: true, mode: 0o600 });
    const together = new Uint8Array(TOGETHER);
    let length = 0;
    const flush = async () => {
      await writeAll(file, together.subarray(0, length));
      length = 0;
    };
    const rest = async (bytes: Uint8Array) => {
      if (length + bytes.length > TOGETHER) await flush();
      if (bytes.length > TOGETHER) return await writeAll(file, bytes);
      together.set(bytes, length);
      length += bytes.length;
    };
    await splitStream(source, { ram: pages, rest, onProgress });
    await flush();
  };
  await saveState(qmp, "all", socketPath, receive, options);
}
