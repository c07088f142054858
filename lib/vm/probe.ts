/** Finds QEMU and what it can do here, by asking the program itself. */

import { bootTime, isSameBoot } from "../base/boot_time.ts";
import { HostError, messageOf } from "../base/error.ts";
import { writeJson, writeWhole } from "../base/files.ts";
import { onPath } from "../base/on_path.ts";
import type { WaitOptions } from "../base/wait.ts";
import {
  type Candidate,
  type Hardware,
  namedAccelerator,
  type PassedOver,
  refused,
  slow,
  slowdown,
  stuck,
} from "./accelerator.ts";
import { accelerationGuest } from "./accelerator_guest.ts";
import { type Arch, HOST_ARCH } from "./arch.ts";
import { ask } from "./ask.ts";

/** Facts about a QEMU program on this host. */
export interface QemuFacts {
  /** Its absolute path. */
  program: string;
  /** Its version: `7.2.22`. */
  version: string;
  /** The versioned machine type behind the general name: `pc-q35-7.2`. */
  machineType: string;
  /** All versioned machine types of that kind, for snapshots of other versions. */
  machineTypes: string[];
  /** The accelerator: `kvm`, `hvf` or `tcg`. */
  accelerator: string;
  /** The CPU model that goes with it, and its properties: `max,pauth-impdef=on`. */
  cpuModel: string;
  /** The CPU's features as QEMU sees them, as a digest: with kvm and hvf they are the host's. */
  cpuFeatures: string;
  /** Whether a boot takes as long as it may: it is the second one, after one that was stuck. */
  isPatient?: boolean;
  /** The hardware accelerator that was passed over, if one was. */
  passedOver?: PassedOver;
  /** How many times slower than emulation the accelerator is that the user named, if it is. */
  slowdown?: number;
  /** How many times as fast as emulation the hardware did the trial's work, if it is used. */
  speed?: number;
}

/** What to use instead of the best choice here. */
export interface Choice {
  /** `kvm`, `hvf` or `tcg`. */
  accelerator?: string;
  /** A versioned machine type, instead of the newest. */
  machineType?: string;
  /** The CPU model to emulate, instead of the best. */
  emulatedCpu?: string;
}

const PROGRAMS: Record<Arch, { program: string; machine: string; apt: string }> = {
  amd64: { program: "qemu-system-x86_64", machine: "q35", apt: "qemu-system-x86" },
  arm64: { program: "qemu-system-aarch64", machine: "virt", apt: "qemu-system-arm" },
};
/**
 * All that QEMU can emulate, but for what is slow to emulate.
 *
 * On x86, `erms` and `fsrm` tell Linux and the C library to clear and copy memory with one repeated instruction for each byte,
 * as that is fast on hardware. Emulated, it takes up to eight times as long as eight bytes at a time. On Arm, Linux makes an
 * authentication code at each call. Those of the architecture take most of the time; QEMU's own kind is cheap.
 */
const EMULATED_CPU: Record<Arch, string> = { amd64: "max,erms=off,fsrm=off", arm64: "max,pauth-impdef=on" };

/** The oldest QEMU that guests are tested with. */
const OLDEST = [7, 2] as const;
const ASK_MS = 20_000;
/** What this program has just asked is not asked again by the next step of the same operation. */
const JUST_NOW_MS = 5000;
/** When this program has asked, by the path of the cache: milliseconds since 1970. */
const asked = new Map<string, number>();
const HOUR_MS = 3600 * 1000;
/**
 * For how long it is remembered that hardware was passed over, as long as QEMU's file and the host's boot are the same. A
 * group or a module may be added at any time; what is slow is so until something else boots.
 */
const REMEMBERED_MS: Record<PassedOver["reason"], number> = { refused: HOUR_MS, stuck: 24 * HOUR_MS, slow: Infinity };

/** QEMU's program for a guest architecture: `qemu-system-x86_64`. */
export function qemuProgram(arch: Arch): string {
  return PROGRAMS[arch].program;
}

/**
 * The absolute path of QEMU for a guest architecture, from `PATH`.
 *
 * @throws {HostError} if there is none, with the package to install.
 */
export async function findQemu(arch: Arch): Promise<string> {
  const { program, apt } = PROGRAMS[arch];
  const path = await onPath(program);
  if (path) return path;
  throw new HostError(
    `${program} is not on PATH`,
    `install QEMU ('apt install ${apt}', or 'brew install qemu' on macOS)`,
  );
}

/** What is remembered of a QEMU. */
interface Memory {
  /** Its file, and what was asked for. */
  key: string;
  /** The host's boot time, milliseconds since 1970. */
  booted: number;
  /** When it was asked, likewise. */
  time: number;
  facts: QemuFacts;
}

/** How to ask. */
export interface ProbeOptions extends WaitOptions {
  /** Ask again where QEMU has refused an accelerator: a boot is at hand, which costs more than the question. */
  again?: boolean;
  /** The hardware accelerator that QEMU may have for such a guest; this platform's unless told. */
  hardware?: Hardware;
}

/**
 * What `program` can do. Cached while its file stays the same and the host does not reboot.
 *
 * @param cache The path of the cache, and of a file for the guest that tries accelerators. Neither need
 * exist.
 * @throws {HostError} if QEMU does not start, or is too old.
 */
export async function probeQemu(
  program: string,
  arch: Arch,
  cache: { facts: string; guest: string },
  choice: Choice = {},
  options: ProbeOptions = {},
): Promise<QemuFacts> {
  const key = await keyOf(program, arch, choice);
  const known = await readMemory(cache.facts);
  if (known?.key === key && isSameBoot(known.booted) && !isStale(known, cache.facts, options)) return known.facts;
  const { hardware = hardwareFor(arch), signal } = options;
  const facts = await askQemu(program, arch, cache.guest, hardware, choice, { timeoutMs: ASK_MS, signal });
  if (!isAtLeast(facts.version, OLDEST)) {
    throw new HostError(
      `${program} is QEMU ${facts.version}, and hotboot needs ${OLDEST.join(".")} or later`,
      "install a newer one",
    );
  }
  await remember(cache.facts, key, facts);
  return facts;
}

/** What is remembered, whether or not it would be asked again; `undefined`: nothing. */
export async function rememberedFacts(factsPath: string): Promise<QemuFacts | undefined> {
  return (await readMemory(factsPath))?.facts;
}

/**
 * Rejects the hardware accelerator that {@linkcode probeQemu} found, also for the next commands, because a guest made no
 * progress with it for that many seconds.
 *
 * @returns What QEMU can do with emulation.
 */
export async function passOverStuck(
  program: string,
  arch: Arch,
  cache: { facts: string },
  { accelerator, seconds }: { accelerator: Hardware; seconds: number },
  choice: Choice = {},
  options: WaitOptions = {},
): Promise<QemuFacts> {
  const facts = await askEmulation(program, arch, choice, { timeoutMs: ASK_MS, ...options });
  facts.passedOver = stuck(accelerator, seconds);
  await remember(cache.facts, await keyOf(program, arch, choice), facts);
  return facts;
}

function isStale({ time, facts: { passedOver } }: Memory, path: string, { again }: ProbeOptions): boolean {
  if (!passedOver) return false;
  const age = Date.now() - time;
  if (age < 0 || age > REMEMBERED_MS[passedOver.reason]) return true;
  const isAskedNow = asked.get(path) === time && age <= JUST_NOW_MS;
  return again === true && passedOver.reason === "refused" && !isAskedNow;
}

async function keyOf(program: string, arch: Arch, choice: Choice): Promise<string> {
  const { accelerator = "", machineType = "", emulatedCpu = EMULATED_CPU[arch] } = choice;
  const { size, mtime } = await Deno.stat(program);
  return JSON.stringify([program, size, mtime, arch, accelerator, machineType, emulatedCpu]);
}

async function remember(path: string, key: string, facts: QemuFacts): Promise<void> {
  const time = Date.now();
  asked.set(path, time);
  await writeJson(path, { key, booted: bootTime(), time, facts } satisfies Memory);
}

async function readMemory(path: string): Promise<Memory | undefined> {
  try {
    return JSON.parse(await Deno.readTextFile(path));
  } catch {
    return undefined; // none yet, or not readable: ask
  }
}

function isAtLeast(version: string, [wantedMajor, wantedMinor]: readonly [number, number]): boolean {
  const [major, minor] = version.split(".").map(Number);
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}

/** The hardware accelerator that QEMU may have for a guest of this architecture. */
function hardwareFor(arch: Arch): Hardware | undefined {
  if (arch !== HOST_ARCH) return undefined;
  return Deno.build.os === "darwin" ? "hvf" : "kvm";
}

/** Hardware where it works and is no slower than emulation, else emulation; or what was chosen. */
async function askQemu(
  program: string,
  arch: Arch,
  guestPath: string,
  hardware: Hardware | undefined,
  choice: Choice,
  options: WaitOptions,
): Promise<QemuFacts> {
  const named = choice.accelerator === undefined ? undefined : namedAccelerator(choice.accelerator);
  const emulation = emulationOf(program, arch, choice);
  const accelerator = named ?? hardware;
  let passedOver: PassedOver | undefined;
  if (accelerator !== undefined && accelerator !== "tcg") {
    const candidate: Candidate = { ...emulation, accelerator, cpuModel: "host" };
    try {
      const answer = await ask(candidate, options);
      await writeWhole(guestPath, accelerationGuest(arch));
      const factor = await slowdown(candidate, emulation, guestPath, options.signal);
      const facts = { program, accelerator, cpuModel: candidate.cpuModel, ...answer };
      if (factor === undefined) return facts;
      if (factor <= 1) return { ...facts, speed: 1 / factor };
      if (named) return { ...facts, slowdown: factor };
      passedOver = slow(accelerator as Hardware, factor);
    } catch (error) {
      options.signal?.throwIfAborted();
      if (error instanceof Deno.errors.NotCapable) throw error; // that says nothing about the accelerator
      passedOver = refused(accelerator as Hardware, error);
      if (named) {
        throw new HostError(
          `HOTBOOT_ACCEL=${named} cannot be used (${passedOver.why})`,
          `unset it, or ${passedOver.remedy}`,
        );
      }
    }
  }
  return { ...await askEmulation(program, arch, choice, options), ...(passedOver && { passedOver }) };
}

function emulationOf(program: string, arch: Arch, choice: Choice): Candidate {
  const { machineType = PROGRAMS[arch].machine, emulatedCpu = EMULATED_CPU[arch] } = choice;
  return { program, arch, machine: machineType, accelerator: "tcg", cpuModel: emulatedCpu };
}

async function askEmulation(program: string, arch: Arch, choice: Choice, options: WaitOptions): Promise<QemuFacts> {
  const emulation = emulationOf(program, arch, choice);
  const { accelerator, cpuModel } = emulation;
  try {
    return { program, accelerator, cpuModel, ...await ask(emulation, options) };
  } catch (error) {
    options.signal?.throwIfAborted();
    if (error instanceof Deno.errors.NotCapable) throw error;
    throw new HostError(`${program} does not start here (${messageOf(error)})`, "reinstall QEMU");
  }
}
