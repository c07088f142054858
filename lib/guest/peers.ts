/**
 * The guest's connections with the host: found before it is saved, and ended when another QEMU goes on with it, because their other
 * end has gone with this one.
 *
 * Source: proc_pid_net(5). An address is its bytes as one number of the CPU, and hotboot's guests are little-endian: 10.0.2.2 is
 * 0202000A, also at the end of an IPv6 address. A state of 06 is TIME_WAIT, which passes.
 */

import { messageOf } from "../base/error.ts";
import { channelsOf } from "../instance/channels.ts";
import type { Emulator } from "../instance/emulator.ts";
import { endDeadConnections } from "../vm/dead_connections.ts";
import type { GuestAgent } from "../vm/guest_agent.ts";
import type { QmpClient } from "../vm/qmp.ts";

/** Prints their ends, those of containers too: each network namespace once, as long as its processes have neighbouring numbers. */
const LIST = `set -- /proc/net/tcp /proc/net/tcp6
last=/proc/self/ns/net
for process in /proc/[0-9]*; do
  [ $process/ns/net -ef /proc/self/ns/net ] || [ $process/ns/net -ef $last ] || {
    last=$process/ns/net
    set -- "$@" $process/net/tcp $process/net/tcp6
  }
done
grep -Ehos '0202000A:[0-9A-F]{4} 0[^6]' "$@"`;

/** The host's ports with which the guest has connections, also those of its containers; none if it cannot tell. */
export async function peersOf(agent: GuestAgent, { signal }: Pick<Emulator, "signal">): Promise<number[]> {
  const { stdout } = await agent.exec({ path: "/bin/sh", args: ["-c", LIST] }, { signal });
  const found = new TextDecoder().decode(stdout).matchAll(/^0202000A:([0-9A-F]{4}) /gm);
  return [...new Set(Array.from(found, ([, digits]) => parseInt(digits, 16)))];
}

/**
 * Ends those that this QEMU does not know, in a guest that runs. Warns if that fails: the services may do without.
 *
 * @param peers From {@linkcode peersOf}, before the guest was saved.
 */
export async function endConnections(emulator: Emulator, qmp: QmpClient, peers: number[] = []): Promise<void> {
  const { profile, signal, report } = emulator;
  const to = Object.values(profile.ports).map(({ guest }) => guest);
  if (peers.length === 0 || to.length === 0) return;
  try {
    const { migration } = await channelsOf(emulator);
    await endDeadConnections(qmp, migration, { from: peers, to }, { signal });
  } catch (error) {
    signal.throwIfAborted();
    report.warn(
      `the guest's services keep connections whose clients have gone (${messageOf(error)}): restart those services`,
    );
  }
}
