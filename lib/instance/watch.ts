/** Watches a machine during work with it: whether QEMU lives, and whether its guest makes progress. */

import { HostError, HotbootError } from "../base/error.ts";
import { sleep } from "../base/wait.ts";
import type { QemuProcess } from "../vm/process.ts";
import type { QemuFacts } from "../vm/probe.ts";
import type { QmpClient } from "../vm/qmp.ts";
import type { Emulator } from "./emulator.ts";
import { lastPanic } from "./serial_log.ts";
import { SignsOfLife } from "./signs_of_life.ts";

/** How long QEMU may take to end after it closes its channels. */
const NOTICE_MS = 200;
/** A booting guest that shows nothing for this long is stuck. */
const STUCK_MS = 60_000;
/** The same without hardware acceleration, where a guest can be slow: so long, whatever its limit. */
const STUCK_EMULATED_MS = 150_000;
const LOOK_MS = 1000;
/** After a panic's last line. */
const PANICKED_MS = 5000;

/**
 * Runs `work` with the emulator while QEMU lives and can use its disk; otherwise fails with the reason. Returns, or throws,
 * only when `work` has ended.
 *
 * @param until What the work waits for, to complete the sentence "QEMU ended before …".
 */
export async function whileAlive(
  emulator: Emulator,
  qemu: QemuProcess,
  work: (emulator: Emulator) => Promise<unknown>,
  until = "the guest was healthy",
): Promise<void> {
  const over = new AbortController();
  const ended = qemu.exited.then(async ({ signal }) => {
    const Failure = signal && OWN_FAULTS.includes(signal) ? CrashedQemu : HotbootError;
    throw new Failure(`QEMU ended before ${until}: ${await qemu.reason()}`);
  });
  ended.catch(() => {});
  const failing = qemu.qmp.waitForEvent(
    ({ event, data }) => event === "BLOCK_IO_ERROR" && data.action !== "ignore",
    "the guest's disk",
  ).then(({ data }) => {
    throw new HostError(
      `the guest's disk cannot be ${data.operation === "read" ? "read" : "written"} (${data.reason})`,
      "free some space, or check the host's disk",
    );
  }, () => new Promise<never>(() => {})); // the monitor closed: the end of the process says why
  failing.catch(() => {});
  const working = work({ ...emulator, signal: AbortSignal.any([emulator.signal, over.signal]) });
  try {
    await Promise.race([working, ended, failing]);
  } catch (error) {
    emulator.signal.throwIfAborted();
    // A closed channel is noticed before the end of the process that closed it.
    await Promise.race([ended, sleep(NOTICE_MS)]);
    throw error;
  } finally {
    over.abort();
    await working.catch(() => {});
  }
}

/** What ends a program for a fault of its own: signal(7). Not SIGBUS, which a full disk raises here. */
const OWN_FAULTS: Deno.Signal[] = ["SIGABRT", "SIGSEGV", "SIGILL", "SIGFPE", "SIGTRAP"];

/** QEMU crashed: a bug of its own, and often a race. */
export class CrashedQemu extends HotbootError {}

/** A guest that does not come up. */
export class FailedGuest extends HotbootError {
  /** What it does, or prints. */
  readonly words: string;

  constructor(words: string, log: string) {
    super(`the guest does not come up (${words}): see its output in ${log}`);
    this.words = words;
  }
}

/** A guest that makes no progress. */
export class StuckGuest extends FailedGuest {
  /** For how long it has shown nothing. */
  readonly seconds: number;

  constructor(seconds: number, accelerator: string, log: string) {
    super(`with ${accelerator}, the guest has not printed anything or used its disk for ${seconds} s`, log);
    this.seconds = seconds;
  }
}

/** A guest whose kernel gave up. */
export class PanickedGuest extends FailedGuest {}

/** A booting machine. */
export interface Booting {
  /** The QEMU that runs it. */
  qemu: QemuFacts;
  /** Its monitor. */
  qmp: QmpClient;
  /** The files that contain its output, the console first. */
  logs: [string, ...string[]];
  /** The limit for the whole boot, in milliseconds. */
  patienceMs: number;
}

/**
 * Runs `work` while the guest shows any sign of life: new output, or use of its disk. With an accelerator that the user named,
 * only a panic ends it.
 *
 * @throws {StuckGuest} if there is no sign for a minute, or for half of the limit if that is less; with emulation, for two and a
 * half minutes.
 * @throws {PanickedGuest} soon after its kernel panicked.
 * @throws whatever `work` throws.
 */
export async function unlessStuck(
  emulator: Emulator,
  booting: Booting,
  work: (emulator: Emulator) => Promise<unknown>,
): Promise<void> {
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

async function watchForStuck(signal: AbortSignal, booting: Booting): Promise<never> {
  const { qemu, qmp, logs } = booting;
  const limitMs = stuckAfterMs(booting);
  const lookMs = Math.min(LOOK_MS, limitMs / 4);
  const signs = new SignsOfLife(logs, qmp);
  let since = performance.now();
  while (true) {
    if (await signs.areNew({ signal, timeoutMs: lookMs })) since = performance.now();
    const quietMs = performance.now() - since;
    if (quietMs > PANICKED_MS) {
      const panic = await lastPanic(logs[0]);
      if (panic?.isLast) throw new PanickedGuest(panic.words, logs[0]);
    }
    if (quietMs > limitMs) throw new StuckGuest(Math.round(quietMs / 1000), qemu.accelerator, logs[0]);
    await sleep(lookMs, signal);
  }
}

function stuckAfterMs({ qemu, patienceMs }: Booting): number {
  if (qemu.isPatient || isAcceleratorNamed()) return Infinity;
  return qemu.accelerator === "tcg" ? STUCK_EMULATED_MS : Math.min(STUCK_MS, patienceMs / 2);
}

/** Whether the user named the accelerator. */
export function isAcceleratorNamed(): boolean {
  return Boolean(Deno.env.get("HOTBOOT_ACCEL"));
}
