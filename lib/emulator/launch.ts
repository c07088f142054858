/** Starts QEMU for an instance, in each way: fresh, from its own disk, for a capture, and from saved memory. */

import { HotbootError } from "../base/error.ts";
import { writeWhole } from "../base/files.ts";
import type { Timeline } from "../base/timeline.ts";
import { obtainImage } from "../image/obtain.ts";
import { type Image, readImageRecord } from "../image/image.ts";
import { forgetQemu, qemuFacts } from "../instance/acceleration.ts";
import { type InstanceChannels, instancePath, machineName, makeChannels } from "../instance/channels.ts";
import { makeConfigDisk } from "../instance/config_disk.ts";
import type { Emulator } from "../instance/emulator.ts";
import { clearRun, dropInstance } from "../instance/files.ts";
import { backingPath, ownDirectory } from "../instance/home.ts";
import { removeDisks, settleDisk } from "../instance/layers.ts";
import { machineIdentity } from "../instance/identity.ts";
import { describeMachine, firmwareFor, type Setup } from "../instance/machine.ts";
import { clearerFault, requireOwnMachine } from "../instance/network_home.ts";
import { requireOwnDisks } from "../instance/own_disks.ts";
import {
  hasRecord,
  type InstanceRecord,
  isUnfinished,
  type Origin,
  profileDigest,
  readRecord,
  writeRecord,
} from "../instance/record.ts";
import { HOST_ARCH } from "../vm/arch.ts";
import { type Memory, qemuArguments } from "../vm/machine.ts";
import { QemuProcess } from "../vm/process.ts";
import { requireDirectory } from "../vm/share.ts";
import { warnOfLittleSpace } from "../instance/space.ts";
import { sharedPart } from "../instance/shared_part.ts";
import { createOverlay, readQcow2Header } from "../vm/qcow2.ts";

/** A new overlay for this run, on top of `backing`. */
export async function freshDisk(emulator: Emulator, image: Pick<Image, "paths">, backing: string): Promise<string> {
  const path = instancePath(emulator, "disk");
  const directory = emulator.home.instance(emulator.instance);
  await ownDirectory(directory);
  await setAside(emulator);
  await removeDisks(emulator); // leftovers: a killed command may have dropped some of several
  const { virtualSize } = await readQcow2Header(image.paths.disk);
  await createOverlay(path, await backingPath(emulator.home, directory, backing), virtualSize);
  return path;
}

/** Renames a disk that no record mentions: it is another program's. */
async function setAside(emulator: Emulator): Promise<void> {
  if (await hasRecord(emulator)) return;
  const path = instancePath(emulator, "disk");
  const aside = `${path}.${new Date().toISOString().replaceAll(/[:.]/g, "-")}`;
  const moved = await Deno.rename(path, aside).then(() => true, () => false);
  if (moved) emulator.report.warn(`${path} was not made by hotboot: renamed to ${aside}`);
}

/**
 * Finds out what every kind of start needs to know; makes the image if there is none.
 *
 * @param options `again`: as for {@linkcode qemuFacts}.
 */
export async function makeSetup(
  emulator: Emulator,
  { timeline, ...options }: { again?: boolean; timeline?: Timeline } = {},
): Promise<Setup> {
  await requireOwnMachine(emulator.home);
  // One after the other: when one fails, no other is still running.
  const config = await makeConfigDisk(emulator);
  const qemu = await qemuFacts(emulator, {}, options);
  const image = await obtainImage(emulator, timeline);
  const { arch, report } = emulator;
  const firmware = await firmwareFor(arch, image.paths, qemu);
  if (arch !== HOST_ARCH) {
    report.warn(
      `the ${arch} guest's CPUs are emulated, because this host is ${HOST_ARCH}: this is many times slower; use --arch ${HOST_ARCH} if there is such an image`,
    );
  }
  return { qemu, image, ...(firmware && { firmware }), ...(config && { config }) };
}

/** How to start QEMU. */
export interface Run {
  /** Where the guest's RAM lives. */
  memory: Memory;
  /** The path of the guest's writable disk. */
  disk: string;
  /** The origin to report later. */
  origin: Origin;
  /** The snapshot below the disk. */
  snapshot?: string;
  /** Wait for `cont`. */
  paused?: boolean;
  /** The instance's earlier record, restored if this start fails; absent if it had none. */
  before?: InstanceRecord;
}

/**
 * A QEMU that was started for this instance, and its record. Disposing of it ends QEMU and restores the earlier record,
 * unless the machine was handed over.
 */
export interface Launched extends AsyncDisposable {
  /** The process and its monitor. */
  qemu: QemuProcess;
  /** The instance's record. */
  record: InstanceRecord;
  /** Its sockets and log. */
  channels: InstanceChannels;
  /** See {@linkcode Run}. */
  before?: InstanceRecord;
}

/** Starts QEMU. @throws {HotbootError} if it does not start; everything is as before then. */
export async function launch(emulator: Emulator, setup: Setup, run: Run): Promise<Launched> {
  const { before } = run;
  if (before) await settleDisk(emulator);
  const channels = await makeChannels(emulator);
  const record = await newRecord(emulator, setup, run);
  await writeRecord(emulator, record);
  if (setup.config) await writeWhole(instancePath(emulator, "config"), setup.config.image);
  await writeWhole(channels.serialLog, ""); // QEMU would let others read it
  const args = qemuArguments(describeMachine(emulator, setup, run.disk), {
    name: machineName(emulator.instance),
    uuid: record.uuid,
    memory: run.memory,
    incoming: run.origin !== "cold boot",
    paused: run.paused,
    channels,
  });
  emulator.report.detail(`${setup.qemu.program} ${args.join(" ")}`);
  let qemu: QemuProcess | undefined;
  try {
    await requireOwnDisks(emulator, run.disk, setup.image.paths.disk);
    qemu = await QemuProcess.launch(setup.qemu.program, args, channels, { signal: emulator.signal });
    await Promise.all([channels.monitor, channels.agent].map((path) => Deno.chmod(path, 0o600)));
    await requireUnchanged(emulator, setup, qemu);
    const { share } = emulator.profile; // a continued guest gets it later
    if (share && run.origin !== "continue") {
      await requireDirectory(qemu.qmp, sharedPart(share), { signal: emulator.signal });
    }
    record.pid = qemu.pid;
    const launched = qemu;
    const space = warnOfLittleSpace(emulator); // while the guest starts
    const undo = async () => {
      await space;
      if (launched.detached) return;
      await launched.kill();
      await putBack(emulator, before);
    };
    return { qemu, record, channels, ...(before && { before }), [Symbol.asyncDispose]: undo };
  } catch (error) {
    await qemu?.kill();
    await putBack(emulator, before);
    // The cached facts about QEMU may be stale: an upgrade, a container, a lost /dev/kvm.
    if (!emulator.signal.aborted) await forgetQemu(emulator);
    throw clearerFault(emulator.home, error);
  }
}

async function newRecord(emulator: Emulator, setup: Setup, { origin, snapshot, before }: Run): Promise<InstanceRecord> {
  const { profile, ports, arch } = emulator;
  const found = await readRecord(emulator); // an instance that is put back to its start has one
  return {
    isDiskKept: false,
    ...before,
    profile: profile.name,
    arch,
    phase: "starting",
    uuid: crypto.randomUUID(),
    pid: undefined,
    isForRun: undefined,
    isNew: before === undefined && (found === undefined || isUnfinished(found)) ? true : undefined,
    origin,
    snapshot,
    started: new Date().toISOString(),
    ports: Object.fromEntries(Object.entries(ports).map(([name, { host }]) => [name, host])),
    identity: machineIdentity(emulator, setup),
    profileDigest: await profileDigest(profile),
  };
}

async function putBack(emulator: Emulator, before?: InstanceRecord): Promise<void> {
  if (!before) return await dropInstance(emulator);
  await writeRecord(emulator, before);
  await clearRun(emulator);
}

/** Checks that the QEMU and the image that were opened are those that were looked at before. */
async function requireUnchanged(emulator: Emulator, { qemu: facts, image }: Setup, qemu: QemuProcess): Promise<void> {
  if (qemu.qmp.version !== facts.version) {
    throw new HotbootError(
      `${facts.program} was QEMU ${facts.version} and is ${qemu.qmp.version} now: try again`,
    );
  }
  const now = await readImageRecord(emulator);
  if (JSON.stringify(now?.files) !== JSON.stringify(image.record.files)) {
    throw new HotbootError(`the image of '${emulator.profile.name}' was just replaced: try again`);
  }
}

/**
 * Records, on the disk itself, that the saved memory no longer matches the instance's disk. Call it before the guest runs,
 * because the guest writes to that disk.
 */
export async function forgetMemory(emulator: Emulator, { record, before }: Launched): Promise<void> {
  for (const each of [record, before]) {
    if (!each?.memory) continue;
    delete each.memory;
    each.ended = { how: "crashed", at: new Date().toISOString() }; // its state if this start fails
  }
  await writeRecord(emulator, record, { sync: true });
}

/** Leaves a running guest on its own. From now on its disk is the user's. */
export async function handOver(emulator: Emulator, { qemu, record, channels, before }: Launched): Promise<void> {
  if (!before && (await Deno.stat(channels.serialLog)).uid === 0) { // whoever has made it is this program's user
    emulator.report.step(
      "QEMU runs as root, so a guest that breaks out of it has this host: use another user if you can",
    );
  }
  record.phase = "running";
  record.isDiskKept = true;
  delete record.isNew;
  delete record.ended;
  await writeRecord(emulator, record);
  await qemu.detach();
}
