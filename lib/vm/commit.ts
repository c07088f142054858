/**
 * Writes disks below a running machine's own into the one below them, while the machine runs.
 *
 * Source: QEMU's documentation, "Live Block Device Operations" and "QMP Reference Manual" (`block-commit`).
 */

import { HotbootError } from "../base/error.ts";
import type { WaitOptions } from "../base/wait.ts";
import type { QmpClient, QmpEvent } from "./qmp.ts";

/** The job's name. */
const JOB = "merge-layers";

/** The limit of a cancellation. */
const CANCEL_MS = 10_000;

/** An image as QEMU describes it, with what is below it. */
interface ImageInfo {
  filename: string;
  "backing-image"?: ImageInfo;
}

/**
 * The disks that QEMU has open for a drive, the topmost first, by the names of their nodes in QEMU.
 *
 * @param drive The drive's id.
 * @throws {HotbootError} if QEMU's answers do not agree.
 */
export async function diskNodes(qmp: QmpClient, drive: string, options: WaitOptions = {}): Promise<string[]> {
  const drives = await qmp.execute<{ device: string; inserted?: { image: ImageInfo } }[]>("query-block", {}, options);
  const nodes = await qmp.execute<{ "node-name": string; drv: string; file: string }[]>(
    "query-named-block-nodes",
    { flat: true },
    options,
  );
  const found: string[] = [];
  let image = drives.find(({ device }) => device === drive)?.inserted?.image;
  for (; image; image = image["backing-image"]) {
    const { filename } = image;
    const named = nodes.filter(({ drv, file }) => drv === "qcow2" && file === filename);
    if (named.length !== 1) throw new HotbootError(`QEMU has ${named.length} disks called '${filename}'`);
    found.push(named[0]["node-name"]);
  }
  return found;
}

/**
 * Writes all from `top` to right above `base` into `base`; then the disk right above `top` is on top of `base`. Whenever QEMU or
 * the host ends, its header names a chain of disks with all that there was: first the content is flushed, then the header changes.
 *
 * @param drive The drive's id.
 * @param nodes The names of both nodes, of which `top` is not the topmost.
 * @param header What the disk right above `top` is to have in its header for what is below it.
 * @param isThere Looks whether the content is in the base's file, once QEMU has been asked to flush it.
 * @throws {HotbootError} if it fails, or the limit passes. All is as it was then.
 */
export async function commitDisks(
  qmp: QmpClient,
  drive: string,
  nodes: { top: string; base: string },
  header: string,
  isThere: () => Promise<boolean>,
  options: WaitOptions,
): Promise<void> {
  const wait = (events: string[]) => {
    const matches = ({ event, data }: QmpEvent) => events.includes(event) && (data.id ?? data.device) === JOB;
    return qmp.waitForEvent(matches, "merging disks", options);
  };
  const pending = wait(["BLOCK_JOB_PENDING", ...ENDS]);
  await qmp.execute("block-commit", {
    "job-id": JOB,
    device: drive,
    "top-node": nodes.top,
    "base-node": nodes.base,
    "backing-file": header,
    "auto-finalize": false,
  }, options);
  try {
    requireNoError(await pending);
    // QEMU would flush the base after the header is written, and a power cut between them would lose what it lacks. Nor does it
    // say, here or there, that it failed.
    await qmp.execute("human-monitor-command", { "command-line": `qemu-io ${nodes.base} flush` }, options);
    if (!await isThere()) throw new HotbootError("QEMU could not flush a disk");
    const ended = wait(ENDS);
    await qmp.execute("job-finalize", { id: JOB }, options);
    requireNoError(await ended);
  } catch (error) {
    await cancelCommit(qmp).catch(() => {});
    throw error;
  }
}

const ENDS = ["BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED"];

function requireNoError({ event, data }: QmpEvent): void {
  if (event === "BLOCK_JOB_CANCELLED") throw new HotbootError("merging disks was cancelled");
  if (data.error !== undefined) throw new HotbootError(`QEMU could not merge disks: ${data.error}`);
}

/** Ends what a {@linkcode commitDisks} has left that was killed. All is as it was before it. */
export async function cancelCommit(qmp: QmpClient): Promise<void> {
  const jobs = await qmp.execute<{ device: string }[]>("query-block-jobs");
  if (!jobs.some(({ device }) => device === JOB)) return;
  const isEnd = ({ event, data }: QmpEvent) => ENDS.includes(event) && data.device === JOB;
  const ended = qmp.waitForEvent(isEnd, "merging disks", { timeoutMs: CANCEL_MS });
  await qmp.execute("block-job-cancel", { device: JOB });
  await ended;
}
