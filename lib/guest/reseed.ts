/** Gives a resumed guest's kernel new random numbers and the right time: it has both from the capture. */

import { encodeHex } from "@std/encoding/hex";
import type { Arch } from "../vm/arch.ts";
import { shellCommand } from "../base/shell.ts";

/** Entropy for the guest's kernel: as much as its own key has. */
const ENTROPY_BYTES = 32;

/**
 * One program does both, because a program takes long to start in an emulated guest. It is Perl, which every Debian has.
 *
 * random(4): RNDADDENTROPY (0x40085203) takes a struct rand_pool_info (bits, bytes, the bytes), and RNDRESEEDCRNG
 * (0x5207) makes the kernel use it at once. Without RNDRESEEDCRNG that takes minutes, and the kernel notices a new
 * generation id some milliseconds too late.
 *
 * The clock is moved, not set: it was right at the capture, and the host knows exactly how long the guest stood still. A
 * time that is sent is old when it arrives.
 */
const PROGRAM = `
my ($get, $set, $seconds, $nanoseconds) = map { $_ + 0 } @ARGV;
open my $random, "<", "/dev/urandom" or die "/dev/urandom: $!\\n";
ioctl $random, 0x40085203, pack "i i a*", ${8 * ENTROPY_BYTES}, ${ENTROPY_BYTES}, pack "H*", $ENV{ENTROPY}
  or die "RNDADDENTROPY: $!\\n";
ioctl $random, 0x5207, 0 or die "RNDRESEEDCRNG: $!\\n";
my $time = pack "q q", 0, 0;
syscall($get, 0, $time) == 0 or die "clock_gettime: $!\\n";
my ($s, $n) = unpack "q q", $time;
($s, $n) = ($s + $seconds, $n + $nanoseconds);
($s, $n) = ($s + 1, $n - 1_000_000_000) if $n >= 1_000_000_000;
syscall($set, 0, pack "q q", $s, $n) == 0 or die "clock_settime: $!\\n";
`.trim();

/** The numbers of clock_gettime and clock_settime in Linux' table for the architecture. */
const SYSTEM_CALLS: Record<Arch, [get: number, set: number]> = { amd64: [228, 227], arm64: [113, 112] };

/** New entropy, as hexadecimal digits. */
export function newEntropy(): string {
  return encodeHex(crypto.getRandomValues(new Uint8Array(ENTROPY_BYTES)));
}

/**
 * The shell command that adds the entropy in the shell variable `entropy` to the kernel, and moves its clock.
 *
 * @param shiftMs How far to move the clock forward, in milliseconds.
 */
export function reseedCommand(arch: Arch, shiftMs: number): string {
  const seconds = Math.floor(shiftMs / 1000);
  const nanoseconds = Math.round((shiftMs - seconds * 1000) * 1e6);
  const numbers = [...SYSTEM_CALLS[arch], seconds, nanoseconds].map(String);
  return `ENTROPY="$entropy" ${shellCommand(["perl", "-e", PROGRAM, ...numbers])}`;
}
