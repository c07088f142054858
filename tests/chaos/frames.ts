/** Network frames that no kernel would send: any source, any destination, in IPv4, IPv6 and ARP. */

import { concat } from "@std/bytes/concat";

/** The size of each frame; what follows a packet in its frame is not part of it. */
export const FRAME_SIZE = 128;

const GUEST = "52:54:00:12:34:56";
/** QEMU's user network answers to all of these. */
const MACS = ["52:55:0a:00:02:02", "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01", "52:56:00:00:00:02"];

/** To whom, from whom, and how. */
export interface Packet {
  kind: "TCP" | "UDP" | "ICMP" | "ARP";
  /** Addresses of one family. */
  to: string;
  from: string;
  port: number;
  /** Ethernet's own destination: an index. */
  by?: number;
}

/** The bytes of an address. IPv6: with `::` at the beginning, at the end or in the middle, or an IPv4 address at the end. */
export function addressBytes(address: string): Uint8Array {
  if (!address.includes(":")) return Uint8Array.from(address.split("."), Number);
  const [, head, v4] = address.match(/^(.*:)(\d+\.\d+\.\d+\.\d+)$/) ?? [, address];
  const tail = v4 ? addressBytes(v4) : new Uint8Array();
  const words = (text: string) =>
    text.split(":").filter(Boolean).flatMap((word) => [parseInt(word, 16) >> 8, parseInt(word, 16) & 255]);
  const [left, right = ""] = head.split("::");
  const [begin, end] = [words(left), [...words(right), ...tail]];
  return Uint8Array.from([...begin, ...Array(16 - begin.length - end.length).fill(0), ...end]);
}

function word(value: number): number[] {
  return [value >> 8 & 255, value & 255];
}

/** Source: RFC 1071. */
function checksum(bytes: Uint8Array): number[] {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes[at] << 8 | (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return word(~sum & 0xffff);
}

const bytesOf = (...parts: (ArrayLike<number>)[]) => concat(parts.map((part) => Uint8Array.from(part)));
const mac = (text: string) => Uint8Array.from(text.split(":"), (byte) => parseInt(byte, 16));

/** The frame. `own`: the guest's own hardware address. */
export function frame({ kind, to, from, port, by = 0 }: Packet, own = GUEST): Uint8Array {
  const [target, source] = [addressBytes(to), addressBytes(from)];
  const isV6 = target.length === 16;
  const ethernet = (type: number) => bytesOf(mac(MACS[by % MACS.length]), mac(own), word(type));
  const framed = (type: number, ...rest: ArrayLike<number>[]) => {
    const made = new Uint8Array(FRAME_SIZE);
    made.set(bytesOf(ethernet(type), ...rest));
    return made;
  };
  // A request for somebody's address, which also tells that the source is here.
  if (kind === "ARP") {
    return framed(0x0806, word(1), word(0x0800), [6, 4], word(1), mac(own), source, Array(6).fill(0), target);
  }
  const number = { TCP: 6, UDP: 17, ICMP: isV6 ? 58 : 1 }[kind];
  const without = {
    TCP: bytesOf(word(40000 + port % 20000), word(port), [0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02], word(64000), [
      0,
      0,
      0,
      0,
    ]),
    UDP: bytesOf(word(40000 + port % 20000), word(port), word(12), [0, 0], [0x78, 0x78, 0x78, 0x78]),
    ICMP: bytesOf([isV6 ? 128 : 8, 0, 0, 0], word(7), word(1), [1, 2, 3, 4]),
  }[kind];
  const length = without.length;
  const pseudo = isV6
    ? bytesOf(source, target, [0, 0], word(length), [0, 0, 0, number])
    : kind === "ICMP"
    ? new Uint8Array()
    : bytesOf(source, target, [0, number], word(length));
  const at = { TCP: 16, UDP: 6, ICMP: 2 }[kind];
  without.set(checksum(bytesOf(pseudo, without)), at);
  if (isV6) return framed(0x86dd, [0x60, 0, 0, 0], word(length), [number, 64], source, target, without);
  const header = bytesOf([0x45, 0], word(20 + length), word(port), [0, 0, 64, number, 0, 0], source, target);
  header.set(checksum(header), 10);
  return framed(0x0800, header, without);
}

/**
 * A program for Linux on amd64 that sends each 128 bytes of its standard input as a frame on the interface with this index:
 * `socket(AF_PACKET, SOCK_RAW, …)`, and then `read` and `sendto` until the input ends. Its exit code is the error's number.
 * One segment holds the code and, at 0x4000e8, the interface's address; the buffer is at 0x500000.
 *
 * Source: elf(5), packet(7).
 */
export function frameSender(index: number): Uint8Array {
  const code = "bf11000000be03000000ba00030000b8290000000f0585c0783f89c3" + // socket; at 'next':
    "31ffbe00005000ba8000000031c00f053d800000007531" + // read(0, buffer, 128), or 'done'
    "89dfbe00005000ba800000004531d241b8e800400041b914000000b82c0000000f0585c079c3" + // sendto; again if it worked
    "f7d889c7b83c0000000f05" + "31ffb83c0000000f05"; // exit(error); done: exit(0)
  const image = new Uint8Array(0xfc);
  const view = new DataView(image.buffer);
  image.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true); // an executable
  view.setUint16(18, 62, true); // for x86-64
  view.setUint32(20, 1, true);
  view.setUint32(24, 0x400078, true); // it begins here
  view.setUint32(32, 64, true); // where its program header is, and the sizes of the two headers
  view.setUint16(52, 64, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, 1, true);
  view.setUint32(64, 1, true); // to be loaded: all of the file, to be read, written and executed
  view.setUint32(68, 7, true);
  view.setUint32(80, 0x400000, true);
  view.setUint32(88, 0x400000, true);
  view.setUint32(96, image.length, true);
  view.setUint32(104, 0x101000, true);
  view.setUint32(112, 0x1000, true);
  image.set(code.match(/../g)!.map((byte) => parseInt(byte, 16)), 0x78);
  view.setUint16(0xe8, 17, true); // sockaddr_ll: AF_PACKET, and the interface
  view.setUint32(0xec, index, true);
  return image;
}
