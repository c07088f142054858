/** What the guest's shell does for `exec`. */

import { HotbootError } from "../base/error.ts";
import type { Slot } from "../vm/ports.ts";
import { shellCommand } from "../base/shell.ts";
import type { ExecOptions } from "./exec_options.ts";

/**
 * Runs "$@" as told, in place of this shell.
 *
 * @throws {HotbootError} if a variable's or the user's name is none.
 */
export function runScript({ env = {}, workdir, user, terminal }: ExecOptions): string {
  const variables = { ...(terminal && { TERM: terminal.type ?? "xterm" }), ...env };
  const wrong = Object.keys(variables).find((name) => !/^[A-Za-z_]\w*$/.test(name));
  if (wrong !== undefined) throw new HotbootError(`'${wrong}' is no variable's name: use letters, digits and _`);
  if (user !== undefined && !/^[A-Za-z_][\w.-]*$/.test(user)) {
    throw new HotbootError(`'${user}' is no user's name: name a user of the guest`);
  }
  const quote = (text: string) => shellCommand([text]);
  return [
    // The agent is a system service: it may have no home.
    user === undefined ? `[ -n "$HOME" ] || { home=~root; [ ! -d "$home" ] || export HOME="$home"; }` : "",
    user === undefined ? "" : `group=$(id -g ${user}) || exit 126; export HOME=~${user} USER=${user} LOGNAME=${user}`,
    ...Object.entries(variables).map(([name, value]) => `export ${name}=${quote(value)}`),
    workdir === undefined ? "" : `cd ${quote(workdir)} || exit 126`,
    user === undefined ? `exec "$@"` : `exec setpriv --reuid ${user} --regid "$group" --init-groups -- "$@"`,
  ].filter((line) => line !== "").join("\n");
}

/** The first line of the output, unless the program cannot be run. */
export const READY = "ready";
/** The same if the guest has nothing that makes a terminal. */
export const NO_TERMINAL = "no terminal";

/**
 * Sets `device` to the port with the name $1, which the kernel may not have found yet. A guest without udev has no
 * /dev/virtio-ports.
 */
const PORT = `port() {
  left=200
  until [ $left -eq 0 ]; do
    for file in /sys/class/virtio-ports/*/name; do
      read -r name 2>/dev/null <"$file" || continue
      [ "$name" = "$1" ] || continue
      file=\${file%/name}
      device=/dev/\${file##*/}
      return
    done
    left=$((left - 1))
    sleep 0.02
  done
  echo "the guest does not find the port $1" >&2
  exit 1
}`;

/** Runs its arguments on a terminal of their own. */
const PYTHON = "import os, pty, sys; code = os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])); " +
  "sys.exit(128 - code if code < 0 else code)";

/**
 * Runs "$@" with its streams on the ports, and then ends the streams with the two halves of `end` and the exit code in three
 * digits. The halves are never seen together before that, so that no list of processes has them so.
 *
 * A port on whose other end nobody is yet ends the input at once (port_fops_read), but waits with the output.
 */
export function portsScript(options: ExecOptions, { ports }: Slot, end: string): string {
  const open = (fd: string, name?: string) => name === undefined ? [] : [`port ${name}`, `exec ${fd}"$device"`];
  const half = end.length / 2;
  const halves = shellCommand([end.slice(0, half), end.slice(half)]);
  const finish = `finish() { printf '%s%s%03d' ${halves} $code; }`;
  if (options.terminal) return [PORT, finish, ...open("4<>", ports.out!.name), terminalLines(options)].join("\n");
  return [
    PORT,
    finish,
    ...(ports.in ? [...open("3<>", ports.in.name), "printf . >&3"] : ["exec 3</dev/null"]),
    ...open("5>", ports.err!.name),
    ...open("4>", ports.out!.name),
    `echo ${READY} >&4`,
    `(\n${runScript(options)}\n) <&3 >&4 2>&5 3<&- 4>&- 5>&-`,
    "code=$?",
    "finish >&5",
    "finish >&4",
  ].join("\n");
}

/** The terminal's name is the second line of the output. */
function terminalLines(options: ExecOptions): string {
  const { rows, columns } = options.terminal!.size;
  const script = `stty sane rows ${rows} cols ${columns}; tty; unset SHELL\n${runScript(options)}`;
  const line = shellCommand([shellCommand(["/bin/sh", "-c", script, "sh", ...options.command])]);
  return `if command -v script >/dev/null; then
  echo ${READY} >&4
  SHELL=/bin/sh script -qefc ${line} /dev/null <&4 >&4 2>&4 4>&-
elif command -v python3 >/dev/null; then
  echo ${READY} >&4
  python3 -c ${shellCommand([PYTHON])} /bin/sh -c ${line} <&4 >&4 2>&4 4>&-
else
  echo "${NO_TERMINAL}" >&4
fi
code=$?
finish >&4`;
}
