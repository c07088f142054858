/**
 * A guest of a few hundred bytes that tests an accelerator: it turns on the MMU as an operating system does, works for as
 * long as emulation takes some tens of milliseconds, and ends QEMU.
 *
 * It prints {@linkcode MARKS} dots as it proceeds, then the eight bytes of its result, which is the same on every correct
 * processor.
 *
 * Source: Intel's manual, volume 3, "Switching to protected mode" and "Initializing IA-32e mode"; Arm's architecture manual,
 * "The AArch64 virtual memory system architecture"; Arm DEN0022, "PSCI", SYSTEM_OFF.
 */

import { decodeHex } from "@std/encoding/hex";
import type { Arch } from "./arch.ts";

/** How many dots it prints, one for each equal part of the work. */
export const MARKS = 64;

/** Its whole output. */
export const OUTPUT = Uint8Array.from([...Array(MARKS).fill(0x2e), 0x2e, 0x81, 0xb9, 0x0f, 0x73, 0xa2, 0xe1, 0x3c]);

/** The bytes of a listing: those before the two spaces of each line. */
function assemble(listing: string): Uint8Array {
  const lines = listing.trim().split("\n").map((line) => line.trim().split(/ {2}/)[0].replaceAll(" ", ""));
  return decodeHex(lines.join(""));
}

/**
 * The end of the firmware: 0xfffffe00 in memory, 0xfe00 in the segment that the processor starts in. Its tables map the
 * first 4 GiB to themselves, in pages of 2 MiB.
 */
const AMD64 = assemble(`
  fa                               cli
  2e 66 0f 01 16 10 ff             lgdtl %cs:gdtr
  0f 20 c0                         mov %cr0, %eax
  0c 01                            or $1, %al                  (protected mode)
  0f 22 c0                         mov %eax, %cr0
  66 ea 18 fe ff ff 08 00          ljmpl $8, $protected
  b8 10 00 00 00                   protected: mov $16, %eax
  8e d8                            mov %eax, %ds
  8e c0                            mov %eax, %es
  bf 00 10 00 00                   mov $0x1000, %edi           (the first two tables)
  31 c0                            xor %eax, %eax
  b9 00 08 00 00                   mov $0x800, %ecx
  f3 ab                            rep stosl
  c7 05 00 10 00 00 03 20 00 00    movl $0x2003, 0x1000
  bf 00 20 00 00                   mov $0x2000, %edi           (the second one: four of the third kind)
  b8 03 30 00 00                   mov $0x3003, %eax
  ab                               four: stosl
  83 c7 04                         add $4, %edi
  05 00 10 00 00                   add $0x1000, %eax
  3d 03 70 00 00                   cmp $0x7003, %eax
  75 f0                            jne four
  bf 00 30 00 00                   mov $0x3000, %edi           (those: 2048 pages)
  b8 83 00 00 00                   mov $0x83, %eax
  ab                               page: stosl
  83 c7 04                         add $4, %edi
  05 00 00 20 00                   add $0x200000, %eax
  73 f5                            jnc page
  0f 20 e0                         mov %cr4, %eax
  0c 20                            or $0x20, %al               (PAE)
  0f 22 e0                         mov %eax, %cr4
  b8 00 10 00 00                   mov $0x1000, %eax
  0f 22 d8                         mov %eax, %cr3
  b9 80 00 00 c0                   mov $0xc0000080, %ecx
  0f 32                            rdmsr
  80 cc 01                         or $1, %ah                  (EFER.LME)
  0f 30                            wrmsr
  0f 20 c0                         mov %cr0, %eax
  0f ba e8 1f                      bts $31, %eax               (paging)
  0f 22 c0                         mov %eax, %cr0
  ea 95 fe ff ff 18 00             ljmp $24, $long
  be 00 00 10 00                   long: mov $0x100000, %esi   (the memory that it works in)
  bb 40 00 00 00                   mov $64, %ebx
  b8 01 00 00 00                   mov $1, %eax
  b9 00 80 00 00                   mark: mov $0x8000, %ecx
  48 69 c0 cd 0d 01 00             turn: imul $69069, %rax, %rax
  48 8d 04 08                      lea (%rax,%rcx), %rax
  89 c2                            mov %eax, %edx
  c1 ea 0c                         shr $12, %edx
  83 e2 f8                         and $-8, %edx
  48 33 04 16                      xor (%rsi,%rdx), %rax
  48 89 04 16                      mov %rax, (%rsi,%rdx)
  e2 e3                            loop turn
  48 97                            xchg %rax, %rdi
  b0 2e                            mov $'.', %al
  e6 e9                            out %al, $0xe9              (isa-debugcon)
  48 97                            xchg %rax, %rdi
  ff cb                            dec %ebx
  75 d2                            jnz mark
  b9 08 00 00 00                   mov $8, %ecx
  e6 e9                            byte: out %al, $0xe9
  48 c1 e8 08                      shr $8, %rax
  e2 f8                            loop byte
  b8 00 00 00 00                   mov $0, %eax
  ba 01 05 00 00                   mov $0x501, %edx            (isa-debug-exit)
  ef                               out %eax, (%dx)
  f4                               end: hlt
  eb fd                            jmp end
  8d 76 00                         (filling)
  00 00 00 00 00 00 00 00          gdt: null
  ff ff 00 00 00 9a cf 00          8: code, 32 bits
  ff ff 00 00 00 92 cf 00          16: data
  ff ff 00 00 00 9a af 00          24: code, 64 bits
  1f 00 f0 fe ff ff                gdtr: limit 31, base gdt
`);

/** What the processor executes first, at 0xfff0. */
const AMD64_RESET = assemble(`
  e9 0d fe                         jmp 0xfe00
`);

/** A kernel, which QEMU loads at 0x40080000 and enters at EL1. One table maps 2 GiB: devices, and then memory. */
const ARM64 = assemble(`
  00 02 a8 d2                      mov x0, #0x40100000         (the table)
  21 80 80 d2                      mov x1, #0x401              (0 to 1 GiB: a block of devices,
  01 0c e0 f2                      movk x1, #0x60, lsl #48      where nothing is executed)
  a2 e0 80 d2                      mov x2, #0x705              (1 to 2 GiB: a block of memory)
  02 00 a8 f2                      movk x2, #0x4000, lsl #16
  01 08 00 a9                      stp x1, x2, [x0]
  9f 3f 03 d5                      dsb sy
  01 e0 9f d2                      mov x1, #0xff00             (attribute 0: nGnRnE; 1: write-back)
  01 a2 18 d5                      msr mair_el1, x1
  a1 04 00 58                      ldr x1, tcr
  41 20 18 d5                      msr tcr_el1, x1
  00 20 18 d5                      msr ttbr0_el1, x0
  df 3f 03 d5                      isb
  01 10 38 d5                      mrs x1, sctlr_el1
  a2 00 82 d2                      mov x2, #0x1005             (MMU, caches)
  21 00 02 aa                      orr x1, x1, x2
  01 10 18 d5                      msr sctlr_el1, x1
  df 3f 03 d5                      isb
  07 20 a1 d2                      mov x7, #0x9000000          (PL011 of 'virt')
  06 10 a8 d2                      mov x6, #0x40800000         (the memory that it works in)
  05 08 80 52                      mov w5, #64
  20 00 80 d2                      mov x0, #1
  e4 02 00 18                      ldr w4, factor
  03 00 90 d2                      mark: mov x3, #0x8000
  00 0c 04 9b                      turn: madd x0, x0, x4, x3
  02 7c 4f d3                      ubfx x2, x0, #15, #17
  c1 78 62 f8                      ldr x1, [x6, x2, lsl #3]
  00 00 01 ca                      eor x0, x0, x1
  c0 78 22 f8                      str x0, [x6, x2, lsl #3]
  63 04 00 f1                      subs x3, x3, #1
  41 ff ff 54                      b.ne turn
  c1 05 80 52                      mov w1, #'.'
  e1 00 00 39                      strb w1, [x7]
  a5 04 00 71                      subs w5, w5, #1
  a1 fe ff 54                      b.ne mark
  05 01 80 52                      mov w5, #8
  e0 00 00 39                      byte: strb w0, [x7]
  00 fc 48 d3                      lsr x0, x0, #8
  a5 04 00 71                      subs w5, w5, #1
  a1 ff ff 54                      b.ne byte
  00 01 80 52                      mov w0, #0x0008             (SYSTEM_OFF)
  00 80 b0 72                      movk w0, #0x8400, lsl #16
  02 00 00 d4                      hvc #0
  7f 20 03 d5                      end: wfi
  ff ff ff 17                      b end
  cd 0d 01 00                      factor: 69069
  19 35 80 00 02 00 00 00          tcr: 39 bits by pages of 4 KiB, no second range
`);

const FIRMWARE_BYTES = 64 * 1024;

/** Its file: firmware for amd64, a kernel for arm64. */
export function accelerationGuest(arch: Arch): Uint8Array {
  if (arch === "arm64") return ARM64;
  const firmware = new Uint8Array(FIRMWARE_BYTES);
  firmware.set(AMD64, 0xfe00);
  firmware.set(AMD64_RESET, 0xfff0);
  return firmware;
}

/** What QEMU needs to run it, with what it prints on standard output; beside the machine type, accelerator and CPU. */
export function guestArguments(arch: Arch, path: string): string[] {
  const devices = arch === "arm64"
    ? ["-kernel", path, "-serial", "stdio"]
    : ["-bios", path, "-debugcon", "stdio", "-device", "isa-debug-exit,iobase=0x501,iosize=4"];
  return ["-m", "32M", "-nodefaults", "-no-user-config", "-display", "none", ...devices];
}
