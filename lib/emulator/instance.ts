/** An instance on disk: which QEMU it is, where its sockets are, and whether that QEMU still runs. */

import { HotbootError } from "../error.ts";
import type { Channels } from "../vm/machine.ts";
import { attach } from "../vm/process.ts";
import type { QmpClient } from "../vm/qmp.ts";
import { within } from "../vm/wait.ts";
import { type Emulator, isInstanceLocked } from "./emulator.ts";
import { privateDirectory, writeJson } from "./home.ts";

/** How a running instance came to be. */
export type Origin = "cold boot" | "resume";

/** `instance.json`: written before QEMU is started, so that no QEMU is ever unknown. */
export interface InstanceRecord {
  /** The profile's name. */
  profile: string;
  /** QEMU's own uuid for this run. */
  uuid: string;
  /** QEMU's process id; for people, since it may be another's by now. */
  pid?: number;
  /** `starting` until it was healthy. */
  state: "starting" | "running";
  /** How it was started. */
  origin: Origin;
  /** The snapshot that it was resumed from. */
  snapshot?: string;
  /** When, ISO 8601. */
  started: string;
  /** The host's ports, by name. */
  ports: Record<string, number>;
  /** QEMU's sockets and logs. */
  channels: Channels;
}

/** The names of an instance's own files, in its directory. */
const FILES = { record: "instance.json", disk: "disk.qcow2", serial: "serial.log", timeline: "timeline.json" };

/** The path of one of an instance's files. */
export function instancePath(emulator: Emulator, file: keyof typeof FILES): string {
  return `${emulator.home.instance(emulator.instance)}/${FILES[file]}`;
}

/** Where this instance's QEMU listens and writes, and a free path for the socket that device state goes through. */
async function channelsOf(emulator: Emulator): Promise<{ directory: string; channels: Channels; migration: string }> {
  const shortRoot = Deno.env.get("XDG_RUNTIME_DIR") || Deno.env.get("TMPDIR") || "/tmp";
  const directory = await emulator.home.sockets(emulator.instance, shortRoot);
  return {
    directory,
    channels: {
      monitor: `${directory}/monitor.sock`,
      agent: `${directory}/agent.sock`,
      serialLog: instancePath(emulator, "serial"),
    },
    migration: `${directory}/migration.sock`,
  };
}

/** The same, with the directories made. */
export async function makeChannels(emulator: Emulator): Promise<{ channels: Channels; migration: string }> {
  const { home, instance } = emulator;
  const { directory, ...rest } = await channelsOf(emulator);
  await privateDirectory(home.instance(instance));
  if (directory !== home.instance(instance)) await home.shortDirectory(directory);
  return rest;
}

/** The instance's record, or `undefined` when nothing was started or all is stopped. */
export async function readInstance(emulator: Emulator): Promise<InstanceRecord | undefined> {
  try {
    return JSON.parse(await Deno.readTextFile(instancePath(emulator, "record")));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Writes the instance's record. */
export async function writeInstance(emulator: Emulator, record: InstanceRecord): Promise<void> {
  await writeJson(instancePath(emulator, "record"), record);
}

/** Where the services of an instance with these ports are. */
export function urlsOf(ports: Record<string, number>): Record<string, string> {
  return Object.fromEntries(Object.entries(ports).map(([name, port]) => [name, `http://127.0.0.1:${port}`]));
}

/** A running instance and a connection to its monitor. */
export interface RunningInstance extends AsyncDisposable {
  /** What was written when it was started. */
  record: InstanceRecord;
  /** The monitor of exactly that QEMU. */
  qmp: QmpClient;
}

/** The instance, when its QEMU runs. */
export async function findRunning(emulator: Emulator): Promise<RunningInstance | undefined> {
  const record = await readInstance(emulator);
  if (!record) return undefined;
  const qmp = await attach(record.channels.monitor, record.uuid, { signal: emulator.signal }).catch((error) => {
    if (!(error instanceof HotbootError)) throw error;
    const pid = record.pid === undefined ? "" : ` (process ${record.pid}, if 'ps' shows uuid ${record.uuid} there)`;
    throw new HotbootError(`QEMU of instance '${emulator.instance}' hangs${pid}: ${error.message}`);
  });
  return qmp && { record, qmp, [Symbol.asyncDispose]: () => qmp.close() };
}

/** Whether another command is starting or capturing it, which has QEMU's monitor to itself meanwhile. */
export async function isBeingStarted(emulator: Emulator): Promise<boolean> {
  return (await readInstance(emulator))?.state === "starting" && await isInstanceLocked(emulator);
}

/** The running instance. @throws {HotbootError} when it does not run. */
export async function requireRunning(emulator: Emulator): Promise<RunningInstance> {
  if (await isBeingStarted(emulator)) {
    throw new HotbootError(`instance '${emulator.instance}' is still being started: try again when it is up`);
  }
  const running = await findRunning(emulator);
  if (!running) {
    throw new HotbootError(`instance '${emulator.instance}' does not run: 'hotboot start' starts it`);
  }
  return running;
}

/** Ends the instance's QEMU, if it runs, as when the power goes. No other process is ever touched. */
export async function powerOff(emulator: Emulator): Promise<boolean> {
  const running = await findRunning(emulator);
  if (!running) return false;
  await running.qmp.execute("quit").catch(() => {}); // it may close before it answers
  await within(running.qmp.closed, "QEMU ('quit')", { timeoutMs: 10_000, signal: emulator.signal });
  return true;
}

/** Removes what belongs to a run that has ended. The serial log stays, for whoever asks why. */
export async function clearInstance(emulator: Emulator): Promise<void> {
  const { directory, channels, migration } = await channelsOf(emulator);
  const files = (["disk", "timeline", "record"] as const).map((file) => instancePath(emulator, file));
  for (const path of [channels.monitor, channels.agent, migration, ...files]) await Deno.remove(path).catch(() => {});
  if (directory !== emulator.home.instance(emulator.instance)) await Deno.remove(directory).catch(() => {});
}
