/** Whether this machine has the memory that the guest gets. */

import { formatBytes } from "../base/format.ts";
import type { Finding } from "./finding.ts";

/** What a start needs to be judged, all in bytes. */
export interface MemoryFacts {
  /** All of this machine's memory, with its swap space. */
  total: number;
  /** What is free, or can be freed at once. */
  available: number;
  /** What the profile gives the guest. */
  wanted: number;
  /** The guest runs, and has it already. */
  runs: boolean;
}

/** Asks the system. Needs sys permission for `systemMemoryInfo`. */
export function examineMemory(memoryMiB: number, runs: boolean): Finding {
  const { total, swapTotal, available } = Deno.systemMemoryInfo();
  return judgeMemory({ total: total + swapTotal, available, wanted: memoryMiB * 2 ** 20, runs });
}

/** Linux gives no program more than all memory and swap space; a guest uses what it gets only bit by bit. */
export function judgeMemory({ total, available, wanted, runs }: MemoryFacts): Finding {
  const here = { id: "memory", title: "memory" };
  const has = `${formatBytes(available)} free of ${formatBytes(total)}`;
  const gets = `the guest gets ${formatBytes(wanted)}`;
  const fix = "end other programs, or change machine.memory in the profile";
  if (wanted > total) {
    return { ...here, mark: "fail", reason: `${gets}, and this machine has ${formatBytes(total)}`, fix };
  }
  if (runs) return { ...here, mark: "ok", reason: `${has}; the guest runs, with ${formatBytes(wanted)}` };
  if (wanted > available) return { ...here, mark: "warn", reason: `${has}, and ${gets}`, fix };
  return { ...here, mark: "ok", reason: `${has}; ${gets}` };
}
