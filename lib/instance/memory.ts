/** What the host says of the memory of a QEMU. */

import { runBash } from "../base/bash.ts";

/** A process's memory, in bytes. */
export interface Memory {
  /** What only this process has, and what goes with it. */
  own: number;
  /** What it shares with others: pages of one snapshot, above all. */
  shared: number;
}

/**
 * Prints the memory of each QEMU of the pairs of process id and uuid in $@.
 *
 * Source: proc_pid_smaps(5), `/proc/pid/smaps_rollup`.
 */
const READ = `while [ $# -gt 1 ]; do
  args=$(tr '\\0' ' ' 2>/dev/null <"/proc/$1/cmdline")
  case $args in *"-uuid $2"*)
    own=0 shared=0
    while read -r name size _; do
      case $name in Private_*) own=$((own + size));; Shared_*) shared=$((shared + size));; esac
    done 2>/dev/null <"/proc/$1/smaps_rollup"
    [ $own -gt 0 ] && echo "$1 $own $shared";;
  esac
  shift 2
done
true`;

/**
 * The memory of QEMUs, by their process ids. One that is gone, or another's by now, is not in it; nor is any on a host
 * without `/proc`.
 */
export async function memoryOf(processes: [pid: number, uuid: string][]): Promise<Map<number, Memory>> {
  const found = processes.length > 0 ? await runBash(READ, processes.flat().map(String)) : undefined;
  const lines = (found?.lines ?? []).map((line) => line.split(" ").map(Number));
  return new Map(lines.map(([pid, own, shared]) => [pid, { own: own * 1024, shared: shared * 1024 }]));
}
