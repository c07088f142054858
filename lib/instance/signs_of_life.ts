/** What a booting guest shows of itself: its output, and the use of its disk. */

import { readAt } from "../base/io.ts";
import type { WaitOptions } from "../base/wait.ts";
import type { QmpClient } from "../vm/qmp.ts";

/**
 * How Linux reports that it hangs, again and again: kernel/watchdog.c, kernel/rcu/tree_stall.h, kernel/hung_task.c. What it
 * prints with that, like the registers, has no such words.
 */
const HANGS =
  /soft lockup|hard LOCKUP|detected (expedited )?stalls?|kthread (starved|timer wakeup)|blocked for more than/;
const READ_BYTES = 64 * 1024;

/** Looks at a guest again and again. */
export class SignsOfLife {
  #logs: { path: string; size: number; isReport: boolean }[];
  #qmp: QmpClient;
  #operations = "";

  constructor(logs: string[], qmp: QmpClient) {
    this.#logs = logs.map((path) => ({ path, size: 0, isReport: false }));
    this.#qmp = qmp;
  }

  /** Whether there is a sign of life since the last look. The kernel's reports that it hangs are none. */
  async areNew(options: WaitOptions): Promise<boolean> {
    const signs = [await this.#isDiskUsed(options)];
    for (const log of this.#logs) signs.push(await hasPrinted(log));
    return signs.includes(true);
  }

  async #isDiskUsed(options: WaitOptions): Promise<boolean> {
    type Disks = { stats: { rd_operations: number; wr_operations: number } }[];
    // QEMU may be as slow as its guest: no answer is no sign.
    const disks = await this.#qmp.execute<Disks>("query-blockstats", {}, options).catch(() => undefined);
    options.signal?.throwIfAborted();
    if (!disks) return false;
    const before = this.#operations;
    this.#operations = JSON.stringify(disks.map(({ stats }) => [stats.rd_operations, stats.wr_operations]));
    return this.#operations !== before;
  }
}

/** Whether there is output that is no report. A report lasts until the guest prints nothing for one look. */
async function hasPrinted(log: { path: string; size: number; isReport: boolean }): Promise<boolean> {
  using file = await Deno.open(log.path);
  const { size } = await file.stat();
  const bytes = new Uint8Array(Math.min(READ_BYTES, Math.max(0, size - log.size)));
  log.size = size;
  if (bytes.length === 0) {
    log.isReport = false;
    return false;
  }
  const got = await readAt(file, size - bytes.length, bytes);
  log.isReport ||= HANGS.test(new TextDecoder().decode(bytes.subarray(0, got)));
  return !log.isReport;
}
