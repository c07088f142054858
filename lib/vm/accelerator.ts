/**
 * Judges accelerators by what they do. A device that opens and a QEMU that starts prove nothing: some nested and
 * paravirtualised KVMs interpret each instruction in the kernel, a hundred times slower than
 * emulation.
 */

import { HotbootError, messageOf } from "../base/error.ts";
import { sleep } from "../base/wait.ts";
import { APART } from "./apart.ts";
import { guestArguments, MARKS, OUTPUT } from "./accelerator_guest.ts";
import type { Arch } from "./arch.ts";

/** The hardware accelerators that QEMU has here; `tcg` is emulation. */
export type Hardware = "kvm" | "hvf";

/** A hardware accelerator that is not used. */
export interface PassedOver {
  /** Which. */
  accelerator: Hardware;
  /**
   * The kind of reason: QEMU does not start with it, it works slower than emulation, or a guest made no progress
   * with it.
   */
  reason: "refused" | "slow" | "stuck";
  /** Why, for people: continues after the accelerator's name. */
  why: string;
  /** What they can do about it. */
  remedy: string;
}

/** A QEMU with an accelerator and its CPU model. */
export interface Candidate {
  /** QEMU's absolute path. */
  program: string;
  /** What it emulates. */
  arch: Arch;
  /** The machine type. */
  machine: string;
  /** `tcg`, `kvm` or `hvf`. */
  accelerator: string;
  /** As `-cpu` takes it. */
  cpuModel: string;
}

/** The result of an accelerator's trial. */
interface Trial {
  /** How many of the guest's marks came. */
  marks: number;
  /** Milliseconds from QEMU's start to the first mark. */
  beginMs?: number;
  /** Milliseconds from the first mark to the end, if all of the work was done and right. */
  workMs?: number;
}

/** The time that emulation took. */
type Standard = Required<Pick<Trial, "beginMs" | "workMs">>;

/** A trial ends when emulation would have been done; the start of a process may take so much longer than the last one did. */
const SLACK_MS = 100;
/** No trial takes longer. */
const LIMIT_MS = 10_000;

/** How long emulation takes for the guest's work; `undefined` when it does not do it. */
export async function measureEmulation(
  candidate: Candidate,
  guest: string,
  signal?: AbortSignal,
): Promise<Standard | undefined> {
  const { beginMs, workMs } = await runGuest(candidate, guest, { beginMs: LIMIT_MS, workMs: LIMIT_MS }, signal);
  return beginMs === undefined || workMs === undefined ? undefined : { beginMs, workMs };
}

/**
 * How many times slower than emulation a hardware accelerator does the guest's work: 1 or less if it is not slower; `undefined`
 * where emulation does not do the work, so that the guest is at fault. Stops a trial as soon as it cannot be as fast, and judges
 * by what was done until then.
 */
export async function slowdown(
  candidate: Candidate,
  emulation: Candidate,
  guest: string,
  signal?: AbortSignal,
): Promise<number | undefined> {
  let standard: Standard = { beginMs: 0, workMs: 0 };
  let factor = Infinity;
  // A host that was busy for a moment makes either look slow. So what looks slow is tried again, against emulation as it is then.
  for (let tries = 2; tries > 0 && factor > 1; tries--) {
    const measured = await measureEmulation(emulation, guest, signal);
    if (!measured) return undefined;
    const beginMs = Math.max(standard.beginMs, measured.beginMs);
    standard = { beginMs, workMs: Math.max(standard.workMs, measured.workMs) };
    const limits = { beginMs: beginMs + standard.workMs + SLACK_MS, workMs: standard.workMs };
    const { marks, workMs } = await runGuest(candidate, guest, limits, signal);
    factor = Math.min(factor, workMs === undefined ? MARKS / Math.max(marks, 0.5) : workMs / standard.workMs);
  }
  return factor;
}

async function runGuest(candidate: Candidate, guest: string, limits: Standard, signal?: AbortSignal): Promise<Trial> {
  const { program, arch, machine, accelerator, cpuModel } = candidate;
  signal?.throwIfAborted();
  const start = performance.now();
  const child = new Deno.Command(program, {
    args: ["-machine", machine, "-accel", accelerator, "-cpu", cpuModel, ...guestArguments(arch, guest)],
    stdin: "null",
    stdout: "piped",
    stderr: "null",
    ...APART,
  }).spawn();
  const reader = child.stdout.getReader();
  const over = new AbortController();
  const until = (ms: number) => sleep(ms, over.signal).catch(() => {});
  const trial: Trial = { marks: 0 };
  const printed: number[] = [];
  let end = until(limits.beginMs);
  try {
    while (true) {
      const next = await Promise.race([reader.read(), end]);
      const elapsed = performance.now() - start;
      if (!next || next.done) break;
      printed.push(...next.value.subarray(0, OUTPUT.length));
      trial.marks = Math.min(printed.length, MARKS);
      if (trial.beginMs === undefined) {
        trial.beginMs = elapsed;
        end = until(limits.workMs);
      }
      if (printed.length < OUTPUT.length) continue;
      if (OUTPUT.every((byte, at) => printed[at] === byte)) trial.workMs = elapsed - trial.beginMs;
      break;
    }
    signal?.throwIfAborted();
    return trial;
  } finally {
    over.abort();
    try {
      child.kill("SIGKILL");
    } catch {
      // it has ended by itself
    }
    await reader.cancel();
    await child.status;
  }
}

/** The description of an accelerator that is slower than emulation. */
export function slow(accelerator: Hardware, factor: number): PassedOver {
  const times = factor > MARKS ? `more than ${MARKS}` : factor.toFixed(factor < 10 ? 1 : 0);
  return {
    accelerator,
    reason: "slow",
    why: `it is ${times} times slower than emulation here, perhaps because a virtual machine emulates it`,
    remedy: "use a host with hardware virtualization, or one that passes it on (nested virtualization)",
  };
}

/** The description of an accelerator with which a guest made no progress. */
export function stuck(accelerator: Hardware, seconds: number): PassedOver {
  return {
    accelerator,
    reason: "stuck",
    why: `a guest booted with it did nothing for ${seconds} s`,
    remedy: `HOTBOOT_ACCEL=${accelerator} tries it again`,
  };
}

/** QEMU's error messages, and what they mean. */
const REFUSALS: { said: RegExp; why: string; remedy: string }[] = [
  {
    said: /kvm.*No such file or directory/is,
    why: "there is no /dev/kvm",
    remedy:
      "turn on virtualization in the firmware, or nested virtualization if this is a virtual machine (in WSL: 'nestedVirtualization=true' in .wslconfig); a container needs '--device /dev/kvm'",
  },
  {
    said: /kvm.*Permission denied/is,
    why: "you may not open /dev/kvm",
    remedy:
      `run 'sudo usermod -aG kvm "$USER"' and log in again, or, on a CI runner, 'echo 'KERNEL=="kvm", GROUP="kvm", MODE="0666"' | sudo tee /etc/udev/rules.d/99-kvm.rules && sudo udevadm control --reload && sudo udevadm trigger --name-match=kvm'`,
  },
  {
    said: /kvm.*(Device or resource busy)/is,
    why: "another hypervisor uses the CPU's virtualization",
    remedy: "end it (for example VirtualBox)",
  },
  {
    said: /kvm.*No such device/is,
    why: "the kernel has no KVM for this CPU",
    remedy: "turn on virtualization in the firmware, or nested virtualization if this is a virtual machine",
  },
  {
    said: /invalid accelerator|not supported.*accel|accel.*not (found|compiled)/is,
    why: "this QEMU was built without it",
    remedy: "install the QEMU of your distribution, or of Homebrew",
  },
  {
    said: /HV_DENIED|0xfae94007|hypervisor entitlement/i,
    why: "macOS denies it to this QEMU, which is not signed with the entitlement com.apple.security.hypervisor",
    remedy: "run 'brew reinstall qemu', which signs it",
  },
  {
    said: /HV_UNSUPPORTED|0xfae9400f/i,
    why: "this Mac has no hypervisor, perhaps because it is a virtual machine",
    remedy: "use a physical Mac",
  },
  {
    said: /host-arm-cpu\.sme/,
    why: "QEMU before 10.0 does not start on a Mac whose CPU has SME (M4 and later)",
    remedy: "run 'brew upgrade qemu'",
  },
];

/** The description of an accelerator with which QEMU does not start. */
export function refused(accelerator: Hardware, error: unknown): PassedOver {
  const said = messageOf(error);
  const known = REFUSALS.find((refusal) => refusal.said.test(said));
  return {
    accelerator,
    reason: "refused",
    why: known?.why ?? `QEMU does not start with it: ${said}`,
    remedy: known?.remedy ?? "try a newer QEMU, or a newer kernel on this host",
  };
}

/** One line about an accelerator that was passed over. */
export function describePassedOver({ accelerator, why, remedy }: PassedOver): string {
  return `the guest's CPUs are emulated, without ${accelerator}: ${why}; ${remedy}`;
}

/** The accelerator that the user named. @throws {HotbootError} if QEMU has no accelerator of that name. */
export function namedAccelerator(name: string): string {
  if (["kvm", "hvf", "tcg"].includes(name)) return name;
  throw new HotbootError(`HOTBOOT_ACCEL is '${name}': set it to kvm, hvf or tcg, or unset it`);
}
