/** A shell script in the place of the micro guest's agent. */

/**
 * The command that puts it there, a second after the command itself has ended: it comes by the agent.
 *
 * @param script Its port is file 3.
 */
export function agentScript(script: string): string {
  const lines = [
    "sleep 1",
    "sed -i /qemu-ga/d /etc/inittab",
    "kill -HUP 1",
    "killall -9 qemu-ga",
    "exec 3<>/dev/virtio-ports/org.qemu.guest_agent.0",
    script,
  ];
  return `(${lines.join("\n")}) </dev/null >/dev/null 2>&1 &`;
}
