/** An instance on disk: which QEMU it is, where its sockets are, and whether that QEMU still runs. */

import { exists } from "@std/fs/exists";
import { HotbootError } from "../base/error.ts";
import { fill } from "../base/fill.ts";
import type { Port } from "../profile/profile.ts";
import { portValue } from "../profile/references.ts";
import type { Identity } from "../snapshot/manifest.ts";
import type { Channels } from "../vm/machine.ts";
import { attach } from "../vm/process.ts";
import type { QmpClient } from "../vm/qmp.ts";
import { within } from "../base/wait.ts";
import { type Emulator, imageKey, isInstanceLocked } from "./emulator.ts";
import type { Secrets } from "../profile/secrets.ts";
import { privateDirectory, writeJson, writePrivate } from "./home.ts";

/** How a running instance came to be: booted, from a snapshot, or from where it was suspended. */
export type Origin = "cold boot" | "resume" | "continue";

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
  /** Whether its secrets are its own, or those of the image that everybody knows; absent where there are none. */
  secrets?: "rotated" | "placeholders";
  /** What its disk and its memory depend on. */
  identity: Identity;
}

/** The names of an instance's own files, in its directory. */
const FILES = {
  record: "instance.json",
  disk: "disk.qcow2",
  config: "config.iso",
  serial: "serial.log",
  timeline: "timeline.json",
  credentials: "credentials.json",
  secretFiles: "secret_files.json",
  kept: "kept.json",
  state: "memory.state",
};

/** The path of one of an instance's files. */
export function instancePath(emulator: Emulator, file: keyof typeof FILES): string {
  return `${emulator.home.instance(emulator.instance)}/${FILES[file]}`;
}

/** The instance in which the emulator's image is made, by cloud-init: who looks at instances sees its console, too. */
export function builderOf(emulator: Emulator): Emulator {
  return { ...emulator, instance: `build-${imageKey(emulator)}` };
}

/** What QEMU names an instance's machine. */
export function machineName(instance: string): string {
  return `hotboot-${instance}`;
}

/** Where an instance's QEMU is reached. */
export interface InstanceChannels extends Channels {
  /** The directory of the sockets. */
  directory: string;
  /** A free path for the socket that device state goes through. */
  migration: string;
}

/**
 * Where this instance's QEMU listens and writes. It follows from the home's path and not from what was written down, so
 * that a moved home keeps its machines, and a copied one does not reach into the original.
 */
export async function channelsOf(emulator: Emulator): Promise<InstanceChannels> {
  const directory = await emulator.home.sockets(emulator.instance);
  return {
    directory,
    monitor: `${directory}/monitor.sock`,
    agent: `${directory}/agent.sock`,
    migration: `${directory}/migration.sock`,
    serialLog: instancePath(emulator, "serial"),
  };
}

/** The same, with the directories made. */
export async function makeChannels(emulator: Emulator): Promise<InstanceChannels> {
  const { home, instance } = emulator;
  const channels = await channelsOf(emulator);
  await privateDirectory(home.instance(instance));
  if (channels.directory !== home.instance(instance)) await home.shortDirectory(channels.directory);
  return channels;
}

/** The names of all instances of the emulator's home. */
export async function instanceNames({ home }: Emulator): Promise<string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(home.instances), ({ name }) => name)).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** The instance's record, or `undefined` when nothing was started, all is stopped, or it cannot be understood. */
export async function readInstance(emulator: Emulator): Promise<InstanceRecord | undefined> {
  try {
    const record = JSON.parse(await Deno.readTextFile(instancePath(emulator, "record")));
    const isRecord = typeof record?.uuid === "string" && typeof record.profile === "string" &&
      typeof record.ports === "object" && typeof record.identity === "object" &&
      ["starting", "running"].includes(record.state);
    return isRecord ? record : undefined;
  } catch (error) {
    const { NotFound, NotADirectory } = Deno.errors;
    if (error instanceof SyntaxError || [NotFound, NotADirectory].some((kind) => error instanceof kind)) {
      return undefined;
    }
    throw error;
  }
}

/** Writes the instance's record. */
export async function writeInstance(emulator: Emulator, record: InstanceRecord): Promise<void> {
  await writeJson(instancePath(emulator, "record"), record);
}

/** Where the services of an instance are, as its profile says. */
export function urlsOf({ profile }: Emulator, { ports, profile: name }: InstanceRecord): Record<string, string> {
  const known = profile.name === name ? profile.ports : {};
  const now = portsNow(known, ports);
  const urlOf = (name: string, port: number) => {
    const url = known[name]?.url;
    return url ? fill(url, (variable) => portValue(now, variable)) : `http://127.0.0.1:${port}`;
  };
  return Object.fromEntries(Object.entries(ports).map(([name, port]) => [name, urlOf(name, port)]));
}

/** The profile's ports, the host's as they were when the instance was started. */
export function portsNow(ports: Record<string, Port>, hosts: Record<string, number>): Record<string, Port> {
  return Object.fromEntries(
    Object.entries(ports).map(([name, port]) => [name, { ...port, host: hosts[name] ?? port.host }]),
  );
}

/** A running instance and a connection to its monitor. */
export interface RunningInstance extends AsyncDisposable {
  /** What was written when it was started; missing when that was lost. */
  record?: InstanceRecord;
  /** The monitor of exactly that QEMU. */
  qmp: QmpClient;
}

/**
 * The instance, when its QEMU runs. The sockets' directory is closed to others, and still whoever answers there is asked
 * who it is: it must have the uuid that was written down or, where that was lost, the instance's name.
 *
 * @throws {HotbootError} when it hangs, or that directory is somebody else's, whom nothing is to be told.
 */
export async function findRunning(emulator: Emulator): Promise<RunningInstance | undefined> {
  const { home, instance, signal } = emulator;
  const [record, { directory, monitor }] = await Promise.all([readInstance(emulator), channelsOf(emulator)]);
  if (directory !== home.instance(instance) && !await home.hasShortDirectory(directory)) return undefined;
  const qmp = await attach(monitor, record ? { uuid: record.uuid } : { name: machineName(instance) }, { signal }).catch(
    (error) => {
      if (!(error instanceof HotbootError)) throw error;
      const pid = record?.pid === undefined ? "" : ` (process ${record.pid}, if 'ps' shows uuid ${record.uuid} there)`;
      throw new HotbootError(`QEMU of instance '${instance}' hangs${pid}: ${error.message}`);
    },
  );
  return qmp && { ...(record && { record }), qmp, [Symbol.asyncDispose]: () => qmp.close() };
}

/** Whether another command is starting or capturing it, which has QEMU's monitor to itself meanwhile. */
export async function isBeingStarted(emulator: Emulator): Promise<boolean> {
  return (await readInstance(emulator))?.state === "starting" && await isInstanceLocked(emulator);
}

/** The record of an instance that must run; none when that is lost. @throws {HotbootError} when it does not run. */
export async function requireRunning(emulator: Emulator): Promise<InstanceRecord | undefined> {
  if (await isBeingStarted(emulator)) {
    throw new HotbootError(`instance '${emulator.instance}' is still being started: try again when it is up`);
  }
  await using running = await findRunning(emulator);
  if (!running) throw new HotbootError(`instance '${emulator.instance}' does not run: 'hotboot start' starts it`);
  return running.record;
}

/**
 * The record of the instance, when it runs; otherwise what a killed command has left of it is ended and removed.
 *
 * @throws {HotbootError} when it runs and nothing is known of it.
 */
export async function findRunningOrClear(emulator: Emulator): Promise<InstanceRecord | undefined> {
  {
    await using running = await findRunning(emulator);
    if (running && !running.record) {
      throw new HotbootError(
        `instance '${emulator.instance}' runs, but its instance.json is lost: 'hotboot stop' ends it`,
      );
    }
    if (running?.record?.state === "running") return running.record;
  }
  await powerOff(emulator);
  await clearInstance(emulator);
}

/** Has a running instance go on whose CPUs somebody, or a killed stop, has stopped. False when they run anyway. */
export async function unpause(emulator: Emulator): Promise<boolean> {
  await using found = await findRunning(emulator);
  if (!found || (await found.qmp.execute<{ running: boolean }>("query-status")).running) return false;
  await found.qmp.execute("cont");
  return true;
}

/** Ends the instance's QEMU, if it runs, as when the power goes. No other process is ever touched. */
export async function powerOff(emulator: Emulator): Promise<boolean> {
  const running = await findRunning(emulator);
  if (!running) return false;
  await running.qmp.execute("quit").catch(() => {}); // it may close before it answers
  await within(running.qmp.closed, "QEMU ('quit')", { timeoutMs: 10_000, signal: emulator.signal });
  return true;
}

/** Whether the instance's files are hotboot's: its record, or what it has kept, is there. */
export async function hasRecord(emulator: Emulator): Promise<boolean> {
  return await exists(instancePath(emulator, "kept")) || await exists(instancePath(emulator, "record"));
}

/**
 * Removes what belongs to a run that has ended. The serial log stays, for whoever asks why; so does what is kept for the
 * next start.
 */
export async function clearInstance(emulator: Emulator): Promise<void> {
  const { directory, monitor, agent, migration } = await channelsOf(emulator);
  const isKept = await exists(instancePath(emulator, "kept"));
  if (!await hasRecord(emulator)) return; // what is there is another program's
  if (!isKept) await removeSecrets(emulator);
  const ofTheRun = ["config", "timeline", "record"] as const;
  const files = [...isKept ? [] : ["disk", "state"] as const, ...ofTheRun]
    .map((file) => instancePath(emulator, file));
  for (const path of [monitor, agent, migration, ...files]) await Deno.remove(path).catch(() => {});
  if (directory !== emulator.home.instance(emulator.instance)) await Deno.remove(directory).catch(() => {});
}

/**
 * Keeps a run's secrets: all in one file, unless they are known to everybody, and those that have a file of their own in that,
 * too. What those files are is written down first, so that they end with the run whatever becomes of its profile.
 */
export async function writeSecrets(emulator: Emulator, secrets: Secrets, areOwn: boolean): Promise<void> {
  await removeSecrets(emulator); // of the run that this one goes on with
  const own = (emulator.profile.secrets ?? []).flatMap(({ name, file }) => file ? [{ name, file }] : []);
  if (own.length > 0) await writeJson(instancePath(emulator, "secretFiles"), own.map(({ file }) => file));
  const directory = emulator.home.instance(emulator.instance);
  for (const { name, file } of own) await writePrivate(`${directory}/${file}`, secrets[name]);
  if (areOwn) await writeJson(instancePath(emulator, "credentials"), secrets);
}

/** Removes what {@linkcode writeSecrets} has written. */
export async function removeSecrets(emulator: Emulator): Promise<void> {
  const list = instancePath(emulator, "secretFiles");
  const files: unknown = await Deno.readTextFile(list).then(JSON.parse).catch(() => []);
  const own = (Array.isArray(files) ? files : []).filter((file) => /^[\w-]+$/.test(file)); // nothing outside
  const paths = own.map((file) => `${emulator.home.instance(emulator.instance)}/${file}`);
  for (const path of [...paths, list, instancePath(emulator, "credentials")]) await Deno.remove(path).catch(() => {});
}
