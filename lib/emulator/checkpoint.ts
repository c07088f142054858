/** Checkpoints: a moment of an instance, kept by a name, from which instances are started. */

import { linkOrCopy, syncFile, writeJson } from "../base/files.ts";
import { HotbootError, messageOf } from "../base/error.ts";
import { quiesce, thaw } from "../guest/quiesce.ts";
import { cutOffExecs, requireNoExecs } from "../guest/exec_ports.ts";
import { detachShare, giveShare } from "../guest/share.ts";
import { wake } from "../guest/wake.ts";
import { steadyNow } from "../base/steady.ts";
import { Timeline } from "../base/timeline.ts";
import { CREDENTIALS, requireNewName } from "../instance/checkpoints.ts";
import { channelsOf, instancePath } from "../instance/channels.ts";
import { type Emulator, imageKey } from "../instance/emulator.ts";
import { readSecrets } from "../instance/files.ts";
import { backingPath } from "../instance/home.ts";
import { layerAtRest, layerDisk, pushLayer } from "../instance/layers.ts";
import { mergeLayers } from "../instance/merge.ts";
import { recorded } from "../instance/history.ts";
import { lockCheckpoints, lockInstance } from "../instance/locks.ts";
import { type InstanceRecord, writeRecord } from "../instance/record.ts";
import { withSpaceAdvice } from "../instance/space.ts";
import { refusal, type Settled, settledState, type Up, whyPaused } from "../instance/state.ts";
import { fingerprint } from "../snapshot/fingerprint.ts";
import { saveLive } from "../snapshot/flat.ts";
import { type Checkpoint, type GuestState, SNAPSHOT_FILES } from "../snapshot/manifest.ts";
import { stopMachine } from "../snapshot/migration.ts";
import { type Captured, commitSnapshot, prepareSnapshot } from "../snapshot/store.ts";
import { createOverlay, readQcow2Header } from "../vm/qcow2.ts";

/** What saving a checkpoint gave. */
export interface CheckpointResult {
  /** Its id. */
  id: string;
  /** What its user calls it. */
  name?: string;
  /** How long the instance stood still for it, in milliseconds; 0 for one that was suspended. */
  stoodStillMs: number;
}

/**
 * Saves the instance as it is now as a checkpoint. One that runs stands still only while the last part of its memory is
 * written; one that is suspended stays so. The units of a running one are frozen meanwhile, so that nothing of what is started from it runs before it has
 * secrets, a clock and randomness of its own.
 *
 * Needs net permission for the instance's sockets, and read and write permission for the home.
 *
 * @param emulator Which, from {@linkcode openEmulator}.
 * @param name What to call it: a letter, then letters, digits, `.`, `_` or `-`, at most 64.
 * @returns Its id, and how long the guest stood still.
 * @throws {HotbootError} when there is a checkpoint of that name, the instance neither runs nor is suspended, or it cannot be
 * saved. The guest runs on then, and there is no checkpoint.
 * @throws The reason of the emulator's signal, when that aborts; likewise.
 *
 * @example
 * ```ts
 * import { openEmulator, saveCheckpoint, start, stop } from "@hotboot/hotboot";
 *
 * const emulator = await openEmulator();
 * await saveCheckpoint(emulator, "before-migration");
 * // … a migration that goes wrong
 * await stop(emulator, { how: "discard" });
 * await start(emulator, { from: "before-migration" });
 * ```
 */
export async function saveCheckpoint(emulator: Emulator, name: string): Promise<CheckpointResult> {
  using _lock = await lockInstance(emulator);
  return await recorded(emulator, "save", async (timeline) => {
    const { stoodStillMs, result: id } = await saveLocked(emulator, { name }, (id) => Promise.resolve(id), timeline);
    return { id, name, stoodStillMs };
  }, () => name);
}

/** The same without a name, for a fork: after a crash of the host only its disk is trusted. */
export async function saveForFork<T>(
  emulator: Emulator,
  meanwhile: (id: string) => Promise<T>,
): Promise<{ stoodStillMs: number; result: T }> {
  using _lock = await lockInstance(emulator);
  return await recorded(
    emulator,
    "save",
    (timeline) =>
      saveLocked(emulator, { isForFork: true }, (id) => timeline.phase("fork", () => meanwhile(id)), timeline),
    () => "for a fork",
  );
}

/** How to save. */
interface SaveOptions extends Pick<Checkpoint, "name" | "profileDigest"> {
  /** The directory of what is saved, by the name of its image; that of checkpoints, if absent. */
  place?: (imageKey: string) => string;
  /** Need not outlive a crash of the host. */
  isForFork?: boolean;
  /** The instance is not needed afterwards: its guest never runs again, beside one that is started from what is saved. */
  isLast?: boolean;
}

/**
 * The same for whoever holds the instance's lock, and what is to be done while the instance wakes.
 *
 * @param meanwhile Gets the id. What it throws is passed on; the checkpoint stays then.
 */
export async function saveLocked<T>(
  emulator: Emulator,
  options: SaveOptions,
  meanwhile: (id: string) => Promise<T>,
  timeline: Timeline = new Timeline(),
): Promise<{ stoodStillMs: number; result: T }> {
  await using state = await settledState(emulator);
  if (state.kind !== "running" && state.kind !== "paused" && state.kind !== "suspended") throw refusal(emulator, state);
  await using running = new AsyncDisposableStack();
  const { id, stoodStillMs } = await saveAs(
    { ...emulator, arch: state.record.arch },
    state,
    running,
    options,
    timeline,
  );
  return { stoodStillMs, result: await meanwhile(id) };
}

async function saveAs(
  emulator: Emulator,
  state: Exclude<Settled, { kind: "stopped" }>,
  running: AsyncDisposableStack,
  { place = (key) => emulator.home.checkpoints(key), isForFork, isLast, ...marks }: SaveOptions,
  timeline: Timeline,
): Promise<{ id: string; stoodStillMs: number }> {
  const { record } = state;
  using _names = await lockCheckpoints(emulator);
  if (marks.name !== undefined) {
    const or = `remove it ('hotboot snapshot rm ${marks.name}'), or choose another name`;
    await requireNewName(emulator, marks.name, or);
  }
  const prepared = await prepareSnapshot(place(imageKey(emulator)));
  try {
    const { layer, guest, stoodStillMs } = state.kind === "suspended"
      ? await copySuspended(emulator, record, prepared)
      : await saveRunning(emulator, state as Up, prepared, timeline, isLast ? undefined : running);
    const disk = `${prepared}/${SNAPSHOT_FILES.disk}`;
    const below = layerDisk(emulator.home, layer);
    const { virtualSize } = await readQcow2Header(below);
    await createOverlay(disk, await backingPath(emulator.home, prepared, below), virtualSize);
    if (record.secrets === "rotated") {
      await writeJson(`${prepared}/${CREDENTIALS}`, await readSecrets(emulator), { sync: true });
    }
    const captured: Captured = {
      engine: "flat",
      identity: record.identity,
      guest,
      checkpoint: {
        ...marks,
        instance: emulator.instance,
        layer: { name: layer, disk: await fingerprint(below) },
        ...(record.snapshot !== undefined && { base: record.snapshot }),
        ...(record.secrets && { secrets: record.secrets }),
      },
    };
    if (isForFork) await syncFile(disk); // the fork's disk is on it; its memory goes with the fork's process
    const { manifest } = await timeline.phase(
      "on disk",
      () => commitSnapshot(prepared, captured, { sync: !isForFork }),
    );
    return { id: manifest.id, stoodStillMs };
  } catch (error) {
    await Deno.remove(prepared, { recursive: true }).catch(() => {});
    emulator.signal.throwIfAborted();
    throw new HotbootError(`instance '${emulator.instance}' is not saved: ${withSpaceAdvice(error)}`);
  }
}

/** What was saved beside the files. */
interface Saved {
  layer: string;
  guest: GuestState;
  stoodStillMs: number;
}

/** What a suspended instance has kept is what a checkpoint keeps: its files get a second name. */
async function copySuspended(emulator: Emulator, { memory }: InstanceRecord, prepared: string): Promise<Saved> {
  if (!memory?.ram) {
    throw new HotbootError("its memory was saved as one stream: start it, and save it while it runs");
  }
  await linkOrCopy(instancePath(emulator, "ram"), `${prepared}/${SNAPSHOT_FILES.ram}`);
  await linkOrCopy(instancePath(emulator, "memory"), `${prepared}/${SNAPSHOT_FILES.state}`);
  const layer = await layerAtRest(emulator);
  // Suspending froze nothing: the user's session was to go on as it was.
  const notFrozen = (emulator.profile.freeze ?? []).map(({ unit }) => ({ unit, why: "the instance was suspended" }));
  return { layer, guest: { ...memory.guest, notFrozen }, stoodStillMs: 0 };
}

/**
 * @param running Gets what brings the instance back to what it was; whoever disposes of it waits for that. Without it the
 * instance stands still afterwards.
 */
async function saveRunning(
  emulator: Emulator,
  up: Up,
  prepared: string,
  timeline: Timeline,
  running?: AsyncDisposableStack,
): Promise<Saved> {
  const { signal, report } = emulator;
  const { qmp, record } = up;
  if (up.kind === "paused") throw new HotbootError(whyPaused(emulator, up.runState));
  await (running ? requireNoExecs : cutOffExecs)(emulator, qmp);
  let guest: GuestState | undefined;
  let [stopped, going]: [number, number] = [0, 0];
  let layer = "";
  const prepare = async () => {
    guest = { ...await timeline.phase("quiesce", () => quiesce(emulator)), stoppedAt: steadyNow() };
    if (guest.frozen.length > 0) await writeRecord(emulator, { ...record, frozen: guest.frozen });
  };
  const stop = async () => {
    stopped = timeline.elapsed();
    guest!.stoppedAt = await stopMachine(qmp);
    const pushed = await pushLayer(emulator);
    layer = pushed.layer;
    await qmp.execute("blockdev-snapshot-sync", {
      device: "disk",
      "snapshot-file": pushed.overlay,
      format: "qcow2",
      mode: "existing",
    });
  };
  await mergeLayers(emulator, qmp, timeline); // before this adds another
  try {
    await detachShare(emulator, qmp);
    report.step("save the memory");
    const { migration } = await channelsOf(emulator);
    const bytes = await usedMemory(emulator, record);
    const context = { socket: migration, onProgress: report.progress };
    await timeline.phase("memory", () => saveLive(qmp, prepared, context, { bytes, prepare, stop }, { signal }));
  } finally {
    going = timeline.elapsed();
    if (running) {
      await qmp.execute("cont").catch((error) =>
        report.warn(`the guest stands still: ${messageOf(error)}; 'hotboot start' continues it`)
      );
      going = timeline.elapsed();
      if (stopped > 0) timeline.record("stands still", stopped, going);
      report.detail(`instance '${emulator.instance}' runs on`);
      const gone = goOn({ ...emulator, signal: new AbortController().signal }, up, timeline, guest);
      gone.catch(() => {}); // whoever waits for it gets the error
      running.defer(() => gone);
    }
  }
  return { layer, guest: guest!, stoodStillMs: Math.round(going - stopped) };
}

/**
 * About how many bytes the guest uses of its RAM: as many as what it was resumed from. 0 if that is unknown, or if the memory
 * must not be saved while it runs: HVF does not track well which pages a running guest changes, and on arm64 QEMU aborts.
 *
 * Source: QEMU's target/arm/hvf/hvf.c, `assert(isv)` where a page is write-protected.
 */
async function usedMemory(emulator: Emulator, { snapshot, identity }: InstanceRecord): Promise<number> {
  if (identity["accelerator"] === "hvf") return 0;
  const { home } = emulator;
  const key = imageKey(emulator);
  const paths = [home.snapshots(key), home.checkpoints(key)].map((root) => `${root}/${snapshot}/${SNAPSHOT_FILES.ram}`);
  const blocks = await Promise.all(paths.map(async (path) => (await Deno.stat(path).catch(() => null))?.blocks ?? 0));
  return Math.max(...blocks) * 512;
}

/** Whatever the user wants by now: the guest's units run, its clock is right, and it has the host's files. */
async function goOn(
  emulator: Emulator,
  { qmp, record }: Up,
  timeline: Timeline,
  guest?: GuestState,
): Promise<void> {
  const { report, profile } = emulator;
  if (guest) {
    const sleeper = { guest, resumedAt: Date.now(), hooks: profile.hooks?.afterResume };
    await wake(emulator, sleeper, timeline).catch(async (error) => {
      report.warn(messageOf(error));
      await thaw(emulator, guest.frozen).catch((error) => report.warn(messageOf(error)));
    });
    if (guest.frozen.length > 0) await writeRecord(emulator, record);
  }
  await giveShare(emulator, qmp).catch((error) => {
    report.warn(
      `the guest no longer has the host's files: ${
        messageOf(error)
      }; 'hotboot stop' and then 'hotboot start' bring them back`,
    );
  });
}
