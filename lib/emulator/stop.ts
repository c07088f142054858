/** Ending an instance: suspended, shut down, or dropped. */

import { HotbootError, messageOf } from "../base/error.ts";
import type { GuestState } from "../snapshot/manifest.ts";
import { saveState } from "../snapshot/migration.ts";
import { GuestAgent } from "../vm/guest_agent.ts";
import type { QmpClient } from "../vm/qmp.ts";
import { within } from "../base/wait.ts";
import { type Emulator, lockInstance } from "../instance/emulator.ts";
import {
  channelsOf,
  clearInstance,
  findRunning,
  instancePath,
  type InstanceRecord,
  powerOff,
  type RunningInstance,
} from "../instance/instance.ts";
import { forgetKept, type Kept, readKept, sealState, writeKept } from "../instance/kept.ts";
import { quiesce } from "../guest/quiesce.ts";
import { detachShare, giveShare } from "../guest/share.ts";

/** How to stop. */
export interface StopOptions {
  /**
   * `suspend`, unless told: its memory, devices and disk are kept, and the next start goes on exactly there.
   * `shutdown`: the guest shuts itself down; its disk is kept, and the next start boots it.
   * `discard`: it is off at once, and all that it has kept is dropped.
   */
  how?: "suspend" | "shutdown" | "discard";
}

/** What ending an instance found. */
export interface StopResult {
  /** False when the instance did not run. */
  stopped: boolean;
  /** What it keeps for its next start, if anything. */
  kept?: "suspended" | "shut down";
}

/** A guest that has not shut itself down in this time is switched off. */
const SHUTDOWN_MS = 60_000;

/**
 * Stops the instance. No process but this instance's own QEMU is touched: it is asked for its uuid first, and then to end.
 *
 * Needs net permission for the instance's sockets, and read and write permission for the home.
 *
 * @param emulator Which, from {@linkcode openEmulator}.
 * @param options What is to be kept; all, unless told.
 * @returns Whether it ran, and what it keeps.
 * @throws {HotbootError} when it cannot be suspended (the guest runs on then), or QEMU hangs.
 * @throws The reason of the emulator's signal, when that aborts. The guest runs on then.
 *
 * @example
 * ```ts
 * import { openEmulator, stop } from "@hotboot/hotboot";
 *
 * const { stopped, kept } = await stop(await openEmulator());
 * console.log(stopped ? `it is ${kept}` : "it did not run");
 * ```
 */
export async function stop(emulator: Emulator, options: StopOptions = {}): Promise<StopResult> {
  const { how = "suspend" } = options;
  using _lock = await lockInstance(emulator);
  if (how === "discard") return await discard(emulator);
  // Its memory has been saved, and then something came in between.
  if ((await readKept(emulator))?.how === "suspended") await powerOff(emulator);
  let wasRunning: boolean;
  {
    await using running = await findRunning(emulator);
    wasRunning = running !== undefined;
    // What never became healthy, or has lost its record, is nothing to go on with.
    if (running?.record?.state === "running") {
      await (how === "suspend" ? suspend : shutDown)(emulator, running, running.record);
    }
  }
  await powerOff(emulator);
  await clearInstance(emulator);
  return { stopped: wasRunning, kept: (await readKept(emulator))?.how };
}

/**
 * Drops the instance, and removes all that it has left, its console's log too. Images and snapshots stay.
 *
 * Needs net permission for the instance's sockets, and read and write permission for the home.
 *
 * @param emulator Which, from {@linkcode openEmulator}.
 * @returns Whether it ran.
 * @throws {HotbootError} when QEMU hangs.
 *
 * @example
 * ```ts
 * import { openEmulator, reset, start } from "@hotboot/hotboot";
 *
 * const emulator = await openEmulator();
 * await reset(emulator);
 * console.log((await start(emulator)).origin); // resume
 * ```
 */
export async function reset(emulator: Emulator): Promise<StopResult> {
  using _lock = await lockInstance(emulator);
  const result = await discard(emulator);
  await Deno.remove(emulator.home.instance(emulator.instance), { recursive: true }).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
  return result;
}

async function discard(emulator: Emulator): Promise<StopResult> {
  const stopped = await powerOff(emulator);
  await forgetKept(emulator);
  await clearInstance(emulator);
  return { stopped };
}

async function suspend(emulator: Emulator, { qmp }: RunningInstance, record: InstanceRecord): Promise<void> {
  const { signal, report } = emulator;
  const { migration } = await channelsOf(emulator);
  await forgetKept(emulator); // of an earlier attempt
  try {
    await detachShare(emulator, qmp);
    const sleeping = await sleepingGuest(emulator, qmp);
    const guest = await sleeping();
    report.step("save the memory");
    await saveState(qmp, "all", migration, instancePath(emulator, "state"), { signal });
    const memory = { guest, state: await sealState(emulator) };
    await writeKept(emulator, { ...keptOf(record), how: "suspended", memory });
  } catch (error) {
    await forgetKept(emulator);
    await qmp.execute("cont");
    await giveShare({ ...emulator, signal: new AbortController().signal }, qmp).catch((error) => {
      report.warn(`the guest has not got the host's files any more: ${messageOf(error)}`);
    });
    signal.throwIfAborted();
    throw new HotbootError(
      `not suspended, and the guest runs on: ${messageOf(error)}; 'hotboot stop --shutdown' keeps only its disk`,
    );
  }
}

/** Looks at the guest's clock; what it gives stops the guest, and says what is to be known of it. */
async function sleepingGuest(emulator: Emulator, qmp: QmpClient): Promise<() => Promise<GuestState>> {
  const { running, status } = await qmp.execute<{ running: boolean; status: string }>("query-status");
  if (status === "postmigrate") {
    await qmp.execute("cont"); // a stop was killed when all had been saved: its disk was given up, and is taken back so
  } else if (!running) { // somebody has paused it
    const clock = { clock: "nothing", clockOffsetMs: 0, reseeds: false } as const;
    return () => Promise.resolve({ ...clock, stoppedAt: Date.now(), frozen: [], notFrozen: [] });
  }
  const { agent } = await channelsOf(emulator);
  const guest = await quiesce({ ...emulator, profile: { ...emulator.profile, freeze: [], hooks: {} } }, agent);
  return async () => {
    const stopped = qmp.waitForEvent(({ event }) => event === "STOP", "QEMU ('stop')", { timeoutMs: 10_000 });
    await qmp.execute("stop"); // also completes and flushes all disk writes
    return { ...guest, stoppedAt: (await stopped).time };
  };
}

async function shutDown(emulator: Emulator, { qmp }: RunningInstance, record: InstanceRecord): Promise<void> {
  const { signal, report } = emulator;
  await writeKept(emulator, { ...keptOf(record), how: "shut down" });
  try {
    await using agent = await GuestAgent.connect((await channelsOf(emulator)).agent, { signal });
    await agent.powerDown({ signal });
  } catch (error) {
    signal.throwIfAborted();
    report.detail(`the guest agent: ${messageOf(error)}`);
  }
  await qmp.execute("system_powerdown").catch(() => {}); // the button, for a guest without an agent
  try {
    await within(qmp.closed, "the guest's shutdown", { timeoutMs: SHUTDOWN_MS, signal });
  } catch (error) {
    signal.throwIfAborted();
    report.warn(`${messageOf(error)}: it is switched off, as when the power goes`);
  }
}

function keptOf({ profile, snapshot, secrets, identity }: InstanceRecord): Omit<Kept, "how"> {
  return { profile, snapshot, secrets, identity, stopped: new Date().toISOString() };
}
