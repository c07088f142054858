/** The paths of an instance's sockets, logs and files. */

import type { Channels } from "../vm/machine.ts";
import { type Emulator, imageKey, type InstancePlace } from "./emulator.ts";
import { ownDirectory } from "./home.ts";

/** The names of an instance's own files, in its directory. */
const FILES = {
  record: "instance.json",
  disk: "disk.qcow2",
  config: "config.iso",
  serial: "serial.log",
  timeline: "timeline.jsonl",
  credentials: "credentials.json",
  secretFiles: "secret_files.json",
  memory: "memory.state",
  ram: "memory.ram",
  owner: "owner.json",
};

/** The instance in which the emulator's spares are made: no user's, because no name of a user's begins with a dot. */
export function makerName(emulator: Emulator): string {
  return `.spare-${imageKey(emulator)}`;
}

/** The path of one of an instance's files. */
export function instancePath(emulator: InstancePlace, file: keyof typeof FILES): string {
  return `${emulator.home.instance(emulator.instance)}/${FILES[file]}`;
}

/** The instance in which cloud-init makes the emulator's image; `hotboot logs` and the like can look at it. */
export function builderOf(emulator: Emulator): Emulator {
  return { ...emulator, instance: `build-${imageKey(emulator)}`, ports: {} }; // nothing leads in
}

/** The name that QEMU gives an instance's machine. */
export function machineName(instance: string): string {
  return `hotboot-${instance}`;
}

/** The sockets and logs of an instance's QEMU. */
export interface InstanceChannels extends Channels {
  /** The directory of the sockets. */
  directory: string;
  /** A free path for the socket that carries device state. */
  migration: string;
}

/**
 * The sockets and logs of this instance's QEMU. They follow from the home's path, not from a record, so that a moved home
 * keeps its machines and a copied home does not reach into the original.
 */
export async function channelsOf(emulator: InstancePlace): Promise<InstanceChannels> {
  const directory = await emulator.home.sockets(emulator.instance);
  return {
    directory,
    monitor: `${directory}/monitor.sock`,
    agent: `${directory}/agent.sock`,
    launcher: `${directory}/launcher.sock`,
    migration: `${directory}/migration.sock`,
    serialLog: instancePath(emulator, "serial"),
  };
}

/** The same, and makes the directories. */
export async function makeChannels(emulator: Emulator): Promise<InstanceChannels> {
  const { home, instance } = emulator;
  const channels = await channelsOf(emulator);
  await ownDirectory(home.instance(instance));
  if (channels.directory !== home.instance(instance)) await home.shortDirectory(channels.directory);
  return channels;
}
