/** Starting QEMU for an instance, in each of the three ways: fresh, to be captured, and from a snapshot. */

import { HotbootError, messageOf } from "../base/error.ts";
import type { Identity } from "../snapshot/manifest.ts";
import { HOST_ARCH } from "../vm/arch.ts";
import { findFirmware } from "../vm/firmware.ts";
import { deviceArguments, type Machine, type Memory, qemuArguments, withConsole } from "../vm/machine.ts";
import type { QemuFacts } from "../vm/probe.ts";
import { createOverlay, readQcow2Header } from "../vm/qcow2.ts";
import { QemuProcess } from "../vm/process.ts";
import { shellCommand } from "../vm/shell.ts";
import { sleep } from "../base/wait.ts";
import { makeConfigDisk } from "../instance/config_disk.ts";
import { backingPath, privateDirectory } from "../instance/home.ts";
import { forgetQemu, qemuFacts, unlessStuck } from "../instance/acceleration.ts";
import type { Emulator } from "../instance/emulator.ts";
import { waitHealthy } from "../guest/health.ts";
import { type Image, IMAGE_DISK, readImageRecord } from "../image/image.ts";
import {
  clearInstance,
  hasRecord,
  type InstanceChannels,
  instancePath,
  type InstanceRecord,
  machineName,
  makeChannels,
  type Origin,
  writeInstance,
} from "../instance/instance.ts";
import { obtainImage } from "../image/obtain.ts";
import type { Timeline } from "../base/timeline.ts";

/** How long the end of a QEMU that has closed its channels may take. */
const NOTICE_MS = 200;

/** An empty overlay for this run, on top of `backing`. */
export async function freshDisk(emulator: Emulator, image: Image, backing: string): Promise<string> {
  const path = instancePath(emulator, "disk");
  const directory = emulator.home.instance(emulator.instance);
  await privateDirectory(directory);
  await setAside(emulator);
  const { virtualSize } = await readQcow2Header(image.paths.disk);
  await createOverlay(path, await backingPath(emulator.home, directory, backing), virtualSize);
  return path;
}

/** A disk that no record of hotboot's speaks of is another program's, and stays. */
async function setAside(emulator: Emulator): Promise<void> {
  if (await hasRecord(emulator)) return;
  const path = instancePath(emulator, "disk");
  const aside = `${path}.${new Date().toISOString().replaceAll(/[:.]/g, "-")}`;
  const moved = await Deno.rename(path, aside).then(() => true, () => false);
  if (moved) emulator.report.warn(`${path} is not hotboot's: it is kept as ${aside}`);
}

/** What all ways of starting need to know. */
export interface Setup {
  /** QEMU on this machine. */
  qemu: QemuFacts;
  /** The image in place. */
  image: Image;
  /** The firmware that the image's boot loader needs, if it needs any. */
  firmware?: string;
  /** The config disk that goes with the profile, if there is one. */
  config?: { image: Uint8Array; sha256: string };
}

/**
 * Finds out what all ways of starting need to know; makes the image when there is none.
 *
 * @param options As for {@linkcode qemuFacts}.
 */
export async function makeSetup(emulator: Emulator, options: { again?: boolean } = {}): Promise<Setup> {
  // One after the other: when one fails, nothing of another goes on.
  const config = await makeConfigDisk(emulator);
  const qemu = await qemuFacts(emulator, {}, options);
  const image = await obtainImage(emulator);
  const { arch, report } = emulator;
  const firmware = await firmwareFor(emulator, image, qemu);
  if (arch !== HOST_ARCH) {
    report.warn(`the ${arch} guest's CPUs are emulated, since this host is ${HOST_ARCH}: it is many times slower here`);
  }
  return { qemu, image, ...(firmware && { firmware }), ...(config && { config }) };
}

/** The firmware that an image's boot loader needs, if it needs any. @throws {HotbootError} when it is not installed. */
export async function firmwareFor(
  { arch }: Emulator,
  image: Pick<Image, "paths">,
  qemu: QemuFacts,
): Promise<string | undefined> {
  return arch === "arm64" && !image.paths.kernel ? await findFirmware(qemu.program) : undefined;
}

/** A QEMU that was started for this instance, and what was written about it. */
export interface Launched extends AsyncDisposable {
  /** The process and its monitor. */
  qemu: QemuProcess;
  /** The instance's record. */
  record: InstanceRecord;
  /** Where it is reached. */
  channels: InstanceChannels;
}

/** Everything that a snapshot depends on, in a person's words. */
export function identityOf(emulator: Emulator, setup: Setup): Identity {
  const { freeze = [], hooks = {} } = emulator.profile;
  return {
    ...machineIdentity(emulator, setup),
    "frozen units": freeze.map(({ unit, thaw = "after rotation" }) => `${unit} until ${thaw}`).join(", ") || "none",
    "commands before the capture": hooks.beforeCapture?.map(shellCommand).join("; ") || "none",
  };
}

/** Of that, what any memory depends on, that of a suspended instance too. */
export function machineIdentity(emulator: Emulator, setup: Setup): Identity {
  const { qemu, image, config } = setup;
  const machine = describeMachine(emulator, setup, "");
  const { files } = image.record;
  return {
    "QEMU version": qemu.version,
    "machine type": qemu.machineType,
    "accelerator": qemu.accelerator,
    "CPU model": qemu.cpuModel,
    // The host's with hardware acceleration, and that of QEMU's version without.
    "CPU's features": qemu.cpuFeatures.slice(0, 12),
    "memory": `${machine.memoryMiB} MiB`,
    "number of CPUs": String(machine.cpus),
    "device layout": deviceArguments(machine).join(" "),
    // A guest that asks is told no router in a restricted network, and what it has connected to is out of reach.
    "network": emulator.profile.machine.network ?? "open",
    [IMAGE_DISK]: files.disk.sha256,
    "image's kernel": files.kernel?.sha256 ?? "none",
    "image's initrd": files.initrd?.sha256 ?? "none",
    "kernel command line": machine.kernel?.append ?? "none",
    "config disk": config?.sha256 ?? "none",
  };
}

/** The machine of this emulator with `disk` in it. */
export function describeMachine(
  emulator: Emulator,
  setup: Omit<Setup, "image"> & { image: Pick<Image, "paths"> },
  disk: string,
): Machine {
  const { qemu, image, firmware, config } = setup;
  const { arch, profile: { machine, ports, share } } = emulator;
  const { kernel, initrd } = image.paths;
  return {
    arch,
    machineType: qemu.machineType,
    accelerator: qemu.accelerator,
    cpuModel: qemu.cpuModel,
    memoryMiB: machine.memory,
    cpus: machine.cpus,
    ...(kernel && { kernel: { path: kernel, initrd, append: withConsole(arch, machine.append) } }),
    ...(firmware && { firmware }),
    disk,
    ...(config && { configDisk: instancePath(emulator, "config") }),
    forwards: Object.values(ports),
    restricted: machine.network === "restricted",
    ...(share && { share: { path: share.path, readOnly: share.readOnly ?? true } }),
  };
}

/**
 * Starts QEMU. Disposing of what it gives ends QEMU and removes the run's files, unless it has been detached.
 *
 * @throws {HotbootError} when QEMU does not start; nothing is left behind then.
 */
export async function launch(
  emulator: Emulator,
  setup: Setup,
  run: { memory: Memory; disk: string; origin: Origin; snapshot?: string; paused?: boolean },
): Promise<Launched> {
  const channels = await makeChannels(emulator);
  const ports = Object.entries(emulator.profile.ports).map(([name, { host }]) => [name, host]);
  const record: InstanceRecord = {
    profile: emulator.profile.name,
    uuid: crypto.randomUUID(),
    state: "starting",
    origin: run.origin,
    snapshot: run.snapshot,
    started: new Date().toISOString(),
    ports: Object.fromEntries(ports),
    identity: machineIdentity(emulator, setup),
  };
  await writeInstance(emulator, record);
  if (setup.config) await Deno.writeFile(instancePath(emulator, "config"), setup.config.image, { mode: 0o600 });
  await Deno.writeFile(channels.serialLog, new Uint8Array(), { mode: 0o600 }); // QEMU would let others read it
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
    qemu = await QemuProcess.launch(setup.qemu.program, args, channels.monitor, { signal: emulator.signal });
    await Promise.all([channels.monitor, channels.agent].map((path) => Deno.chmod(path, 0o600)));
    await requireUnchanged(emulator, setup, qemu);
    record.pid = qemu.pid;
    const launched = qemu;
    return { qemu, record, channels, [Symbol.asyncDispose]: () => dispose(emulator, launched) };
  } catch (error) {
    await qemu?.kill();
    await clearInstance(emulator);
    // What was found out about QEMU may hold no longer: an upgrade, a container, a lost /dev/kvm.
    if (!emulator.signal.aborted) await forgetQemu(emulator);
    throw error;
  }
}

/** What was found out before QEMU was started must hold for what QEMU has opened. */
async function requireUnchanged(emulator: Emulator, { qemu: facts, image }: Setup, qemu: QemuProcess): Promise<void> {
  if (qemu.qmp.version !== facts.version) {
    throw new HotbootError(
      `${facts.program} was QEMU ${facts.version} and is ${qemu.qmp.version}, which is known now: try again`,
    );
  }
  const now = await readImageRecord(emulator);
  if (JSON.stringify(now?.files) !== JSON.stringify(image.record.files)) {
    throw new HotbootError(`the image of '${emulator.profile.name}' was replaced at this moment: try again`);
  }
}

async function dispose(emulator: Emulator, qemu: QemuProcess): Promise<void> {
  if (qemu.detached) return;
  await qemu.kill();
  await clearInstance(emulator);
}

/** Lets a healthy instance run on, on its own. */
export async function release(emulator: Emulator, { qemu, record }: Launched): Promise<void> {
  record.state = "running";
  await writeInstance(emulator, record);
  await qemu.detach();
}

/** Waits for the health checks of a guest that boots, as long as it shows any sign of life. */
export async function becomeHealthyFirst(
  emulator: Emulator,
  { qemu }: Setup,
  launched: Launched,
  timeline: Timeline,
): Promise<void> {
  const { boot } = emulator.profile.timeouts;
  const { qemu: { qmp }, channels: { serialLog } } = launched;
  const booting = { qemu, qmp, logs: [serialLog], patienceMs: boot * 1000 };
  await unlessStuck(emulator, booting, (emulator) => becomeHealthy(emulator, launched, timeline, boot));
}

/** Waits for the profile's health checks. */
export async function becomeHealthy(
  { profile, report, signal }: Emulator,
  { record }: Launched,
  timeline: Timeline,
  seconds: number,
): Promise<void> {
  const onHealthy = (name: string) => report.detail(`${name} is healthy`);
  await timeline.phase(
    "healthy",
    () => waitHealthy(profile.health, record.ports, seconds * 1000, signal, onHealthy),
  );
}

/**
 * Does `work` with the emulator, and no longer than QEMU lives and can use its disk: then its end is the reason.
 * Returns, or throws, only when `work` has ended.
 *
 * @param until What the work is done for, as the end of "QEMU ended before …".
 */
export async function whileAlive(
  emulator: Emulator,
  { qemu }: Pick<Launched, "qemu">,
  work: (emulator: Emulator) => Promise<unknown>,
  until = "the guest was healthy",
): Promise<void> {
  const over = new AbortController();
  const ended = qemu.exited.then(async () => {
    throw new HotbootError(`QEMU ended before ${until}: ${await qemu.reason()}`);
  });
  ended.catch(() => {});
  const failing = qemu.qmp.waitForEvent(
    ({ event, data }) => event === "BLOCK_IO_ERROR" && data.action !== "ignore",
    "the guest's disk",
  ).then(({ data }) => {
    throw new HotbootError(
      `the guest's disk cannot be ${data.operation === "read" ? "read" : "written"}: ${data.reason}`,
    );
  }, () => new Promise<never>(() => {})); // the monitor has closed: the end of the process says why
  failing.catch(() => {});
  const working = work({ ...emulator, signal: AbortSignal.any([emulator.signal, over.signal]) });
  try {
    await Promise.race([working, ended, failing]);
  } catch (error) {
    emulator.signal.throwIfAborted();
    // A channel that was closed is noticed before the end of the process that closed it.
    await Promise.race([ended, sleep(NOTICE_MS)]);
    throw error;
  } finally {
    over.abort();
    await working.catch(() => {});
  }
}

/** @throws {HotbootError} naming the first of the profile's ports that cannot be listened on. */
export function requireFreePorts(emulator: Emulator): void {
  for (const [name, { host, variable }] of Object.entries(emulator.profile.ports)) {
    try {
      Deno.listen({ hostname: "127.0.0.1", port: host }).close();
    } catch (error) {
      const why = error instanceof Deno.errors.AddrInUse
        ? "is taken by another program: end that program"
        : `cannot be listened on (${messageOf(error)}): make that possible`;
      const change = variable ? `set ${variable} to another` : `change ports.${name}.host in the profile`;
      throw new HotbootError(`port ${host} ('${name}') ${why}, or ${change}`);
    }
  }
}
