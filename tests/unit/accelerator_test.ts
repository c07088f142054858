import { assertEquals, assertMatch } from "@std/assert";
import { describePassedOver, refused, slow, stuck } from "../../lib/vm/accelerator.ts";
import { accelerationGuest, MARKS, OUTPUT } from "../../lib/vm/accelerator_guest.ts";

Deno.test("the guest's result matches its work", () => {
  const word = (value: bigint) => BigInt.asUintN(64, value);
  const memory = new Map<bigint, bigint>();
  let result = 1n;
  for (let mark = 0; mark < MARKS; mark++) {
    for (let turn = 0x8000n; turn > 0n; turn--) {
      result = word(result * 69069n + turn);
      const place = (result & 0xffff_ffffn) >> 15n;
      result ^= memory.get(place) ?? 0n;
      memory.set(place, result);
    }
  }
  const bytes = new DataView(new ArrayBuffer(8));
  bytes.setBigUint64(0, result, true);
  assertEquals(OUTPUT.slice(MARKS), new Uint8Array(bytes.buffer));
});

Deno.test("the guests are a few hundred bytes, and amd64's is valid firmware for QEMU", () => {
  assertEquals(accelerationGuest("arm64").length < 400, true);
  const firmware = accelerationGuest("amd64");
  assertEquals(firmware.length, 65536); // QEMU: a multiple of 64 KiB
  assertEquals(firmware.filter((byte) => byte !== 0).length < 400, true);
  assertEquals(firmware.subarray(0xfff0, 0xfff3), Uint8Array.of(0xe9, 0x0d, 0xfe));
});

/** What QEMU 7.2 to 10.0 print when an accelerator does not work, and what the user should read. */
const WORDS: { accelerator: "kvm" | "hvf"; said: string; why: RegExp; remedy: RegExp }[] = [
  {
    accelerator: "kvm",
    said:
      "Could not access KVM kernel module: No such file or directory\nqemu-system-x86_64: failed to initialize kvm: No such file or directory",
    why: /^there is no \/dev\/kvm$/,
    remedy: /firmware.*nested.*--device \/dev\/kvm/,
  },
  {
    accelerator: "kvm",
    said:
      "Could not access KVM kernel module: Permission denied\nqemu-system-x86_64: failed to initialize kvm: Permission denied",
    why: /^you may not open \/dev\/kvm$/,
    remedy: /usermod -aG kvm.*KERNEL=="kvm"/,
  },
  {
    accelerator: "kvm",
    said:
      "ioctl(KVM_CREATE_VM) failed: 16 Device or resource busy\nqemu-system-x86_64: failed to initialize kvm: Device or resource busy",
    why: /another hypervisor/,
    remedy: /end it/,
  },
  {
    accelerator: "kvm",
    said: "error: failed to set MSR 0x10a to 0x69",
    why: /QEMU does not start with it: error: failed to set MSR 0x10a to 0x69/,
    remedy: /newer QEMU/,
  },
  { accelerator: "hvf", said: "-accel hvf: invalid accelerator hvf", why: /built without/, remedy: /Homebrew/ },
  {
    accelerator: "hvf",
    said: "-accel hvf: Error: ret = HV_DENIED (0xfae94007, at ../accel/hvf/hvf-accel-ops.c:339)",
    why: /entitlement com\.apple\.security\.hypervisor/,
    remedy: /brew reinstall qemu/,
  },
  {
    accelerator: "hvf",
    said: "-accel hvf: Could not access HVF. Is the executable signed with com.apple.security.hypervisor entitlement?",
    why: /entitlement com\.apple\.security\.hypervisor/,
    remedy: /brew reinstall qemu/,
  },
  { accelerator: "hvf", said: "Error: HV_UNSUPPORTED", why: /no hypervisor/, remedy: /a physical Mac/ },
  {
    accelerator: "hvf",
    said: "Property 'host-arm-cpu.sme' not found",
    why: /SME/,
    remedy: /brew upgrade qemu/,
  },
];

Deno.test("QEMU's complaint about an accelerator becomes a reason and a remedy, in one line", () => {
  for (const { accelerator, said, why, remedy } of WORDS) {
    const passedOver = refused(accelerator, new Error(said));
    assertEquals(passedOver.reason, "refused");
    assertMatch(passedOver.why, why);
    assertMatch(passedOver.remedy, remedy);
    const line = describePassedOver(passedOver);
    assertMatch(line, new RegExp(`emulated, without ${accelerator}: `));
    assertEquals(line.includes("\n"), false);
  }
});

Deno.test("the message says how much slower it is, if known", () => {
  assertMatch(slow("kvm", 128).why, /more than 64 times slower/);
  assertMatch(slow("kvm", 12.34).why, /is 12 times slower/);
  assertMatch(slow("hvf", 1.25).why, /is 1\.3 times slower/);
  assertMatch(stuck("kvm", 60).remedy, /HOTBOOT_ACCEL=kvm/);
});
