/**
 * Other processes, and the system's settings for them, as Bash sees them.
 *
 * Source: proc(5): cmdline, net/tcp, sys/vm/overcommit_memory.
 */

import { runBash } from "../base/bash.ts";
import type { Home } from "../instance/home.ts";

/** The system may make whoever looks at a process wait. */
const LIMIT_MS = 20_000;

/** A QEMU that this home's hotboot has started. */
export interface HomeProcess {
  pid: number;
  /** The instance that it was started for. */
  instance: string;
  /** Its own uuid. */
  uuid: string;
}

/** Who listens on a port. */
export interface Listener {
  pid: number;
  /** The program's name. */
  program: string;
}

/** Prints the process id and the command line of each machine of hotboot's, each in a line. */
const MACHINES = `if [ -d /proc/self ]; then
  for file in $(grep -las -e guest=hotboot- /proc/[0-9]*/cmdline); do
    pid=\${file#/proc/}
    args=$(tr '\\0' ' ' <"$file" 2>/dev/null) && printf '%s %s\\n' "\${pid%/cmdline}" "$args"
  done
else ps -axww -o pid= -o args= | grep -e guest=hotboot-
fi`;

/** Prints the port, the process id and the program's name of each process that listens on one of the ports. */
const LISTENERS = `if [ -r /proc/net/tcp ]; then
  for port; do
    hex=$(printf '%04X' "$port")
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | while read -r _ local _ state _ _ _ _ _ inode _; do
      case "$local $state" in *":$hex 0A") ;; *) continue;; esac
      found=$(find /proc/[0-9]*/fd -lname "socket:\\\\[$inode\\\\]" -print -quit 2>/dev/null)
      pid=\${found#/proc/} pid=\${pid%%/*}
      [ -z "$pid" ] || printf '%s %s %s\\n' "$port" "$pid" "$(cat "/proc/$pid/comm")"
    done
  done
elif command -v lsof >/dev/null; then
  for port; do
    lsof -nP -iTCP:"$port" -sTCP:LISTEN -Fpc | while read -r line; do
      case $line in p*) pid=\${line#p};; c*) printf '%s %s %s\\n' "$port" "$pid" "\${line#c}";; esac
    done
  done
fi`;

/** This home's QEMUs; `undefined` without bash. */
export async function homeProcesses(home: Home): Promise<HomeProcess[] | undefined> {
  const lines = await linesOf(MACHINES);
  return lines && machinesIn(lines, home.instances);
}

/** Those that write their consoles to a directory of instances. */
export function machinesIn(lines: string[], instances: string): HomeProcess[] {
  const begin = ` file,id=serial,path=${instances.replaceAll(",", ",,")}/`; // as QEMU's options are written
  return lines.flatMap((line) => {
    const [, pid] = line.match(/^ *(\d+) /) ?? [];
    const [, uuid] = line.match(/ -uuid ([0-9a-f-]{36}) /) ?? [];
    const [, instance] = line.split(begin)[1]?.match(/^(\.?[a-z0-9][\w.-]*)\/serial\.log,/) ?? [];
    return pid && uuid && instance ? [{ pid: Number(pid), instance, uuid }] : [];
  });
}

/** Who listens on each of the ports, as far as this user may know. */
export async function listenersOn(ports: number[]): Promise<Map<number, Listener>> {
  const found = new Map<number, Listener>();
  for (const line of ports.length === 0 ? [] : await linesOf(LISTENERS, ports.map(String)) ?? []) {
    const [, port, pid, program] = line.match(/^(\d+) (\d+) (.+)$/) ?? [];
    if (port) found.set(Number(port), { pid: Number(pid), program });
  }
  return found;
}

/** Whether the system gives no program more memory than there is. macOS gives it, and so does Linux if it is set to 1. */
export async function limitsMemory(): Promise<boolean> {
  if (Deno.build.os !== "linux") return false;
  const [setting] = await linesOf("cat /proc/sys/vm/overcommit_memory") ?? [];
  return setting !== "1";
}

async function linesOf(script: string, args: string[] = []): Promise<string[] | undefined> {
  return (await runBash(script, args, LIMIT_MS))?.lines;
}
