/**
 * Copies a disk, and everything below it, into one compressed qcow2 file. QEMU does it as a job of a machine that has the
 * disk, so no further program is needed.
 *
 * Source: QEMU's documentation, "QEMU QMP Reference Manual": "Block devices", "Background jobs".
 */

import { HotbootError } from "../base/error.ts";
import type { QmpClient } from "./qmp.ts";
import { sleep } from "../base/wait.ts";

/** How to copy. */
export interface CopyOptions {
  /** Aborting it ends the wait; whoever aborts ends QEMU too. */
  signal?: AbortSignal;
  /** Told now and then how many of the disk's bytes are done. */
  onProgress?: (done: number, total: number) => void;
}

interface Job {
  id: string;
  status: string;
  "current-progress": number;
  "total-progress": number;
  error?: string;
}

const POLL_MS = 100;
const FLUSH_MS = 60_000;
/** What the copy's two layers are called in the machine while it is made. */
const [FILE, DISK] = ["copy-file", "copy"];

/**
 * Writes the content of the disk `device` to a new qcow2 file at `path`, compressed with zstd (QEMU 5.1) and without
 * zeros. The disk must not change meanwhile.
 *
 * @param device The name of the machine's disk.
 * @throws {HotbootError} with QEMU's message if it fails; a partial file may be left then.
 */
export async function copyCompressed(
  qmp: QmpClient,
  device: string,
  path: string,
  options: CopyOptions = {},
): Promise<void> {
  const disks = await qmp.execute<{ device: string; inserted?: { image: { "virtual-size": number } } }[]>(
    "query-block",
  );
  const size = disks.find((disk) => disk.device === device)?.inserted?.image["virtual-size"];
  if (size === undefined) throw new HotbootError(`the machine has no disk '${device}' to copy: build the image again`);
  // QEMU's own mode for a new file lets others read it.
  await Deno.writeFile(path, new Uint8Array(), { mode: 0o600, createNew: true });

  const { signal } = options;
  await run(qmp, "blockdev-create", { options: { driver: "file", filename: path, size: 0 } }, { signal });
  await qmp.execute("blockdev-add", { driver: "file", "node-name": FILE, filename: path });
  const format = { driver: "qcow2", file: FILE, size, "compression-type": "zstd" };
  await run(qmp, "blockdev-create", { options: format }, { signal });
  await qmp.execute("blockdev-add", { driver: "qcow2", "node-name": DISK, file: FILE });
  const copy = { device, target: DISK, sync: "full", compress: true, "auto-dismiss": false };
  await run(qmp, "blockdev-backup", copy, options);
  await qmp.execute("blockdev-del", { "node-name": DISK }, { timeoutMs: FLUSH_MS }); // writes what is still in its caches
  await qmp.execute("blockdev-del", { "node-name": FILE }, { timeoutMs: FLUSH_MS });
}

/** Runs a command that starts a job, until the job has ended. */
async function run(qmp: QmpClient, command: string, args: object, { signal, onProgress }: CopyOptions): Promise<void> {
  const id = `hotboot-${command}`;
  await qmp.execute(command, { "job-id": id, ...args });
  while (true) {
    const job = (await qmp.execute<Job[]>("query-jobs")).find((each) => each.id === id);
    if (!job) throw new HotbootError(`QEMU lost its job '${command}': build the image again`);
    if (job.status === "concluded") {
      await qmp.execute("job-dismiss", { id });
      if (job.error !== undefined) {
        throw new HotbootError(
          `the disk could not be written ('${command}': ${job.error}): free some space, or use another disk`,
        );
      }
      return;
    }
    onProgress?.(job["current-progress"], job["total-progress"]);
    await sleep(POLL_MS, signal);
  }
}
