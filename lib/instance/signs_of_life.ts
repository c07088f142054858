/** What a booting guest shows of itself: its output, and the use of its disk. */

import { GrowingFile } from "../base/growing_file.ts";
import type { WaitOptions } from "../base/wait.ts";
import type { QmpClient } from "../vm/qmp.ts";

/**
 * How Linux reports that it hangs, again and again: kernel/watchdog.c, kernel/rcu/tree_stall.h, kernel/hung_task.c. What it
 * prints with that, like the registers, has no such words.
 */
const HANGS =
  /soft lockup|hard LOCKUP|detected (expedited )?stalls?|kthread (starved|timer wakeup)|blocked for more than/;

interface Log {
  file: GrowingFile;
  /** Whether what it shows now is a report. */
  isReport: boolean;
}

/** Looks at a guest again and again. */
export class SignsOfLife {
  #logs: Log[];
  #qmp: QmpClient;
  #operations = "";

  constructor(logs: string[], qmp: QmpClient) {
    this.#logs = logs.map((path) => ({ file: new GrowingFile(path), isReport: false }));
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
async function hasPrinted(log: Log): Promise<boolean> {
  const bytes = await log.file.newBytes();
  log.isReport = bytes.length > 0 && (log.isReport || HANGS.test(new TextDecoder().decode(bytes)));
  return bytes.length > 0 && !log.isReport;
}
