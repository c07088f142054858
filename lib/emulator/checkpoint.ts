/** Checkpoints: a moment of an instance, kept by a name, from which instances are started. */

import { writeJson } from "../base/files.ts";
import { HotbootError, messageOf } from "../base/error.ts";
import { quiesce, thaw } from "../guest/quiesce.ts";
import { detachShare, giveShare } from "../guest/share.ts";
import { wake } from "../guest/wake.ts";
import { Timeline } from "../base/timeline.ts";
import { checkpointsOf, CREDENTIALS } from "../instance/checkpoints.ts";
import { channelsOf, instancePath } from "../instance/channels.ts";
import { type Emulator, imageKey } from "../instance/emulator.ts";
import { readSecrets } from "../instance/files.ts";
import { backingPath } from "../instance/home.ts";
import { layerDisk, pushLayer, settleDisk } from "../instance/layers.ts";
import { lockCheckpoints, lockInstance } from "../instance/locks.ts";
import { type InstanceRecord, writeRecord } from "../instance/record.ts";
import { refusal, settledState, type Up } from "../instance/state.ts";
import { fingerprint } from "../snapshot/fingerprint.ts";
import { flat } from "../snapshot/flat.ts";
import { type Checkpoint, type GuestState, SNAPSHOT_FILES } from "../snapshot/manifest.ts";
import { stopMachine } from "../snapshot/migration.ts";
import { commitSnapshot, prepareSnapshot, removeSnapshot, syncSnapshot } from "../snapshot/store.ts";
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
 * Saves the instance as it is now as a checkpoint. One that runs stands still meanwhile, and runs on; one that is suspended
 * stays so. The units of a running one are frozen meanwhile, so that nothing of what is started from it runs before it has
 * secrets, a clock and randomness of its own.
 *
 * Needs net permission for the instance's sockets, and read and write permission for the home.
 *
 * @param emulator Which, from {@linkcode openEmulator}.
 * @param name What to call it: a letter, then letters, digits, `.`, `_` or `-`, at most 64.
 * @returns Its id, and how long the guest stood still.
 * @throws {HotbootError} when there is a checkpoint of that name, the instance neither runs nor is suspended, or it cannot be
 * saved. The guest runs on then, and nothing is left.
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
  if (!/^[A-Za-z][\w.-]{0,63}$/.test(name)) {
    throw new HotbootError(
      `a checkpoint cannot be called '${name}': use a letter, then letters, digits, '.', '_' or '-'`,
    );
  }
  const { id, stoodStillMs } = await save(emulator, name);
  return { id, name, stoodStillMs };
}

/** The same without a name, for a fork. */
export async function save(emulator: Emulator, name?: string): Promise<{ id: string; stoodStillMs: number }> {
  using _lock = await lockInstance(emulator);
  return await saveLocked(emulator, (key) => emulator.home.checkpoints(key), { name });
}

/**
 * The same for whoever holds the instance's lock.
 *
 * @param place The directory of what is saved, by the name of its image.
 * @param marks What it is to be known by.
 */
export async function saveLocked(
  emulator: Emulator,
  place: (imageKey: string) => string,
  marks: Pick<Checkpoint, "name" | "profileDigest">,
): Promise<{ id: string; stoodStillMs: number }> {
  await using state = await settledState(emulator);
  if (state.kind !== "running" && state.kind !== "paused" && state.kind !== "suspended") throw refusal(emulator, state);
  const { record } = state;
  const own = { ...emulator, arch: record.arch };
  using _names = await lockCheckpoints(own);
  if (marks.name !== undefined) await requireNewName(own, marks.name);
  const prepared = await prepareSnapshot(place(imageKey(own)));
  try {
    const saved = state.kind === "suspended"
      ? await copySuspended(own, record, prepared)
      : await saveRunning(own, state as Up, prepared);
    const { layer, guest, stoodStillMs } = saved;
    const disk = `${prepared}/${SNAPSHOT_FILES.disk}`;
    const below = layerDisk(emulator.home, layer);
    const { virtualSize } = await readQcow2Header(below);
    await createOverlay(disk, await backingPath(emulator.home, prepared, below), virtualSize);
    if (record.secrets === "rotated") {
      await writeJson(`${prepared}/${CREDENTIALS}`, await readSecrets(own), { sync: true });
    }
    const snapshot = await commitSnapshot(prepared, {
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
    });
    await syncSnapshot(snapshot).catch(async (error) => {
      await removeSnapshot(snapshot.directory);
      throw error;
    });
    return { id: snapshot.manifest.id, stoodStillMs };
  } catch (error) {
    await Deno.remove(prepared, { recursive: true }).catch(() => {});
    emulator.signal.throwIfAborted();
    throw new HotbootError(`instance '${emulator.instance}' is not saved: ${messageOf(error)}`);
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
  const { layer } = await pushLayer(emulator);
  await settleDisk(emulator);
  // Suspending froze nothing: the user's session was to go on as it was.
  const notFrozen = (emulator.profile.freeze ?? []).map(({ unit }) => ({ unit, why: "the instance was suspended" }));
  return { layer, guest: { ...memory.guest, notFrozen }, stoodStillMs: 0 };
}

/** Instances may be on another file system than the home. */
async function linkOrCopy(from: string, to: string): Promise<void> {
  await Deno.link(from, to).catch(async (error) => {
    if (error instanceof Deno.errors.NotFound) throw error;
    await Deno.copyFile(from, to);
  });
}

async function saveRunning(emulator: Emulator, up: Up, prepared: string): Promise<Saved> {
  const { signal, report, profile } = emulator;
  const { qmp, record } = up;
  if (up.kind === "paused") throw new HotbootError("its CPUs stand still: 'hotboot start' continues it");
  let guest: GuestState | undefined;
  let [stopped, going]: [number, number] = [0, 0];
  let layer: string;
  try {
    await detachShare(emulator, qmp);
    guest = { ...await quiesce(emulator), stoppedAt: Date.now() };
    if (guest.frozen.length > 0) await writeRecord(emulator, { ...record, frozen: guest.frozen });
    report.step("save the memory");
    stopped = performance.now();
    guest.stoppedAt = await stopMachine(qmp);
    const pushed = await pushLayer(emulator);
    layer = pushed.layer;
    await qmp.execute("blockdev-snapshot-sync", {
      device: "disk",
      "snapshot-file": pushed.overlay,
      format: "qcow2",
      mode: "existing",
    });
    const { migration } = await channelsOf(emulator);
    const context = { socket: migration, threads: profile.machine.cpus, onProgress: report.progress };
    await flat.save(qmp, prepared, context, { signal });
  } finally {
    await qmp.execute("cont").catch((error) => report.warn(`the guest stands still: ${messageOf(error)}`));
    going = performance.now();
    await goOn({ ...emulator, signal: new AbortController().signal }, up, guest);
  }
  return { layer, guest, stoodStillMs: Math.round(going - stopped) };
}

/** Whatever the user wants by now: the guest's units run, its clock is right, and it has the host's files. */
async function goOn(emulator: Emulator, { qmp, record }: Up, guest?: GuestState): Promise<void> {
  const { report, profile } = emulator;
  if (guest) {
    const sleeper = { guest, resumedAt: Date.now(), hooks: profile.hooks?.afterResume };
    await wake(emulator, sleeper, new Timeline()).catch(async (error) => {
      report.warn(messageOf(error));
      await thaw(emulator, guest.frozen).catch((error) => report.warn(messageOf(error)));
    });
    if (guest.frozen.length > 0) await writeRecord(emulator, record);
  }
  await giveShare(emulator, qmp).catch((error) => {
    report.warn(`the guest no longer has the host's files: ${messageOf(error)}`);
  });
}

async function requireNewName(emulator: Emulator, name: string): Promise<void> {
  for (const { manifest } of await checkpointsOf(emulator)) {
    if (manifest.checkpoint.name !== name) continue;
    throw new HotbootError(
      `there is a checkpoint '${name}' already, of ${manifest.created}: remove it ('hotboot snapshot rm ${name}'), or choose another name`,
    );
  }
}
