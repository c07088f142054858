/** Whether this machine has the memory that the guest gets. */

import { formatBytes } from "../base/format.ts";
import type { Finding } from "./finding.ts";
import { limitsMemory } from "./processes.ts";

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
  /** The system gives no program more than there is, even if the program never uses it. */
  isLimited: boolean;
}

/** Asks the system. Needs sys permission for `systemMemoryInfo`. */
export async function examineMemory(memoryMiB: number, runs: boolean): Promise<Finding[]> {
  const { total, swapTotal, available } = Deno.systemMemoryInfo();
  const isLimited = await limitsMemory();
  return [judgeMemory({ total: total + swapTotal, available, wanted: memoryMiB * 2 ** 20, runs, isLimited })];
}

/** A guest uses what it gets only bit by bit. */
export function judgeMemory({ total, available, wanted, runs, isLimited }: MemoryFacts): Finding {
  const here = { id: "memory", title: "memory" };
  const has = `${formatBytes(available)} free of ${formatBytes(total)}`;
  const gets = `the guest gets ${formatBytes(wanted)}`;
  const fix = "end other programs, or change machine.memory in the profile";
  if (runs) return { ...here, mark: "ok", reason: `${has}; the guest runs, with ${formatBytes(wanted)}` };
  if (wanted > total) return { ...here, mark: isLimited ? "fail" : "warn", reason: `only ${has}, and ${gets}`, fix };
  if (wanted > available) return { ...here, mark: "warn", reason: `only ${has}, and ${gets}`, fix };
  return { ...here, mark: "ok", reason: `${has}; ${gets}` };
}
