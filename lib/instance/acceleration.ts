/** Chooses the accelerator of an emulator's guest, warns about it, and falls back to another. */

import { describePassedOver, type Hardware } from "../vm/accelerator.ts";
import type { Arch } from "../vm/arch.ts";
import { type Choice, findQemu, passOverStuck, probeQemu, type QemuFacts, rememberedFacts } from "../vm/probe.ts";
import type { Emulator } from "./emulator.ts";
import { type Home, privateDirectory } from "./home.ts";
import { CrashedQemu, FailedGuest, PanickedGuest, StuckGuest } from "./watch.ts";

/** The prefix of the files that cache what a QEMU can do. */
const QEMU_CACHE = "qemu-";
/** See {@linkcode bootWithin}. */
const MOST_BOOTS = 3;

/**
 * Facts about QEMU on this machine. Needs read permission for `PATH`'s directories, run permission for QEMU, and sys
 * permission for `osUptime`.
 *
 * @param options `again`: a boot follows, so it is worth asking again whether refused hardware works now.
 */
export async function qemuFacts(
  emulator: Emulator,
  choice: Choice = {},
  { again }: { again?: boolean } = {},
): Promise<QemuFacts> {
  const { arch, home, report, signal } = emulator;
  const program = await findQemu(arch);
  await privateDirectory(home.cache);
  const wanted = withVariable(choice);
  const cache = { facts: factsPath(home, arch, wanted), guest: `${home.cache}/accelerator-${arch}.bin` };
  const facts = await probeQemu(program, arch, cache, wanted, { signal, again });
  report.detail(`QEMU ${facts.version} (${facts.program}), ${facts.machineType}, ${facts.accelerator}`);
  return facts;
}

/** The cached facts that {@linkcode qemuFacts} would return; runs nothing. */
export async function knownQemuFacts({ arch, home }: Emulator): Promise<QemuFacts | undefined> {
  return await rememberedFacts(factsPath(home, arch, withVariable({})));
}

/** Makes the next start ask QEMU again. */
export async function forgetQemu({ home }: Emulator): Promise<void> {
  for await (const { name } of Deno.readDir(home.cache)) {
    if (name.startsWith(QEMU_CACHE)) await Deno.remove(`${home.cache}/${name}`).catch(() => {});
  }
}

function withVariable({ accelerator = Deno.env.get("HOTBOOT_ACCEL") || undefined, ...choice }: Choice) {
  return { ...choice, ...(accelerator && { accelerator }) };
}

function factsPath(home: Home, arch: Arch, { machineType, accelerator }: Choice): string {
  return `${home.cache}/${QEMU_CACHE}${[arch, machineType, accelerator].filter(Boolean).join("-")}.json`;
}

/** Warns that a guest about to boot is not as fast as it could be. */
function tellAcceleration({ report }: Emulator, { accelerator, passedOver, slowdown }: QemuFacts): void {
  if (passedOver) report.step(describePassedOver(passedOver));
  if (slowdown) report.warn(`HOTBOOT_ACCEL=${accelerator}, which is slower than emulation here: unset it`);
}

/**
 * Boots with `boot`. If the guest makes no progress with hardware acceleration that the user did not ask for, boots again with
 * emulation. Also boots again after what happens to few emulated boots, most often on a busy host, and not to the next one:
 *
 * - With several CPUs, QEMU itself ends: 10.0 aborts (`iotlb_to_section: Assertion`), 7.2 crashes.
 * - The guest's kernel misses its timer's interrupts, and panics (`IO-APIC + timer doesn't work!`).
 * - The guest gets stuck.
 *
 * @param allowed Whether it may boot with emulation instead.
 */
export async function bootWithin<T>(
  emulator: Emulator,
  qemu: QemuFacts,
  allowed: boolean,
  boot: (qemu: QemuFacts) => Promise<T>,
): Promise<T> {
  if (qemu.passedOver?.reason === "refused") qemu = await qemuFacts(emulator, {}, { again: true });
  tellAcceleration(emulator, qemu);
  for (let boots = 1;; boots++) {
    try {
      return await boot(qemu);
    } catch (error) {
      emulator.signal.throwIfAborted();
      const isEmulated = qemu.accelerator === "tcg";
      const isStuck = error instanceof StuckGuest;
      const isPanicked = error instanceof PanickedGuest;
      const isChance = error instanceof CrashedQemu || isEmulated && (isStuck || isPanicked);
      const isHardwares = isStuck && !isEmulated && allowed;
      if (boots === MOST_BOOTS || !isChance && !isHardwares) throw error;
      const why = error instanceof FailedGuest ? error.words : error.message;
      emulator.report.warn(isHardwares ? `${why}; booting again, with emulation` : `${why}; booting again`);
      if (isHardwares) qemu = await withEmulation(emulator, qemu, error);
      else if (isStuck) qemu = { ...qemu, isPatient: true };
    }
  }
}

/** QEMU's emulation instead of the hardware that a guest got stuck with, from now on. */
async function withEmulation(emulator: Emulator, qemu: QemuFacts, { seconds }: StuckGuest): Promise<QemuFacts> {
  const { arch, home, signal } = emulator;
  const stuck = { accelerator: qemu.accelerator as Hardware, seconds };
  return await passOverStuck(qemu.program, arch, { facts: factsPath(home, arch, {}) }, stuck, {}, { signal });
}
