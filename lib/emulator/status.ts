/** What exists of an emulator, and how it is doing. */

import { attemptOnce } from "../base/attempts.ts";
import { HotbootError, messageOf } from "../base/error.ts";
import { rightClockInPassing } from "../guest/clock.ts";
import { crashOf, whyCrashed } from "../guest/crash.ts";
import { healthAttempt } from "../guest/health.ts";
import { lostSecrets } from "../guest/rotate.ts";
import { hasUnknownImage, imagePath, type ImageRecord, readImage } from "../image/image.ts";
import { knownQemuFacts } from "../instance/acceleration.ts";
import { type Emulator, imageKey } from "../instance/emulator.ts";
import type { InstanceRecord, Origin } from "../instance/record.ts";
import { trimSerialLog } from "../instance/serial_log.ts";
import { warnOfLittleSpace } from "../instance/space.ts";
import { sparesOf, wantedSpares } from "../instance/spares.ts";
import { refusal, type State, type StateName, stateOf, whyPaused } from "../instance/state.ts";
import { urlsOf } from "../instance/urls.ts";
import type { SavedBy } from "../snapshot/manifest.ts";
import { newestSnapshot } from "../snapshot/store.ts";
import type { PassedOver } from "../vm/accelerator.ts";

/** How long services may take to show which secrets are in effect. */
const PATIENCE_S = 3;

/** What exists of an emulator. */
export interface Status {
  /** The profile's name. */
  profile: string;
  /** The instance's name. */
  instance: string;
  /** The instance's profile, if that is another one than the emulator's. */
  of?: string;
  /**
   * `suspended` continues with the next start; `shut down` and `crashed` (its QEMU ended by itself) boot their own disk.
   * `paused`: the CPUs stand still. `abandoned`: a killed command left it running, and the next start or stop ends it.
   * `unresponsive`: its QEMU does not answer. `damaged`: its record cannot be read.
   */
  state: StateName;
  /** What to know about a state that needs attention, and what to do. */
  why?: string;
  /** Only for a running instance. */
  running?: {
    /** How it was started. */
    origin: Origin;
    /** When, ISO 8601. */
    started: string;
    /** QEMU's process id. */
    pid?: number;
    /** The snapshot below its disk. */
    snapshot?: string;
    /** Whether its secrets are its own; absent if the profile has none. */
    secrets?: "rotated" | "placeholders";
    /** Where its services are. */
    urls: Record<string, string>;
    /** The host's ports, by the names of the profile's. */
    ports: Record<string, number>;
    /** Whether each health check passes; empty if the instance runs another profile than the emulator's. */
    health: Record<string, boolean>;
    /** Why its own secrets are no longer in effect, if a service has taken its placeholders back. */
    lostSecrets?: string;
  };
  /** How QEMU runs guests here, as far as an earlier command found out. */
  acceleration?: {
    /** `kvm`, `hvf`, or `tcg` for emulation. */
    accelerator: string;
    /** The hardware accelerator that is not used, and why. */
    passedOver?: PassedOver;
  };
  /** The image, if there is one, with when it was put in place (ISO 8601); `error` says what is wrong with it. */
  image?: ({ path: string; bytes: number } & Omit<ImageRecord, "files">) | { error: string };
  /** The newest snapshot, if there is one, with when it was captured (ISO 8601); `error` says why it cannot be used. */
  snapshot?: { id: string; created: string; engine: SavedBy } | { error: string };
  /** Its spares, unless there are none and none are wanted. */
  spares?: { wanted: number; spares: number };
}

/**
 * Looks at the emulator. Waits only for the health checks' answers and the guest agent. Changes nothing but the clock of a
 * running guest that is off by more than a second, which it reports.
 *
 * Needs read permission for the home, and env permission for `HOTBOOT_ACCEL`; for a running instance, net permission for its sockets and ports.
 *
 * @param emulator The emulator, from {@linkcode openEmulator}.
 * @returns What exists. A fault of the instance, the image or the snapshot is part of the result, and not thrown.
 * @throws The reason of the emulator's signal, if it aborts.
 *
 * @example
 * ```ts
 * import { openEmulator, status } from "@hotboot/hotboot";
 *
 * const { state, running } = await status(await openEmulator());
 * console.log(state, running?.urls, running?.health);
 * ```
 */
export async function status(emulator: Emulator): Promise<Status> {
  const [instance, qemu, image, snapshot, wanted, spares] = await Promise.all([
    describeInstance(emulator, { andRightClock: true }),
    knownQemuFacts(emulator),
    describeImage(emulator),
    describeSnapshot(emulator),
    wantedSpares(emulator),
    sparesOf(emulator).then(({ length }) => length),
    warnOfLittleSpace(emulator),
  ]);
  return {
    profile: emulator.profile.name,
    instance: emulator.instance,
    ...instance,
    ...(qemu && { acceleration: { accelerator: qemu.accelerator, passedOver: qemu.passedOver } }),
    ...(image && { image }),
    ...(snapshot && { snapshot }),
    ...((wanted > 0 || spares > 0) && { spares: { wanted, spares } }),
  };
}

/** Whether it is this profile's and runs, with all of it healthy and its secrets in effect. */
export function isUp({ state, of, running }: Pick<Status, "state" | "of" | "running">): boolean {
  return state === "running" && of === undefined && running!.lostSecrets === undefined &&
    Object.values(running!.health).every(Boolean);
}

/** The instance alone. `andRightClock`: in passing, while its services answer. */
export async function describeInstance(
  emulator: Emulator,
  { andRightClock = false } = {},
): Promise<Pick<Status, "state" | "of" | "why" | "running">> {
  await trimSerialLog(emulator);
  const state = await stateOf(emulator);
  await state[Symbol.asyncDispose](); // QEMU serves one client at a time, and the rest takes a while
  const crash = await crashOf(emulator, state);
  const record = "record" in state ? state.record : undefined;
  const why = crash === undefined ? whyOf(emulator, state) : whyCrashed(crash);
  const runs = state.kind === "running" || state.kind === "paused";
  const isOther = record !== undefined && record.profile !== emulator.profile.name;
  const isAwake = state.kind === "running" && !isOther && crash === undefined;
  const [running] = await Promise.all([
    runs ? describeRunning(emulator, state.record, state.kind === "running") : undefined,
    andRightClock && isAwake ? rightClockInPassing(emulator) : undefined,
  ]);
  return {
    state: state.kind,
    ...(isOther && { of: record.profile }),
    ...(why !== undefined && { why }),
    ...(running && { running }),
  };
}

/** What to know of a state that is none to be content with, and what to do. */
export function whyOf(emulator: Emulator, state: State): string | undefined {
  if (state.kind === "paused") return whyPaused(emulator, state.runState);
  if (["abandoned", "unresponsive", "damaged"].includes(state.kind)) return messageOf(refusal(emulator, state));
}

async function describeRunning(
  emulator: Emulator,
  record: InstanceRecord,
  isRunning: boolean,
): Promise<Status["running"]> {
  const { profile, signal } = emulator;
  const unanswered = (error: unknown) => { // says nothing about the secrets, and may show in the health
    signal.throwIfAborted();
    if (!(error instanceof HotbootError)) throw error;
    return undefined;
  };
  const isOwn = record.profile === profile.name;
  const health = await healthOf(emulator, record, isRunning);
  const lost = isRunning && isOwn ? await lostSecrets(emulator, record, PATIENCE_S).catch(unanswered) : undefined;
  const { origin, started, pid, snapshot, secrets } = record;
  return {
    ...{ origin, started, pid, snapshot },
    ...(secrets && { secrets }),
    urls: urlsOf(emulator, record),
    ports: record.ports,
    health,
    ...(lost && { lostSecrets: lost }),
  };
}

/** Whether each health check passes; empty if the instance runs another profile than the emulator's. */
export async function healthOf(
  { profile, signal }: Emulator,
  record: InstanceRecord,
  isRunning: boolean,
): Promise<Record<string, boolean>> {
  const checks = record.profile === profile.name ? profile.health : [];
  const health = await Promise.all(checks.map(async (check) => {
    const failure = isRunning ? await attemptOnce(healthAttempt(check, record.ports), signal) : "paused";
    return [check.name, failure === undefined] as const;
  }));
  return Object.fromEntries(health);
}

async function describeImage(emulator: Emulator): Promise<Status["image"]> {
  try {
    const image = await readImage(emulator, { look: "only" });
    if (!image && await hasUnknownImage(emulator)) {
      return {
        error: `${imagePath(emulator, "disk")} was not put there by hotboot: 'hotboot start' adopts it`,
      };
    }
    if (!image) return undefined;
    const { record, paths } = image;
    const bytes = Object.values(record.files).reduce((sum, { size }) => sum + size, 0);
    const { files: _files, ...rest } = record;
    return { path: paths.disk, bytes, ...rest };
  } catch (error) {
    return { error: messageOf(error) };
  }
}

async function describeSnapshot(emulator: Emulator): Promise<Status["snapshot"]> {
  try {
    const snapshot = await newestSnapshot(emulator.home.snapshots(imageKey(emulator)));
    if (!snapshot) return undefined;
    const { id, created, engine } = snapshot.manifest;
    return { id, created, engine };
  } catch (error) {
    return { error: messageOf(error) };
  }
}
