/**
 * The state of an instance: one answer for all commands.
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
 * `suspended` continues from its memory, `shut down` and `crashed` boot their disk. `unresponsive`: QEMU does not answer.
 * `damaged`: the record cannot be read. From every state, `reset` leads back to `stopped`.
 */

import { HotbootError, messageOf } from "../base/error.ts";
import { within } from "../base/wait.ts";
import { attach } from "../vm/process.ts";
import type { QmpClient } from "../vm/qmp.ts";
import { channelsOf, instancePath, machineName } from "./channels.ts";
import type { Emulator } from "./emulator.ts";
import { requireNoLinks } from "./home.ts";
import { isInstanceLocked } from "./locks.ts";
import { type DamagedRecord, type Ending, type InstanceRecord, readRecord } from "./record.ts";

/** A state, with its data. Disposing of it closes the monitor, and nothing else. */
export type State =
  & AsyncDisposable
  & (
    /** Nothing is saved. */
    | { kind: "stopped" }
    /** Another command is starting, capturing or stopping it, and holds QEMU's monitor. */
    | { kind: "starting" | "stopping"; record: InstanceRecord }
    | Up
    /** QEMU has ended, and the next start continues there. */
    | { kind: Ending; record: InstanceRecord }
    /** QEMU runs, but the hotboot that was starting or ending it died. */
    | { kind: "abandoned"; record: InstanceRecord; qmp: QmpClient }
    /** QEMU runs, but does not answer. */
    | { kind: "unresponsive"; record?: InstanceRecord; why: string }
    /** The record cannot be read, or is missing while QEMU runs. */
    | { kind: "damaged"; why: string; qmp?: QmpClient }
  );

/** A guest that is up; `paused`: its CPUs stand still, for the reason in QEMU's run state. */
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

/** The limit for QEMU to end after the command to do so. */
const QUIT_MS = 10_000;

/**
 * The instance's state now. Another command may end or start it while this looks: so the record must be the same before and
 * after, or this looks again. Each of them writes the record before QEMU ends or starts.
 *
 * @param options `isOwner`: the caller holds the instance's lock, so nobody else is starting or stopping it.
 * @throws {HotbootError} if the directory of its sockets belongs to another user.
 */
export async function stateOf(emulator: Emulator, { isOwner = false } = {}): Promise<State> {
  let found = await readRecord(emulator);
  while (true) {
    const state = await stateBy(emulator, found, isOwner);
    if (isOwner) return state;
    const now = await readRecord(emulator);
    if (JSON.stringify(now) === JSON.stringify(found)) return state;
    await state[Symbol.asyncDispose]();
    found = now;
  }
}

/** What the record says and what answers, put together. */
async function stateBy(
  emulator: Emulator,
  found: InstanceRecord | DamagedRecord | undefined,
  isOwner: boolean,
): Promise<State> {
  const record = found && "profile" in found ? found : undefined;
  if (!isOwner && record && isUnderWay(record) && await isInstanceLocked(emulator)) {
    return disposable({ kind: record.phase as "starting" | "stopping", record });
  }
  let qmp: QmpClient | undefined;
  const monitor = await ownMonitor(emulator);
  try {
    const { instance, signal } = emulator;
    const who = record?.uuid ? { uuid: record.uuid } : { name: machineName(instance) };
    if (monitor !== undefined) qmp = await attach(monitor, who, { signal });
  } catch (error) {
    emulator.signal.throwIfAborted();
    // One that was made after this command got its permissions, which name the sockets that there were: it is being started.
    const isNew = error instanceof Deno.errors.NotCapable && !isOwner;
    if (isNew && record) return disposable({ kind: "starting" as const, record });
    if (!isNew && !(error instanceof HotbootError)) throw error;
    if (!isNew) return disposable({ kind: "unresponsive", ...(record && { record }), why: messageOf(error) });
  }
  const damage = found && "damaged" in found ? found.damaged : undefined;
  if (!qmp) return disposable(damage === undefined ? atRest(record) : { kind: "damaged" as const, why: damage });
  if (!record) {
    const why = damage ?? `${instancePath(emulator, "record")} is missing`;
    return disposable({ kind: "damaged", why: `it runs, but ${why}`, qmp });
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

/** The state of an instance without a QEMU. */
function atRest(record?: InstanceRecord): { kind: "stopped" } | { kind: Ending; record: InstanceRecord } {
  if (record?.memory) return { kind: "suspended", record };
  if (!record?.isDiskKept) return { kind: "stopped" };
  return { kind: record.phase === "stopped" ? record.ended?.how ?? "crashed" : "crashed", record };
}

async function stateWith(qmp: QmpClient, record: InstanceRecord) {
  // With saved memory, it is about to end or has not begun: in neither case does the guest run.
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
 * The path of the monitor's socket, if its directory exists. The directory is closed to others, and still the answering QEMU
 * is asked who it is: it must have the recorded uuid or, if the record is lost, the instance's name.
 *
 * @throws {HotbootError} if the directory belongs to another user, who must not learn anything.
 */
async function ownMonitor(emulator: Emulator): Promise<string | undefined> {
  const { home, instance } = emulator;
  const { directory, monitor } = await channelsOf(emulator);
  if (directory !== home.instance(instance) && !await home.hasShortDirectory(directory)) return undefined;
  return monitor;
}

/**
 * The state of an instance whose lock is held, after ending what a killed command left running: never `starting`, `stopping`
 * or `abandoned`.
 *
 * @throws {HotbootError} if the instance belongs to another profile, QEMU does not answer, the record is damaged, or one of the
 * instance's files is a link.
 */
export async function settledState(emulator: Emulator): Promise<Settled> {
  await requireNoLinks(emulator.home.instance(emulator.instance));
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

/** Ends QEMU at once, as a power cut would, and returns when it has ended. */
export async function quit(qmp: QmpClient, signal?: AbortSignal): Promise<void> {
  await qmp.execute("quit").catch(() => {}); // QEMU may close the channel before it answers
  await within(qmp.closed, "QEMU ('quit')", { timeoutMs: QUIT_MS, signal });
}

/** No command acts on another profile's machine. @throws {HotbootError} if this is one. */
export function requireOwn({ profile, instance }: Emulator, state: State): void {
  const record = "record" in state ? state.record : undefined;
  if (!record || record.profile === profile.name) return;
  throw new HotbootError(
    `instance '${instance}' is ${state.kind} and belongs to profile '${record.profile}': type --profile ${record.profile}, or name another --instance`,
  );
}

/** A running guest. @throws {HotbootError} if it does not run, or its CPUs stand still, with what to do. */
export async function requireUp(emulator: Emulator): Promise<Up> {
  const state = await stateOf(emulator);
  try {
    requireOwn(emulator, state);
    if (state.kind === "running") return state;
    throw state.kind === "paused" ? standsStill(emulator, state.runState) : refusal(emulator, state);
  } catch (error) {
    await state[Symbol.asyncDispose]();
    throw error;
  }
}

/** The error of what needs a guest whose CPUs run. */
export function standsStill(emulator: Emulator, runState: string): HotbootError {
  return new HotbootError(`instance '${emulator.instance}' is paused: ${whyPaused(emulator, runState)}`);
}

/** Why a guest's CPUs stand still, by QEMU's run state ("QMP Reference Manual", RunState), and what to do. */
export function whyPaused({ home }: Emulator, runState: string): string {
  if (runState === "io-error") {
    return `its disk cannot be written: free some space for ${home.instances}, or raise your quota there, then 'hotboot start' continues it`;
  }
  return `its CPUs were stopped (${runState}): 'hotboot start' continues it`;
}

/** Why an instance in this state cannot be used, and what to do. */
export function refusal(emulator: Emulator, state: State): HotbootError {
  const it = `instance '${emulator.instance}'`;
  switch (state.kind) {
    case "stopped":
      return new HotbootError(`${it} does not run: 'hotboot start' starts it`);
    case "starting":
      return new HotbootError(`${it} is still starting: try again when it is up`);
    case "stopping":
      return new HotbootError(`${it} is being stopped: try again when it has stopped`);
    case "suspended":
    case "shut down":
    case "crashed":
      return new HotbootError(`${it} does not run, it is ${state.kind}: 'hotboot start' continues it`);
    case "abandoned":
      return new HotbootError(`${it} was left unfinished by a hotboot that died: 'hotboot start' starts it again`);
    case "unresponsive": {
      const { pid } = state.record ?? {};
      const which = pid === undefined ? "" : ` (process ${pid})`;
      return new HotbootError(
        `QEMU of ${it}${which} does not answer: ${state.why}; wait, or drop the instance with 'hotboot reset'`,
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
