/** Suspends a guest: saves its memory to a file and ends QEMU. If that fails, the guest runs on, unless QEMU has ended. */

import { HotbootError, messageOf } from "../base/error.ts";
import { steadyNow } from "../base/steady.ts";
import type { Timeline } from "../base/timeline.ts";
import { cutOffExecs } from "../guest/exec_ports.ts";
import { quiesce, thaw } from "../guest/quiesce.ts";
import { detachShare, giveShare } from "../guest/share.ts";
import { channelsOf, instancePath } from "../instance/channels.ts";
import type { Emulator } from "../instance/emulator.ts";
import { dropMemory, sealMemory } from "../instance/files.ts";
import { mergeLayers } from "../instance/merge.ts";
import { writeEnding, writeRecord } from "../instance/record.ts";
import { withSpaceAdvice } from "../instance/space.ts";
import { quit, type Up } from "../instance/state.ts";
import type { GuestState } from "../snapshot/manifest.ts";
import { ramSize, saveFlat } from "../snapshot/flat.ts";
import { BEING_SAVED, cancelMigration, saveState, stopMachine } from "../snapshot/migration.ts";
import { UnknownStream } from "../snapshot/stream.ts";
import { type QmpClient, QmpClosedError } from "../vm/qmp.ts";

/** QEMU's run state when everything is saved: QEMU has released the disk, and `cont` takes it back. */
const ALL_SAVED = "postmigrate";

/**
 * Suspends a running guest.
 *
 * @throws {HotbootError} if that fails, or the signal's reason if it aborts. The guest runs on then.
 */
export async function suspend(emulator: Emulator, up: Up, timeline: Timeline): Promise<void> {
  const { signal, report } = emulator;
  const { qmp } = up;
  const { frozen = [], ...record } = up.record;
  if (up.kind === "running") {
    await thaw(emulator, frozen); // a save was killed
    await mergeLayers(emulator, qmp, timeline);
  }
  await dropMemory(emulator); // leftovers of an earlier attempt
  await writeRecord(emulator, { ...record, phase: "stopping" });
  try {
    await cutOffExecs(emulator, qmp);
    if (emulator.profile.share) await timeline.phase("unmount", () => detachShare(emulator, qmp));
    const guest = await timeline.phase("quiesce", () => stopGuest(emulator, up));
    report.step("save the memory");
    await timeline.phase("memory", () => saveMemory(emulator, qmp));
    const memory = await timeline.phase("on disk", () => sealMemory(emulator));
    await writeEnding(emulator, record, "suspended", { guest, ...memory });
  } catch (error) {
    if (error instanceof QmpClosedError) {
      await dropMemory(emulator).catch(() => {});
      throw new HotbootError(`not suspended: ${error.message}; 'hotboot start' boots its disk, as after a power cut`);
    }
    const why = withSpaceAdvice(error) + await movedHome(emulator, qmp);
    await runOn(emulator, up);
    signal.throwIfAborted();
    throw new HotbootError(
      `not suspended, the guest still runs: ${why}; 'hotboot stop --shutdown' saves only its disk`,
    );
  }
  await timeline.phase("quit", () => quit(qmp)); // it is suspended now: an abort comes too late
}

/** Saves it so that continuing need not read all RAM; as one stream if hotboot does not understand this QEMU's format. */
async function saveMemory(emulator: Emulator, qmp: QmpClient): Promise<void> {
  const { report, signal } = emulator;
  const { migration } = await channelsOf(emulator);
  const [devices, ram] = (["memory", "ram"] as const).map((file) => instancePath(emulator, file));
  const ramBytes = await ramSize(qmp, { signal });
  try {
    const onProgress = (bytes: number) => report.progress("save the memory", bytes, ramBytes);
    await saveFlat(qmp, migration, { ram, devices }, ramBytes, { signal, onProgress });
  } catch (error) {
    if (!(error instanceof UnknownStream)) throw error;
    report.detail(`saving the memory as one stream, because QEMU's contains ${messageOf(error)}`);
    await dropMemory(emulator);
    await saveState(qmp, "all", migration, devices, { signal });
  }
}

/** Undoes all of it. */
async function runOn(emulator: Emulator, { qmp, record }: Up): Promise<void> {
  // On a full disk even these can fail. Then it looks like a stop that was killed, which each command understands.
  await dropMemory(emulator).catch(() => {});
  await writeRecord(emulator, { ...record, phase: "running" }).catch(() => {});
  await qmp.execute("cont").catch((error) =>
    emulator.report.warn(`the guest could not be continued: ${messageOf(error)}; 'hotboot start' continues it`)
  );
  await giveShare({ ...emulator, signal: new AbortController().signal }, qmp).catch((error) => {
    emulator.report.warn(
      `the guest no longer has the host's files: ${
        messageOf(error)
      }; 'hotboot stop' and then 'hotboot start' bring them back`,
    );
  });
}

/** QEMU opens the disk once more before it has saved everything, by the path that it was started with; and gives no reason. */
async function movedHome({ home }: Emulator, qmp: QmpClient): Promise<string> {
  const drives = await qmp.execute<{ device: string; inserted?: { file: string } }[]>("query-block").catch(() => []);
  const file = drives.find(({ device }) => device === "disk")?.inserted?.file;
  if (file === undefined || file.startsWith(`${home.instances}/`)) return "";
  return `; its disk was ${file} when it was started, and its home is ${home.root} now: move the home back, or put a link to it in its old place`;
}

/** Stops the guest, and returns what is needed to correct its clock later. */
async function stopGuest(emulator: Emulator, { qmp, kind }: Up): Promise<GuestState> {
  const clock = { clock: "nothing", clockOffsetMs: 0, reseeds: false } as const;
  if (kind === "paused") {
    const runState = await runStateOf(qmp);
    if (runState === BEING_SAVED) await cancelMigration(qmp); // the hotboot that was saving it died
    else if (runState !== ALL_SAVED) {
      return { ...clock, stoppedAt: steadyNow(), frozen: [], notFrozen: [] }; // somebody paused it
    }
    await qmp.execute("cont"); // a stop was killed after everything was saved
  }
  const guest = await quiesce({ ...emulator, profile: { ...emulator.profile, freeze: [], hooks: {} } });
  return { ...guest, stoppedAt: await stopMachine(qmp) };
}

async function runStateOf(qmp: QmpClient): Promise<string> {
  return (await qmp.execute<{ status: string }>("query-status")).status;
}
