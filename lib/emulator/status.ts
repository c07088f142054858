/** What there is of an emulator, and how it does. */

import { attemptOnce } from "../base/attempts.ts";
import { messageOf } from "../base/error.ts";
import type { Engine } from "../snapshot/manifest.ts";
import { newestSnapshot } from "../snapshot/store.ts";
import type { PassedOver } from "../vm/accelerator.ts";
import { knownQemuFacts } from "../instance/acceleration.ts";
import { type Emulator, imageKey } from "../instance/emulator.ts";
import { healthAttempt } from "../guest/health.ts";
import { hasUnknownImage, imagePath, type ImageRecord, readImage } from "../image/image.ts";
import { readKept } from "../instance/kept.ts";
import { lostSecrets } from "../guest/rotate.ts";
import { findRunning, isBeingStarted, type Origin, urlsOf } from "../instance/instance.ts";

/** What there is of an emulator. */
export interface Status {
  /** The profile's name. */
  profile: string;
  /** The instance's name. */
  instance: string;
  /**
   * A `suspended` one goes on with the next start, and a `shut down` one boots its own disk again. `paused` is a
   * machine whose CPUs somebody has stopped; `abandoned` what a killed command has left running, which the next start
   * or stop ends.
   */
  state: "stopped" | "suspended" | "shut down" | "starting" | "running" | "paused" | "abandoned";
  /** Of an instance that runs. */
  running?: {
    /** The profile that it was started with, by its name. */
    profile: string;
    /** How it was started. */
    origin: Origin;
    /** When, ISO 8601. */
    started: string;
    /** QEMU's process id. */
    pid?: number;
    /** The snapshot that it was resumed from. */
    snapshot?: string;
    /** Whether its secrets are its own; absent where the profile has none. */
    secrets?: "rotated" | "placeholders";
    /** Where its services are. */
    urls: Record<string, string>;
    /** For each health check whether it is green; none where it runs another profile than the emulator's. */
    health: Record<string, boolean>;
    /** Why its own secrets are no longer in effect, where a service has taken its placeholders back. */
    lostSecrets?: string;
  };
  /** How QEMU runs guests here, as far as an earlier command has found out. */
  acceleration?: {
    /** `kvm`, `hvf` or `tcg`, which emulates. */
    accelerator: string;
    /** The hardware accelerator that is not used, and why. */
    passedOver?: PassedOver;
  };
  /** The image, if there is one, with when it was put in place (ISO 8601); `error` says what is wrong with it. */
  image?: { path: string; created: string; bytes: number; origin: ImageRecord["origin"] } | { error: string };
  /** The newest snapshot, if there is one, with when it was captured (ISO 8601); `error` says why it is of no use. */
  snapshot?: { id: string; created: string; engine: Engine } | { error: string };
}

/**
 * Looks at the emulator. Nothing is changed and nothing is waited for but the health checks' answers.
 *
 * Needs read permission for the home, and env permission for `HOTBOOT_ACCEL`; for an instance that runs, net permission for its sockets and ports.
 *
 * @param emulator Which, from {@linkcode openEmulator}.
 * @returns What there is. What is wrong with the image or the snapshot is in it, and nothing is thrown for that.
 * @throws {HotbootError} when QEMU hangs.
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
  const [running, qemu, image, snapshot] = await Promise.all([
    describeRunning(emulator),
    knownQemuFacts(emulator),
    describeImage(emulator),
    describeSnapshot(emulator),
  ]);
  return {
    profile: emulator.profile.name,
    instance: emulator.instance,
    state: "stopped",
    ...running,
    ...(qemu && { acceleration: { accelerator: qemu.accelerator, passedOver: qemu.passedOver } }),
    ...(image && { image }),
    ...(snapshot && { snapshot }),
  };
}

async function describeRunning(emulator: Emulator): Promise<Partial<Status>> {
  if (await isBeingStarted(emulator)) return { state: "starting" };
  await using found = await findRunning(emulator);
  if (!found) {
    const kept = await readKept(emulator);
    return kept ? { state: kept.how } : {};
  }
  const { record, qmp } = found;
  if (record?.state !== "running") return { state: "abandoned" };
  const { running } = await qmp.execute<{ running: boolean }>("query-status");
  const checks = record.profile === emulator.profile.name ? emulator.profile.health : [];
  const health = await Promise.all(checks.map(async (check) => {
    const failure = running ? await attemptOnce(healthAttempt(check, record.ports), emulator.signal) : "paused";
    return [check.name, failure === undefined] as const;
  }));
  const isOwn = record.profile === emulator.profile.name;
  const lost = running && isOwn ? await lostSecrets(emulator, record) : undefined;
  return {
    state: running ? "running" : "paused",
    running: {
      profile: record.profile,
      origin: record.origin,
      started: record.started,
      pid: record.pid,
      snapshot: record.snapshot,
      ...(record.secrets && { secrets: record.secrets }),
      urls: urlsOf(emulator, record),
      health: Object.fromEntries(health),
      ...(lost && { lostSecrets: lost }),
    },
  };
}

async function describeImage(emulator: Emulator): Promise<Status["image"]> {
  try {
    const image = await readImage(emulator, { look: "only" });
    if (!image && await hasUnknownImage(emulator)) {
      return {
        error: `${imagePath(emulator, "disk")}, which hotboot has not put there: 'hotboot start' takes it over`,
      };
    }
    if (!image) return undefined;
    const { record, paths } = image;
    const bytes = Object.values(record.files).reduce((sum, { size }) => sum + size, 0);
    return { path: paths.disk, created: record.created, bytes, origin: record.origin };
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
