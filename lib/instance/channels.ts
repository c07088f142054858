/** Where an instance's QEMU listens and writes, and its files. */

import type { Channels } from "../vm/machine.ts";
import { type Emulator, imageKey, type InstancePlace } from "./emulator.ts";
import { privateDirectory } from "./home.ts";

/** The names of an instance's own files, in its directory. */
const FILES = {
  record: "instance.json",
  disk: "disk.qcow2",
  config: "config.iso",
  serial: "serial.log",
  timeline: "timeline.json",
  credentials: "credentials.json",
  secretFiles: "secret_files.json",
  memory: "memory.state",
  ram: "memory.ram",
};

/** The path of one of an instance's files. */
export function instancePath(emulator: InstancePlace, file: keyof typeof FILES): string {
  return `${emulator.home.instance(emulator.instance)}/${FILES[file]}`;
}

/** The instance in which the emulator's image is made, by cloud-init: who looks at instances sees its console, too. */
export function builderOf(emulator: Emulator): Emulator {
  return { ...emulator, instance: `build-${imageKey(emulator)}`, ports: {} }; // nothing leads in
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
export async function channelsOf(emulator: InstancePlace): Promise<InstanceChannels> {
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
