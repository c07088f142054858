/**
 * Ends the connections of a guest whose other end, QEMU's user network, has ended with an earlier QEMU. A server that waits for
 * its client would keep them for ever.
 *
 * Each gets a SYN, as if its peer began anew. A kernel that still has the connection answers with an ACK (RFC 5961, 4.2:
 * "challenge ACK"). The user network does not know the connection and resets it (RFC 9293, 3.10.7.1). One that it knows takes no
 * harm. So the guest needs no program for this, and connections of containers are found on the way that their packets take.
 *
 * Source: QEMU's documentation, "QEMU QMP Reference Manual" (filter-redirector, query-rx-filter); net/filter-mirror.c: before
 * each frame comes its length, four bytes.
 */

import { HotbootError } from "../base/error.ts";
import { writeAll } from "../base/io.ts";
import { type WaitOptions, within } from "../base/wait.ts";
import { NETWORK } from "./machine.ts";
import type { QmpClient } from "./qmp.ts";

/** QEMU's user network (its documentation, "Network emulation"): the host as the guest sees it, and the guest. */
const [HOST, GUEST] = [[10, 0, 2, 2], [10, 0, 2, 15]];
const HOST_MAC = [0x52, 0x55, ...HOST];
const ID = "injected";
const TIMEOUT_MS = 5000;
const [IPV4, TCP, SYN] = [0x0800, 6, 2];
const [ETHERNET_BYTES, IP_BYTES, TCP_BYTES] = [14, 20, 20];

/**
 * Ends those of the guest's connections with the host that QEMU does not know.
 *
 * @param socketPath A free path for a socket.
 * @param from The ports of the host's ends.
 * @param to The ports of the guest to which QEMU forwards.
 * @throws {HotbootError} if QEMU cannot send into its network.
 */
export async function endDeadConnections(
  qmp: QmpClient,
  socketPath: string,
  { from, to }: { from: number[]; to: number[] },
  options: WaitOptions = {},
): Promise<void> {
  const limits = { timeoutMs: TIMEOUT_MS, ...options };
  const cards = await qmp.execute<{ "main-mac": string }[]>("query-rx-filter", {}, limits);
  if (cards.length === 0) throw new HotbootError("QEMU has no network card to send to: start the instance again");
  const mac = cards[0]["main-mac"].split(":").map((digits) => parseInt(digits, 16));
  const frames = from.flatMap((source) => to.map((target) => synFrame(mac, source, target)));
  await Deno.remove(socketPath).catch(() => {});
  using listener = Deno.listen({ transport: "unix", path: socketPath });
  const address = { type: "unix", data: { path: socketPath } };
  await qmp.execute(
    "chardev-add",
    { id: ID, backend: { type: "socket", data: { addr: address, server: false } } },
    limits,
  );
  try {
    using connection = await within(listener.accept(), "QEMU (its network)", limits);
    const filter = { "qom-type": "filter-redirector", id: ID, netdev: NETWORK, queue: "tx", indev: ID };
    await qmp.execute("object-add", filter, limits);
    try {
      for (const frame of frames) await writeAll(connection, withLength(frame));
      await connection.closeWrite();
      await within(connection.read(new Uint8Array(1)), "QEMU (its network)", limits); // QEMU closes it when it has read all
    } finally {
      await qmp.execute("object-del", { id: ID });
    }
  } finally {
    await qmp.execute("chardev-remove", { id: ID });
  }
}

/** As the filter reads it. */
function withLength(frame: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(4 + frame.length);
  new DataView(bytes.buffer).setUint32(0, frame.length);
  bytes.set(frame, 4);
  return bytes;
}

/** An Ethernet frame with a TCP segment that has only SYN set. */
function synFrame(mac: number[], from: number, to: number): Uint8Array {
  const frame = new Uint8Array(ETHERNET_BYTES + IP_BYTES + TCP_BYTES);
  const view = new DataView(frame.buffer);
  frame.set([...mac, ...HOST_MAC]);
  view.setUint16(12, IPV4);
  const ip = ETHERNET_BYTES, tcp = ip + IP_BYTES;
  frame.set([0x45, 0, 0, IP_BYTES + TCP_BYTES, 0, 0, 0, 0, 64, TCP, 0, 0, ...HOST, ...GUEST], ip);
  view.setUint16(ip + 10, checksum(frame.subarray(ip, tcp)));
  view.setUint16(tcp, from);
  view.setUint16(tcp + 2, to);
  frame.set([(TCP_BYTES / 4) << 4, SYN, 0xff, 0xff], tcp + 12);
  const pseudoHeader = [...HOST, ...GUEST, 0, TCP, 0, TCP_BYTES];
  view.setUint16(tcp + 16, checksum([...pseudoHeader, ...frame.subarray(tcp)]));
  return frame;
}

/** The Internet's checksum (RFC 1071) of an even number of bytes. */
function checksum(bytes: ArrayLike<number>): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += (bytes[at] << 8) | bytes[at + 1];
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}
