/**
 * Finds the guest's connections with the host, and ends those whose other end has gone with an earlier QEMU.
 *
 * Source: proc_pid_net(5). An address is its bytes as one number of the CPU, and hotboot's guests are little-endian: 10.0.2.2 is
 * 0202000A, also at the end of an IPv6 address. A state of 06 is TIME_WAIT, which passes.
 */

import { messageOf } from "../base/error.ts";
import { channelsOf } from "../instance/channels.ts";
import type { Emulator } from "../instance/emulator.ts";
import { endDeadConnections } from "../vm/dead_connections.ts";
import type { QmpClient } from "../vm/qmp.ts";

const PEER = "0202000A:[0-9A-F]{4} 0[^6]";

/** A statement in Perl that prints them, those of containers too: each network namespace once. */
export const PEERS_IN_PERL = `
opendir my $processes, "/proc";
my %seen;
for my $process (grep /^\\d/, readdir $processes) {
  my $namespace = readlink "/proc/$process/ns/net";
  next if !defined $namespace || $seen{$namespace}++;
  for my $file ("tcp", "tcp6") {
    open my $list, "<", "/proc/$process/net/$file" or next;
    /(${PEER})/ and print "$1\\n" for <$list>;
  }
}
`.trim();

/** A shell command that prints those that are not a container's, for guests without Perl. */
export const PEERS_IN_SHELL = `grep -Ehos '${PEER}' /proc/net/tcp /proc/net/tcp6; true`;

/** The ports of the host's ends, from the lines that these print. */
export function peersIn(lines: string[]): number[] {
  const found = lines.map((line) => line.match(/^0202000A:([0-9A-F]{4}) /)).filter((match) => match !== null);
  return [...new Set(found.map(([, digits]) => parseInt(digits, 16)))];
}

/** Ends those that this QEMU does not know. Warns if that fails: the services may do without. */
export async function endConnections(emulator: Emulator, qmp: QmpClient, peers: number[]): Promise<void> {
  const { profile, signal, report } = emulator;
  const to = Object.values(profile.ports).map(({ guest }) => guest);
  if (peers.length === 0 || to.length === 0) return;
  try {
    const { migration } = await channelsOf(emulator);
    await endDeadConnections(qmp, migration, { from: peers, to }, { signal });
  } catch (error) {
    signal.throwIfAborted();
    report.warn(
      `the guest's services keep connections whose clients have gone, until they are restarted: ${messageOf(error)}`,
    );
  }
}
