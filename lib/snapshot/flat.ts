/**
 * Saves a stopped machine that may continue: its RAM flat in a file that the next machine maps privately, its devices in a
 * stream that loads in milliseconds.
 */

import { HotbootError } from "../base/error.ts";
import { type Source, writeAll } from "../base/io.ts";
import { sleep, type WaitOptions } from "../base/wait.ts";
import type { QmpClient } from "../vm/qmp.ts";
import type { EngineContext, SnapshotEngine } from "./engine.ts";
import { instant } from "./instant.ts";
import { SNAPSHOT_FILES } from "./manifest.ts";
import { loadState, type SaveOptions, saveState } from "./migration.ts";
import { RamFile } from "./ram_file.ts";
import { type Split, splitStream } from "./stream.ts";

/** The target files, which are new. */
export interface FlatFiles {
  ram: string;
  devices: string;
}

/** How to save it. */
export interface FlatOptions extends SaveOptions {
  /** Called now and then with how many bytes of RAM are done. */
  onProgress?: (bytes: number) => void;
  /** See {@linkcode Split}. */
  milestone?: Split["milestone"];
}

/** The engine of checkpoints: their machine may run on once it is saved. */
export const flat: SnapshotEngine = {
  ...instant,
  save,
  open(directory) {
    const state = { path: `${directory}/${SNAPSHOT_FILES.state}` };
    return Promise.resolve((qmp, { socket }, options) => loadState(qmp, "all", socket, state, options));
  },
};

/** This share of what is thought to be in RAM is saved while the machine runs. */
const WHILE_IT_RUNS = 0.75;
/** Less than this is not worth it, in bytes. */
const LEAST = 64 << 20;
/** QEMU is held back once it has sent nothing for so long, which it must within so many tries. */
const [NOTHING_MS, HOLD_TRIES] = [20, 25];

/** A machine that runs. */
export interface Live {
  /** About how many bytes of its RAM are not zeros; 0 if unknown. */
  bytes: number;
  /** Called when most of its RAM is saved, and before `stop`. */
  prepare: () => Promise<unknown>;
  /** Stops the machine. */
  stop: () => Promise<unknown>;
}

/** QEMU cannot be held back, because less is left than was thought. */
class TooLate extends HotbootError {}

/**
 * Saves a running machine, which stands still only for the last part: QEMU sends a page again that changes after it was sent
 * ("live migration"). It is stopped afterwards. While it is prepared, nothing is read, which holds QEMU back: QEMU would stop
 * it as soon as little is left.
 *
 * @throws As {@linkcode saveFlat}, `prepare` and `stop` do. The machine may run or stand still then.
 */
export async function saveLive(
  qmp: QmpClient,
  directory: string,
  { socket, onProgress }: Pick<EngineContext, "socket" | "onProgress">,
  { bytes, prepare, stop }: Live,
  options: WaitOptions,
): Promise<void> {
  if (bytes >= LEAST) {
    let isOver = false;
    let reaching: Promise<unknown> | undefined;
    let stopping: Promise<unknown> | undefined;
    const reach = async () => {
      if (!await isHeldBack(qmp, options)) throw new TooLate("little is left");
      await prepare();
      if (isOver) throw new TooLate("it is over");
      stopping = stop(); // while QEMU goes on
      stopping.catch(() => {});
    };
    const reached = () => reaching = reach();
    const beforeDevices = async () => {
      if (!stopping) throw new TooLate("nothing is left");
      await stopping;
    };
    const milestone = { bytes: Math.ceil(bytes * WHILE_IT_RUNS), reached };
    try {
      return await save(qmp, directory, { socket, onProgress }, { ...options, milestone, beforeDevices });
    } catch (error) {
      isOver = true;
      await qmp.execute("cont").catch(() => {}); // what prepares it needs a guest that runs
      await Promise.allSettled([reaching, stopping]); // only the end of that tells what is to be undone
      if (!(error instanceof TooLate)) throw error;
      for (const path of Object.values(filesIn(directory))) await Deno.remove(path);
    }
  }
  await prepare();
  await stop();
  await save(qmp, directory, { socket, onProgress }, options);
}

/** Whether QEMU waits for the reader, and the machine runs meanwhile. */
async function isHeldBack(qmp: QmpClient, options: WaitOptions): Promise<boolean> {
  for (let [left, sent] = [HOLD_TRIES, -1]; left > 0; left--) {
    const { status, ram } = await qmp.execute<{ status: string; ram?: { transferred: number } }>(
      "query-migrate",
      {},
      options,
    );
    if (status !== "active" || !ram) return false;
    if (ram.transferred === sent) return true;
    sent = ram.transferred;
    await sleep(NOTHING_MS, options.signal);
  }
  return false;
}

function filesIn(directory: string): FlatFiles {
  return { ram: `${directory}/${SNAPSHOT_FILES.ram}`, devices: `${directory}/${SNAPSHOT_FILES.state}` };
}

async function save(
  qmp: QmpClient,
  directory: string,
  { socket, onProgress }: Pick<EngineContext, "socket" | "onProgress">,
  options: Omit<FlatOptions, "onProgress">,
): Promise<void> {
  const bytes = await ramSize(qmp, options);
  const onBytes = (done: number) => onProgress("save the memory", done, bytes);
  await saveFlat(qmp, socket, filesIn(directory), bytes, { ...options, onProgress: onBytes });
}

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
  { onProgress, milestone, ...options }: FlatOptions = {},
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
    await splitStream(source, { ram: pages, rest, onProgress, milestone });
    await flush();
  };
  await saveState(qmp, "all", socketPath, receive, options);
}
