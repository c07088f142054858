/** The accelerator that an emulator's guest runs with: which it is, what is said of it, and what happens when it is no good. */

import { HotbootError } from "../base/error.ts";
import { describePassedOver, type Hardware } from "../vm/accelerator.ts";
import type { Arch } from "../vm/arch.ts";
import { findQemu, passOverStuck, probeQemu, type QemuFacts, rememberedFacts } from "../vm/probe.ts";
import type { QmpClient } from "../vm/qmp.ts";
import { sleep } from "../base/wait.ts";
import type { Emulator } from "./emulator.ts";
import { type Home, privateDirectory } from "./home.ts";

/** How the names of the files begin that remember what a QEMU can do. */
const QEMU_CACHE = "qemu-";
/** A guest that boots and shows nothing for so long gets nowhere. */
const STUCK_MS = 60_000;
const LOOK_MS = 1000;

/** Another machine type than QEMU's newest, or another accelerator than what is best here. */
export interface QemuChoice {
  machineType?: string;
  accelerator?: string;
}

/** A guest that has got nowhere. */
export class StuckGuest extends HotbootError {
  /** For how long it has shown nothing. */
  readonly seconds: number;

  constructor(seconds: number, accelerator: string) {
    super(`with ${accelerator}, the guest has printed nothing and not used its disk for ${seconds} s`);
    this.seconds = seconds;
  }
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

/** Whether a person has named the accelerator. */
function isNamed(): boolean {
  return Boolean(Deno.env.get("HOTBOOT_ACCEL"));
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
 * emulation.
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
    if (!(error instanceof StuckGuest) || !allowed) throw error;
    emulator.report.warn(`${error.message}; it is booted again, by emulation`);
    const { arch, home, signal } = emulator;
    const cache = { facts: factsPath(home, arch, {}) };
    const stuck = { accelerator: accelerator as Hardware, seconds: error.seconds };
    return await boot(await passOverStuck(qemu.program, arch, cache, stuck, {}, { signal }));
  }
}

/** A machine that boots. */
export interface Booting {
  /** The QEMU that it runs in. */
  qemu: QemuFacts;
  /** Its monitor. */
  qmp: QmpClient;
  /** The files that it writes its texts to. */
  logs: string[];
  /** How long all of the boot may take, in milliseconds. */
  patienceMs: number;
}

/**
 * Does `work`, and no longer than the guest shows any sign of life: new text, or use of its disk. Without hardware
 * acceleration nothing is watched, since a guest is slow then and not stuck; nor with one that a person has named.
 *
 * @throws {StuckGuest} when it shows none for a minute, or half of its time where that is less; whatever `work` throws.
 */
export async function unlessStuck(
  emulator: Emulator,
  booting: Booting,
  work: (emulator: Emulator) => Promise<unknown>,
): Promise<void> {
  if (booting.qemu.accelerator === "tcg" || isNamed()) return void await work(emulator);
  const over = new AbortController();
  const watched = { ...emulator, signal: AbortSignal.any([emulator.signal, over.signal]) };
  const working = work(watched);
  try {
    await Promise.race([working, watchForStuck(watched.signal, booting)]);
  } finally {
    over.abort();
    await working.catch(() => {});
  }
}

async function watchForStuck(signal: AbortSignal, { qemu, qmp, logs, patienceMs }: Booting): Promise<never> {
  const limitMs = Math.min(STUCK_MS, patienceMs / 2);
  let last = "";
  let since = performance.now();
  while (true) {
    const sizes = await Promise.all(logs.map(async (path) => (await Deno.stat(path)).size));
    const disks = await qmp.execute<{ stats: Record<string, unknown> }[]>("query-blockstats", {}, { signal });
    const operations = disks.map(({ stats }) => [stats.rd_operations, stats.wr_operations]);
    const now = JSON.stringify([sizes, operations]);
    if (now !== last) [last, since] = [now, performance.now()];
    const quietMs = performance.now() - since;
    if (quietMs > limitMs) throw new StuckGuest(Math.round(quietMs / 1000), qemu.accelerator);
    await sleep(Math.min(LOOK_MS, limitMs / 4), signal);
  }
}
