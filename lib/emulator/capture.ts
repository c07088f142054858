/** Boots an emulator once and captures it warm. */

import { HotbootError, messageOf } from "../base/error.ts";
import type { Phase, Timeline } from "../base/timeline.ts";
import { quiesce } from "../guest/quiesce.ts";
import { checkProof } from "../guest/rotate.ts";
import { bootWithin } from "../instance/acceleration.ts";
import { type Emulator, imageKey } from "../instance/emulator.ts";
import { dropInstance } from "../instance/files.ts";
import { backingPath, privateDirectory } from "../instance/home.ts";
import { recorded } from "../instance/history.ts";
import { identityOf } from "../instance/identity.ts";
import { lockInstance, lockSnapshots } from "../instance/locks.ts";
import type { Setup } from "../instance/machine.ts";
import { refusal, settledState } from "../instance/state.ts";
import { removeOrphanedSpares } from "../instance/spares.ts";
import { usersOfSnapshots } from "../instance/users.ts";
import { whileAlive } from "../instance/watch.ts";
import { engineOf } from "../snapshot/engines.ts";
import { type Engine, type GuestState, type Identity, readManifest, SNAPSHOT_FILES } from "../snapshot/manifest.ts";
import { stopMachine } from "../snapshot/migration.ts";
import {
  commitSnapshot,
  prepareSnapshot,
  removeSnapshot,
  type Snapshot,
  snapshotIds,
  syncSnapshot,
  TEMPORARY_PREFIX,
} from "../snapshot/store.ts";
import { createOverlay, readQcow2Header } from "../vm/qcow2.ts";
import { becomeHealthyFirst } from "./boot.ts";
import { findFitting } from "./compatibility.ts";
import { launch, makeSetup } from "./launch.ts";
import { takePorts } from "./ports.ts";

/** How to capture. */
export interface CaptureOptions {
  /** Capture even if there is a snapshot that can be resumed. */
  force?: boolean;
  /** How to save RAM; the profile's engine by default. */
  engine?: Engine;
  /** Fail if the guest makes no progress with hardware acceleration; by default it then boots with emulation. */
  noFallback?: boolean;
}

/** The result of a capture. */
export interface CaptureResult {
  /** The snapshot's id. */
  snapshot: string;
  /** False if there was a usable snapshot already. */
  captured: boolean;
  /** Where the time went; empty if there was a usable snapshot already. */
  timeline: Phase[];
}

/** An engine could not save a healthy machine. */
class EngineError extends HotbootError {}

/**
 * Boots the emulator, waits until it is healthy, saves a snapshot and ends the machine. Gets the image first if there is
 * none.
 *
 * Needs the same permissions as {@linkcode start}.
 *
 * @param emulator The emulator, from {@linkcode openEmulator}.
 * @param options Whether to capture in any case, and how to save RAM.
 * @returns The snapshot, and whether it was captured now.
 * @throws {HotbootError} if the instance runs or has a disk, a port is taken, there is no QEMU or image, or the guest does
 * not become healthy within the profile's `timeouts.boot`. Earlier snapshots stay then.
 * @throws The reason of the emulator's signal, if it aborts. The machine is ended and nothing is left of the capture.
 *
 * @example
 * ```ts
 * import { capture, openEmulator } from "@hotboot/hotboot";
 *
 * const { snapshot, timeline } = await capture(await openEmulator(), { force: true });
 * for (const { name, startMs, endMs } of timeline) console.log(snapshot, name, endMs - startMs, "ms");
 * ```
 */
export async function capture(emulator: Emulator, options: CaptureOptions = {}): Promise<CaptureResult> {
  using _lock = await lockInstance(emulator);
  {
    await using state = await settledState(emulator);
    if (state.kind === "running" || state.kind === "paused") throw refusal(emulator, state);
    if (state.kind !== "stopped") {
      throw new HotbootError(
        `instance '${emulator.instance}' is ${state.kind}, and a capture would drop it: name another --instance, or drop it yourself ('hotboot stop --discard')`,
      );
    }
    await dropInstance(emulator); // leftovers of a killed start
  }
  return await recorded(
    emulator,
    "capture",
    (timeline) => captureLocked(emulator, options, timeline),
    ({ snapshot, captured }) => captured ? snapshot : undefined,
  );
}

async function captureLocked(
  emulator: Emulator,
  options: CaptureOptions,
  timeline: Timeline,
): Promise<CaptureResult> {
  const setup = await makeSetup(emulator, { again: true, timeline });
  if (!options.force) {
    const existing = await findFitting(emulator, setup, options.engine).catch(() => undefined);
    if (existing) return { snapshot: existing.manifest.id, captured: false, timeline: [] };
  }
  const taking = await takePorts(emulator, { isFresh: true });
  const { snapshot, captured } = await captureStopped(taking, setup, timeline, options);
  await timeline.phase("on disk", () => syncSnapshot(snapshot));
  return { snapshot: snapshot.manifest.id, captured, timeline: timeline.phases };
}

/**
 * The same for a stopped instance, under its lock, with ports that are free. The snapshot may not be on disk yet. What another
 * captured while this one waited for it will do, unless forced.
 *
 * @returns The snapshot, whether it was captured here, and the setup it was captured with, which differs from `setup` after a
 * second boot.
 */
export async function captureStopped(
  emulator: Emulator,
  setup: Setup,
  timeline: Timeline,
  { engine: wanted, noFallback, force }: CaptureOptions,
): Promise<{ snapshot: Snapshot; setup: Setup; captured: boolean }> {
  const { home, report } = emulator;
  const directory = home.snapshots(imageKey(emulator));
  const before = await snapshotIds(directory);
  using _lock = await lockSnapshots(emulator);
  const others = force ? undefined : await findFitting(emulator, setup, wanted).catch(() => undefined);
  if (others && !before.includes(others.manifest.id)) return { snapshot: others, setup, captured: false };
  await removeLeftovers(directory);

  const engine = await chooseEngine(emulator, setup, wanted);
  const captured = await bootWithin(emulator, setup.qemu, !noFallback, async (qemu) => {
    const booted = { ...setup, qemu };
    const snapshot = await captureWith(engine, emulator, booted, timeline).catch(async (error) => {
      const other = "mapped-ram";
      const isHopeless = !(error instanceof EngineError) || engine === other;
      if (isHopeless || (await engineOf(other)).impossible(qemu.version)) throw error;
      report.warn(`engine ${engine} does not work here (${messageOf(error)}): using ${other} instead`);
      return await captureWith(other, emulator, booted, timeline);
    });
    return { snapshot, setup: booted, captured: true };
  });
  const { snapshot } = captured;
  await removeOthers(emulator, directory, snapshot).catch((error) => {
    report.warn(`an earlier snapshot could not be removed: ${messageOf(error)}; 'hotboot snapshot prune' tries again`);
  });
  return captured;
}

/** The engine that is wanted, if it can work. */
async function chooseEngine({ profile, report }: Emulator, { qemu }: Setup, wanted?: Engine): Promise<Engine> {
  const name = wanted ?? profile.engine ?? "instant";
  const why = (await engineOf(name)).impossible(qemu.version);
  if (why === undefined) return name;
  report.warn(`${why}: using engine instant instead`);
  return "instant";
}

async function captureWith(
  name: Engine,
  emulator: Emulator,
  setup: Setup,
  timeline: Timeline,
): Promise<Snapshot> {
  const { home, profile, report, signal } = emulator;
  const { memory: ramMiB, cpus } = profile.machine;
  const engine = await engineOf(name);
  const directory = home.snapshots(imageKey(emulator));
  const prepared = await prepareSnapshot(directory, engine.hasRamFile ? ramMiB * 1024 * 1024 : undefined);
  try {
    report.step(`cold boot (${ramMiB} MiB, ${setup.qemu.accelerator}) to capture`);
    const disk = `${prepared}/${SNAPSHOT_FILES.disk}`;
    const { paths } = setup.image;
    const { virtualSize } = await readQcow2Header(paths.disk);
    await createOverlay(disk, await backingPath(home, prepared, paths.disk), virtualSize);
    const memory = engine.memory(prepared, "capture");

    const launched = await timeline.phase(
      "process",
      () => launch(emulator, setup, { memory, disk, origin: "cold boot" }),
    );
    await using _machine = launched;
    const { qemu, channels } = launched;
    let guest: Omit<GuestState, "stoppedAt">;
    await whileAlive(emulator, qemu, async (emulator) => {
      await becomeHealthyFirst(emulator, setup, launched, timeline);
      await checkProof(emulator, launched.record, timeline);
      guest = await timeline.phase("quiesce", () => quiesce(emulator));
    });

    report.step("capture");
    const context = { socket: channels.migration, threads: cpus, onProgress: report.progress };
    return await timeline.phase("capture", async () => {
      const stoppedAt = await stopMachine(qemu.qmp);
      await engine.save(qemu.qmp, prepared, context, { signal }).catch((error) => {
        signal.throwIfAborted();
        throw new EngineError(messageOf(error));
      });
      await qemu.quit();
      const cache = await engine.finish(prepared, context, signal);
      return await commitSnapshot(prepared, {
        engine: name,
        identity: identityOf(emulator, setup),
        guest: { ...guest, stoppedAt },
        ...(cache && { cache }),
      });
    });
  } finally {
    await Deno.remove(prepared, { recursive: true }).catch(() => {}); // a successful capture has moved it
  }
}

/**
 * Keeps the newest snapshot of these settings, and the latest few of other settings, so that switching between two memory
 * sizes does not need a capture each time. Snapshots that an instance uses stay in any case.
 */
async function removeOthers(emulator: Emulator, directory: string, { manifest }: Snapshot): Promise<void> {
  const inUse = await usersOfSnapshots(emulator);
  let others = 0;
  for (const id of (await snapshotIds(directory)).toReversed()) {
    if (id === manifest.id || inUse.has(id)) continue;
    const identity = await readManifest(`${directory}/${id}`).then(({ identity }) => identity, () => undefined);
    const isForOthers = identity !== undefined && isOfOtherSettings(identity, manifest.identity);
    if (isForOthers && ++others <= MOST_OTHERS) continue;
    await removeSnapshot(`${directory}/${id}`);
  }
  await removeOrphanedSpares(emulator);
}

const MOST_OTHERS = 2;
/** What a user chooses, and may choose again; the rest of an identity comes from the machine or the image. */
const SETTINGS = [
  "memory",
  "number of CPUs",
  "network",
  "config disk",
  "frozen units",
  "commands before the capture",
  "accelerator",
];

/** Whether the two differ only in settings, so that the snapshot can be resumed after the next change of them. */
function isOfOtherSettings(one: Identity, other: Identity): boolean {
  const differing = Object.keys({ ...one, ...other }).filter((name) => one[name] !== other[name]);
  return differing.length > 0 && differing.every((name) => SETTINGS.includes(name));
}

async function removeLeftovers(directory: string): Promise<void> {
  await privateDirectory(directory);
  for await (const { name } of Deno.readDir(directory)) {
    if (name.startsWith(TEMPORARY_PREFIX)) await Deno.remove(`${directory}/${name}`, { recursive: true });
  }
}
