/** Starting QEMU for an instance, in each of the three ways: fresh, to be captured, and from a snapshot. */

import { HotbootError, messageOf } from "../error.ts";
import type { Identity } from "../snapshot/manifest.ts";
import { deviceArguments, type Machine, type Memory, qemuArguments } from "../vm/machine.ts";
import type { QemuFacts } from "../vm/probe.ts";
import { QemuProcess } from "../vm/process.ts";
import type { Emulator } from "./emulator.ts";
import { waitHealthy } from "./health.ts";
import type { Image } from "./image.ts";
import { clearInstance, type InstanceRecord, makeChannels, type Origin, writeInstance } from "./instance.ts";
import type { Timeline } from "./timeline.ts";

/** What all ways of starting need to know. */
export interface Setup {
  /** QEMU on this machine. */
  qemu: QemuFacts;
  /** The image in place. */
  image: Image;
}

/** A QEMU that was started for this instance, and what was written about it. */
export interface Launched extends AsyncDisposable {
  /** The process and its monitor. */
  qemu: QemuProcess;
  /** The instance's record. */
  record: InstanceRecord;
  /** A free path for the socket that device state goes through. */
  migration: string;
}

/** Everything that a snapshot depends on, in a person's words. */
export function identityOf(emulator: Emulator, { qemu, image }: Setup): Identity {
  const machine = describeMachine(emulator, { qemu, image }, "");
  const { files } = image.record;
  return {
    "QEMU version": qemu.version,
    "machine type": qemu.machineType,
    "accelerator": qemu.accelerator,
    "CPU model": qemu.cpuModel,
    // Emulated, a CPU is the same on every host.
    "host CPU": qemu.accelerator === "tcg" ? "any" : qemu.cpuFeatures,
    "memory": `${machine.memoryMiB} MiB`,
    "number of CPUs": String(machine.cpus),
    "device layout": deviceArguments(machine).join(" "),
    "image's disk": files.disk.sha256,
    "image's kernel": files.kernel?.sha256 ?? "none",
    "image's initrd": files.initrd?.sha256 ?? "none",
    "kernel command line": machine.kernel?.append ?? "none",
  };
}

/** The machine of this emulator with `disk` in it. */
function describeMachine(emulator: Emulator, { qemu, image }: Setup, disk: string): Machine {
  const { machine, ports } = emulator.profile;
  const { kernel, initrd } = image.paths;
  return {
    arch: emulator.arch,
    machineType: qemu.machineType,
    accelerator: qemu.accelerator,
    cpuModel: qemu.cpuModel,
    memoryMiB: machine.memory,
    cpus: machine.cpus,
    ...(kernel && { kernel: { path: kernel, initrd, append: machine.append ?? "" } }),
    disk,
    forwards: Object.values(ports),
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
  run: { memory: Memory; disk: string; origin: Origin; snapshot?: string },
): Promise<Launched> {
  const { channels, migration } = await makeChannels(emulator);
  const ports = Object.entries(emulator.profile.ports).map(([name, { host }]) => [name, host]);
  const record: InstanceRecord = {
    profile: emulator.profile.name,
    uuid: crypto.randomUUID(),
    state: "starting",
    origin: run.origin,
    snapshot: run.snapshot,
    started: new Date().toISOString(),
    ports: Object.fromEntries(ports),
    channels,
  };
  await writeInstance(emulator, record);
  const args = qemuArguments(describeMachine(emulator, setup, run.disk), {
    name: `hotboot-${emulator.instance}`,
    uuid: record.uuid,
    memory: run.memory,
    incoming: run.origin === "resume",
    channels,
  });
  emulator.report.detail(`${setup.qemu.program} ${args.join(" ")}`);
  try {
    const qemu = await QemuProcess.launch(setup.qemu.program, args, channels.monitor, { signal: emulator.signal });
    record.pid = qemu.pid;
    return { qemu, record, migration, [Symbol.asyncDispose]: () => dispose(emulator, qemu) };
  } catch (error) {
    await clearInstance(emulator);
    throw error;
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

/** Waits for the profile's health checks, and no longer than QEMU lives. */
export async function becomeHealthy(
  emulator: Emulator,
  { qemu, record }: Launched,
  timeline: Timeline,
  seconds: number,
): Promise<void> {
  const over = new AbortController();
  const ended = qemu.exited.then(async () => {
    throw new HotbootError(`QEMU ended before the guest was healthy: ${await qemu.reason()}`);
  });
  ended.catch(() => {});
  const signal = AbortSignal.any([emulator.signal, over.signal]);
  const healthy = timeline.phase(
    "healthy",
    () =>
      waitHealthy(
        emulator.profile.health,
        record.ports,
        seconds * 1000,
        signal,
        ({ name }) => emulator.report.detail(`${name} is healthy`),
      ),
  );
  try {
    await Promise.race([healthy, ended]);
  } finally {
    over.abort();
    await healthy.catch(() => {});
  }
}

/** @throws {HotbootError} naming the first of the profile's ports that cannot be listened on. */
export function requireFreePorts(emulator: Emulator): void {
  for (const [name, { host }] of Object.entries(emulator.profile.ports)) {
    try {
      Deno.listen({ hostname: "127.0.0.1", port: host }).close();
    } catch (error) {
      const why = error instanceof Deno.errors.AddrInUse
        ? "is taken by another program: end that program"
        : `cannot be listened on (${messageOf(error)}): make that possible`;
      throw new HotbootError(`port ${host} ('${name}') ${why}, or change ports.${name}.host in the profile`);
    }
  }
}
