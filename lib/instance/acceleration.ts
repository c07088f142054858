/** The accelerator that an emulator's guest runs with: which it is, what is said of it, and what happens when it is no good. */

import { describePassedOver, type Hardware } from "../vm/accelerator.ts";
import type { Arch } from "../vm/arch.ts";
import { findQemu, passOverStuck, probeQemu, type QemuFacts, rememberedFacts } from "../vm/probe.ts";
import type { Emulator } from "./emulator.ts";
import { type Home, privateDirectory } from "./home.ts";
import { AbortedQemu, StuckGuest } from "./watch.ts";

/** How the names of the files begin that remember what a QEMU can do. */
const QEMU_CACHE = "qemu-";

/** Another machine type than QEMU's newest, or another accelerator than what is best here. */
export interface QemuChoice {
  machineType?: string;
  accelerator?: string;
}

/**
 * QEMU on this machine. Needs read permission for `PATH`'s directories, run permission for QEMU, and sys permission for
 * `osUptime`.
 *
 * @param options `again`: a boot is at hand, for which it is worth asking again whether hardware that was refused works now.
 */
export async function qemuFacts(
  emulator: Emulator,
  choice: QemuChoice = {},
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

/** What is remembered of the QEMU that {@linkcode qemuFacts} would give; nothing is asked. */
export async function knownQemuFacts({ arch, home }: Emulator): Promise<QemuFacts | undefined> {
  return await rememberedFacts(factsPath(home, arch, withVariable({})));
}

/** Has QEMU asked anew at the next start. */
export async function forgetQemu({ home }: Emulator): Promise<void> {
  for await (const { name } of Deno.readDir(home.cache)) {
    if (name.startsWith(QEMU_CACHE)) await Deno.remove(`${home.cache}/${name}`).catch(() => {});
  }
}

function withVariable({ machineType, accelerator = Deno.env.get("HOTBOOT_ACCEL") || undefined }: QemuChoice) {
  return { ...(machineType && { machineType }), ...(accelerator && { accelerator }) };
}

function factsPath(home: Home, arch: Arch, { machineType, accelerator }: QemuChoice): string {
  return `${home.cache}/${QEMU_CACHE}${[arch, machineType, accelerator].filter(Boolean).join("-")}.json`;
}

/** Says, for a guest that is about to be booted, what is not as fast as it could be. */
function tellAcceleration({ report }: Emulator, { accelerator, passedOver, slowdown }: QemuFacts): void {
  if (passedOver) report.step(describePassedOver(passedOver));
  if (slowdown) report.warn(`HOTBOOT_ACCEL=${accelerator}, which is slower than emulation here: unset it`);
}

/**
 * Boots by `boot` and, where the guest gets nowhere with hardware acceleration that nobody has asked for, once more by
 * emulation. It also boots once more after a fault of QEMU's own: QEMU 10.0 sometimes aborts while a guest with several
 * emulated CPUs boots (`iotlb_to_section: Assertion`), and not the next time.
 *
 * @param allowed Whether it may be booted once more.
 */
export async function bootWithin<T>(
  emulator: Emulator,
  qemu: QemuFacts,
  allowed: boolean,
  boot: (qemu: QemuFacts) => Promise<T>,
): Promise<T> {
  if (qemu.passedOver?.reason === "refused") qemu = await qemuFacts(emulator, {}, { again: true });
  tellAcceleration(emulator, qemu);
  try {
    return await boot(qemu);
  } catch (error) {
    emulator.signal.throwIfAborted();
    const { accelerator } = qemu;
    if (error instanceof AbortedQemu && allowed) {
      emulator.report.warn(`${error.message}; it is booted again`);
      return await boot(qemu);
    }
    if (!(error instanceof StuckGuest) || !allowed) throw error;
    emulator.report.warn(`${error.message}; it is booted again, by emulation`);
    const { arch, home, signal } = emulator;
    const cache = { facts: factsPath(home, arch, {}) };
    const stuck = { accelerator: accelerator as Hardware, seconds: error.seconds };
    return await boot(await passOverStuck(qemu.program, arch, cache, stuck, {}, { signal }));
  }
}
