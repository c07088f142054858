/**
 * What state an instance is in: the one answer, for all commands.
 *
 *                                  start                        healthy, proven
 *     stopped ───────────────────────────────▶ starting ───────────────────────────▶ running ◀──────┐
 *        ▲                                      ▲  │ fails: back to where it was     │  ▲  │        │
 *        │ reset, stop --discard                │  ▼                                │  │  │ stop   │ start
 *        │                        suspended ────┤ abandoned                         │  │  ▼        │
 *        ├──────────────────────  shut down ────┤ (its hotboot died: start or stop  │  │ stopping ─┼──▶ suspended
 *        │                        crashed ──────┘  ends it, and is back there)      │  │  │ fails: │    shut down
 *        │                           ▲                                             │  └──┘ it runs │
 *        │                           └───── QEMU ends by itself: the disk is kept ◀┘     on        │
 *        │                                                                                          │
 *        └── from everywhere          running ──▶ paused (somebody stopped it, a full disk, a panic)┘
 *
 * `suspended` goes on in its memory, `shut down` and `crashed` boot their disk. `unresponsive`: QEMU does not answer.
 * `damaged`: what is written down cannot be understood. From each, `reset` leads back to `stopped`.
 */

import { HotbootError, messageOf } from "../base/error.ts";
import { within } from "../base/wait.ts";
import { attach } from "../vm/process.ts";
import type { QmpClient } from "../vm/qmp.ts";
import { channelsOf, instancePath, machineName } from "./channels.ts";
import type { Emulator } from "./emulator.ts";
import { isInstanceLocked } from "./locks.ts";
import { type Ending, type InstanceRecord, readRecord } from "./record.ts";

/** A state, by its name, with what belongs to it. Disposing of it closes the monitor, and nothing else. */
export type State =
  & AsyncDisposable
  & (
    /** Nothing is kept. */
    | { kind: "stopped" }
    /** Another command starts or captures it, or stops it, and has QEMU's monitor to itself. */
    | { kind: "starting" | "stopping"; record: InstanceRecord }
    | Up
    /** QEMU has ended, and the next start goes on there. */
    | { kind: Ending; record: InstanceRecord }
    /** QEMU runs, and the hotboot has died that was starting or ending it. */
    | { kind: "abandoned"; record: InstanceRecord; qmp: QmpClient }
    /** QEMU is there, and does not answer. */
    | { kind: "unresponsive"; record?: InstanceRecord; why: string }
    /** What is written down cannot be understood, or is lost while QEMU runs. */
    | { kind: "damaged"; why: string; qmp?: QmpClient }
  );

/** A guest that is up; `paused`: its CPUs stand still, for the reason that QEMU's run state gives. */
export type Up =
  & AsyncDisposable
  & { record: InstanceRecord; qmp: QmpClient }
  & (
    | { kind: "running" }
    | { kind: "paused"; runState: string }
  );

/** One of the states' names. */
export type StateName =
  | Ending
  | "stopped"
  | "starting"
  | "running"
  | "paused"
  | "stopping"
  | "abandoned"
  | "unresponsive"
  | "damaged";

/** Whether there is no QEMU in this state, and none is being started. */
export function isAtRest(state: StateName): boolean {
  return ["stopped", "suspended", "shut down", "crashed"].includes(state);
}

/** From QEMU's order to end to its end. */
const QUIT_MS = 10_000;

/**
 * The instance's state now.
 *
 * @param options `isOwner`: the caller holds the instance's lock, so that nobody else is starting or stopping it.
 * @throws {HotbootError} when the directory of its sockets is somebody else's.
 */
export async function stateOf(emulator: Emulator, { isOwner = false } = {}): Promise<State> {
  let found = await readRecord(emulator);
  while (!isOwner && found && "profile" in found && isUnderWay(found)) {
    const record = found;
    if (await isInstanceLocked(emulator)) {
      return disposable({ kind: record.phase as "starting" | "stopping", record });
    }
    found = await readRecord(emulator); // whoever held the lock has written its last by now
    if (JSON.stringify(found) === JSON.stringify(record)) break;
  }
  const record = found && "profile" in found ? found : undefined;
  let qmp: QmpClient | undefined;
  const monitor = await ownMonitor(emulator);
  try {
    const { instance, signal } = emulator;
    const who = record?.uuid ? { uuid: record.uuid } : { name: machineName(instance) };
    if (monitor !== undefined) qmp = await attach(monitor, who, { signal });
  } catch (error) {
    emulator.signal.throwIfAborted();
    if (!(error instanceof HotbootError)) throw error;
    return disposable({ kind: "unresponsive", ...(record && { record }), why: messageOf(error) });
  }
  const damage = found && "damaged" in found ? found.damaged : undefined;
  if (!qmp) return disposable(damage === undefined ? atRest(record) : { kind: "damaged" as const, why: damage });
  if (!record) {
    const why = damage ?? `${instancePath(emulator, "record")} is missing`;
    return disposable({ kind: "damaged", why: `it runs, and ${why}`, qmp });
  }
  try {
    return disposable(await stateWith(qmp, record));
  } catch (error) {
    await qmp.close();
    throw error;
  }
}

function isUnderWay({ phase }: InstanceRecord): boolean {
  return phase === "starting" || phase === "stopping";
}

/** The state of one without a QEMU. */
function atRest(record?: InstanceRecord): { kind: "stopped" } | { kind: Ending; record: InstanceRecord } {
  if (record?.memory) return { kind: "suspended", record };
  if (!record?.isDiskKept) return { kind: "stopped" };
  return { kind: record.phase === "stopped" ? record.ended?.how ?? "crashed" : "crashed", record };
}

async function stateWith(qmp: QmpClient, record: InstanceRecord) {
  // One whose memory has been saved waits for its end, or for its beginning: neither is a guest that runs.
  const isInBetween = record.memory || record.phase === "starting" || record.phase === "stopped";
  if (isInBetween) return { kind: "abandoned" as const, record, qmp };
  const { running, status } = await qmp.execute<{ running: boolean; status: string }>("query-status");
  return running
    ? { kind: "running" as const, record, qmp }
    : { kind: "paused" as const, record, qmp, runState: status };
}

function disposable<const T extends { kind: string }>(state: T): T & AsyncDisposable {
  const { qmp } = state as { qmp?: QmpClient };
  return { ...state, [Symbol.asyncDispose]: async () => await qmp?.close() };
}

/**
 * The path of the monitor's socket, where its directory is there. That is closed to others, and still whoever answers there
 * is asked who it is: it must have the uuid that was written down or, where that was lost, the instance's name.
 *
 * @throws {HotbootError} when the directory is somebody else's, whom nothing is to be told.
 */
async function ownMonitor(emulator: Emulator): Promise<string | undefined> {
  const { home, instance } = emulator;
  const { directory, monitor } = await channelsOf(emulator);
  if (directory !== home.instance(instance) && !await home.hasShortDirectory(directory)) return undefined;
  return monitor;
}

/**
 * The state of an instance whose lock is held, after what a killed command has left has been ended: never `starting`,
 * `stopping` or `abandoned`.
 *
 * @throws {HotbootError} when the instance is of another profile, QEMU does not answer, or the record is damaged.
 */
export async function settledState(emulator: Emulator): Promise<Settled> {
  const state = await stateOf(emulator, { isOwner: true });
  try {
    requireOwn(emulator, state);
    if (state.kind === "damaged" || state.kind === "unresponsive") throw refusal(emulator, state);
    if (state.kind !== "abandoned") return state as Settled;
    await quit(state.qmp, emulator.signal);
  } catch (error) {
    await state[Symbol.asyncDispose]();
    throw error;
  }
  return await settledState(emulator);
}

/** See {@linkcode settledState}. */
export type Settled = Extract<State, { kind: "stopped" | "running" | "paused" | Ending }>;

/** Ends QEMU, as when the power goes, and returns when it has ended. */
export async function quit(qmp: QmpClient, signal?: AbortSignal): Promise<void> {
  await qmp.execute("quit").catch(() => {}); // it may close before it answers
  await within(qmp.closed, "QEMU ('quit')", { timeoutMs: QUIT_MS, signal });
}

/** No command acts on another profile's machine. @throws {HotbootError} when this is one. */
export function requireOwn({ profile, instance }: Emulator, state: State): void {
  const record = "record" in state ? state.record : undefined;
  if (!record || record.profile === profile.name) return;
  throw new HotbootError(
    `instance '${instance}' is ${state.kind}, and of profile '${record.profile}': say --profile ${record.profile}, or name another --instance`,
  );
}

/** A guest that is up. @throws {HotbootError} when it is not, with what to do. */
export async function requireUp(emulator: Emulator): Promise<Up> {
  const state = await stateOf(emulator);
  if (state.kind === "running" || state.kind === "paused") {
    try {
      requireOwn(emulator, state);
      return state as Up;
    } catch (error) {
      await state[Symbol.asyncDispose]();
      throw error;
    }
  }
  await state[Symbol.asyncDispose]();
  requireOwn(emulator, state);
  throw refusal(emulator, state);
}

/** Why a guest's CPUs stand still, and what to do, by QEMU's run state ("QMP Reference Manual", RunState). */
export function whyPaused({ home }: Emulator, runState: string): string {
  if (runState === "io-error") {
    return `its disk cannot be written: make room where ${home.instances} is, and 'hotboot start' has it go on`;
  }
  return `its CPUs have been stopped (${runState}): 'hotboot start' has it go on`;
}

/** Why an instance in this state is not to be used, and what to do. */
export function refusal(emulator: Emulator, state: State): HotbootError {
  const it = `instance '${emulator.instance}'`;
  switch (state.kind) {
    case "stopped":
      return new HotbootError(`${it} does not run: 'hotboot start' starts it`);
    case "starting":
      return new HotbootError(`${it} is still being started: try again when it is up`);
    case "stopping":
      return new HotbootError(`${it} is being stopped: try again when that is done`);
    case "suspended":
    case "shut down":
    case "crashed":
      return new HotbootError(`${it} does not run, it is ${state.kind}: 'hotboot start' has it go on`);
    case "abandoned":
      return new HotbootError(`${it} was left in the middle by a hotboot that died: 'hotboot start' starts it again`);
    case "unresponsive": {
      const { pid } = state.record ?? {};
      const which = pid === undefined ? "" : ` (process ${pid})`;
      return new HotbootError(
        `QEMU of ${it}${which} does not answer: ${state.why}; wait, or end it with 'hotboot reset', which drops the instance`,
      );
    }
    case "damaged":
      return new HotbootError(
        `${it} cannot be used: ${state.why}; 'hotboot reset' drops it, with its disk (${
          instancePath(emulator, "disk")
        })`,
      );
    default:
      return new HotbootError(`${it} runs: stop it first ('hotboot stop')`);
  }
}
