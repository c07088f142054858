/** Kills a QEMU that does not answer. */

import { runBash } from "../base/bash.ts";
import { HotbootError } from "../base/error.ts";
import type { Emulator } from "./emulator.ts";
import type { State } from "./state.ts";

/** Kills process $1 if it is the QEMU with the uuid $2, and returns when it is gone. */
const KILL =
  `if [ -r "/proc/$1/cmdline" ]; then args=$(tr '\\0' ' ' <"/proc/$1/cmdline"); else args=$(ps -ww -o args= -p "$1"); fi
case $args in *"-uuid $2"*) ;; *) exit 3;; esac
kill -KILL "$1" || exit
left=100
while kill -0 "$1" 2>/dev/null && [ $left -gt 0 ]; do left=$((left - 1)); sleep 0.1; done
[ $left -gt 0 ]`;

/** Kills it. @throws {HotbootError} if that fails, with what to do by hand. */
export async function killUnresponsive(
  { instance, report }: Emulator,
  { record }: Extract<State, { kind: "unresponsive" }>,
): Promise<void> {
  const { pid, uuid } = record ?? {};
  const byHand = `find it with 'ps -ef | grep -- ${
    uuid ? `"-uuid ${uuid}"` : `hotboot-${instance}`
  }', and kill it with 'kill -9'`;
  if (pid === undefined || !uuid) {
    throw new HotbootError(`QEMU of instance '${instance}' does not answer, and its process is not known: ${byHand}`);
  }
  const { success, why } = await killQemu(pid, uuid);
  if (!success) {
    throw new HotbootError(`QEMU of instance '${instance}' does not answer, and ${why}: ${byHand}`);
  }
  report.step(`QEMU of instance '${instance}' did not answer and was killed`);
}

/** Kills the QEMU with that uuid, if it is the process. `why` continues a sentence. */
export async function killQemu(pid: number, uuid: string): Promise<{ success: boolean; why?: string }> {
  const killed = await runBash(KILL, [String(pid), uuid]);
  if (!killed) return { success: false, why: "there is no bash on PATH to kill it" };
  return { success: killed.success, ...(!killed.success && { why: "could not be killed" }) };
}
