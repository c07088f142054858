/** Suspending a guest: all that it has in memory goes to a file, and QEMU ends. Or the guest runs on. */

import { HotbootError, messageOf } from "../base/error.ts";
import { quiesce } from "../guest/quiesce.ts";
import { detachShare, giveShare } from "../guest/share.ts";
import { channelsOf, instancePath } from "../instance/channels.ts";
import type { Emulator } from "../instance/emulator.ts";
import { dropMemory, sealMemory } from "../instance/files.ts";
import { writeEnding, writeRecord } from "../instance/record.ts";
import { quit, type Up } from "../instance/state.ts";
import type { GuestState } from "../snapshot/manifest.ts";
import { ramSize, saveFlat } from "../snapshot/flat.ts";
import { saveState } from "../snapshot/migration.ts";
import { UnknownStream } from "../snapshot/stream.ts";
import type { QmpClient } from "../vm/qmp.ts";

/** QEMU's run state when all has been saved: its disk is given up, and `cont` takes it back. */
const ALL_SAVED = "postmigrate";

/**
 * Suspends a guest that is up.
 *
 * @throws {HotbootError} when that fails, or the signal's reason when it aborts. The guest runs on then.
 */
export async function suspend(emulator: Emulator, up: Up): Promise<void> {
  const { signal, report } = emulator;
  const { qmp, record } = up;
  await dropMemory(emulator); // what an earlier attempt has left
  await writeRecord(emulator, { ...record, phase: "stopping" });
  try {
    await detachShare(emulator, qmp);
    const guest = await stopGuest(emulator, up);
    report.step("save the memory");
    await saveMemory(emulator, qmp);
    await writeEnding(emulator, record, "suspended", { guest, ...await sealMemory(emulator) });
  } catch (error) {
    await runOn(emulator, up);
    signal.throwIfAborted();
    throw new HotbootError(
      `not suspended, and the guest runs on: ${explained(error)}; 'hotboot stop --shutdown' keeps only its disk`,
    );
  }
  await quit(qmp); // from here on it is suspended, whatever the user wants by now
}

/** Saves it so that its RAM need not be read to go on; as one stream, where this QEMU's is not understood. */
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
    report.detail(`the memory is saved as one stream, since QEMU's holds ${messageOf(error)}`);
    await dropMemory(emulator);
    await saveState(qmp, "all", migration, devices, { signal });
  }
}

/** Undoes all of it. */
async function runOn(emulator: Emulator, { qmp, record }: Up): Promise<void> {
  await dropMemory(emulator);
  await writeRecord(emulator, { ...record, phase: "running" });
  await qmp.execute("cont").catch((error) => emulator.report.warn(`the guest stands still: ${messageOf(error)}`));
  await giveShare({ ...emulator, signal: new AbortController().signal }, qmp).catch((error) => {
    emulator.report.warn(`the guest has not got the host's files any more: ${messageOf(error)}`);
  });
}

function explained(error: unknown): string {
  const text = messageOf(error);
  return /no space left|os error 28/i.test(text) ? `${text}: make room on the disk of hotboot's home` : text;
}

/** Stops the guest, and says what is to be known of its clock when it goes on. */
async function stopGuest(emulator: Emulator, { qmp, kind }: Up): Promise<GuestState> {
  const clock = { clock: "nothing", clockOffsetMs: 0, reseeds: false } as const;
  if (kind === "paused") {
    if (await runStateOf(qmp) !== ALL_SAVED) {
      return { ...clock, stoppedAt: Date.now(), frozen: [], notFrozen: [] }; // somebody has paused it
    }
    await qmp.execute("cont"); // a stop was killed when all had been saved
  }
  const guest = await quiesce({ ...emulator, profile: { ...emulator.profile, freeze: [], hooks: {} } });
  const stopped = qmp.waitForEvent(({ event }) => event === "STOP", "QEMU ('stop')", { timeoutMs: 10_000 });
  await qmp.execute("stop"); // also completes and flushes all disk writes
  return { ...guest, stoppedAt: (await stopped).time };
}

async function runStateOf(qmp: QmpClient): Promise<string> {
  return (await qmp.execute<{ status: string }>("query-status")).status;
}
