/** The record of an instance: one file, replaced in one step. */

import { exists } from "@std/fs/exists";
import { isMissing } from "../base/error.ts";
import { writeJson } from "../base/files.ts";
import { sha256 } from "../base/hash.ts";
import type { Profile } from "../profile/profile.ts";
import type { Fingerprint } from "../snapshot/fingerprint.ts";
import type { GuestState, Identity } from "../snapshot/manifest.ts";
import { type Arch, HOST_ARCH } from "../vm/arch.ts";
import { instancePath } from "./channels.ts";
import type { Emulator, InstancePlace } from "./emulator.ts";

/** How a running instance started: booted, from a snapshot, from a spare, or from where it was suspended. */
export type Origin = "cold boot" | "resume" | "spare" | "continue";

/** How an instance that still has its disk ended. */
export type Ending = "suspended" | "shut down" | "crashed";

/** `instance.json`. The instance's state follows from it and from what runs: see `state.ts`. */
export interface InstanceRecord {
  /** The profile's name. */
  profile: string;
  /** The guest's architecture. */
  arch: Arch;
  /** The last phase that was begun or reached. Written before QEMU starts, so that every QEMU is known. */
  phase: "starting" | "running" | "stopping" | "stopped";
  /** QEMU's uuid in the last run. */
  uuid: string;
  /** QEMU's process id, for the user; it may belong to another process by now. */
  pid?: number;
  /** How it was started. */
  origin: Origin;
  /** The snapshot below its disk. */
  snapshot?: string;
  /** When it was started, ISO 8601. */
  started: string;
  /** The host's ports, by name. */
  ports: Record<string, number>;
  /** Whether its secrets are its own, or the image's public placeholders; absent if it has none. */
  secrets?: "rotated" | "placeholders";
  /** What its disk and its memory depend on. */
  identity: Identity;
  /** The profile's {@linkcode profileDigest} at the start; absent in records of version 0.1. */
  profileDigest?: string;
  /** Whether `hotboot run` started it, so that the last such command to end suspends it. */
  isForRun?: boolean;
  /** The units that a save froze in the guest and has not thawed yet. */
  frozen?: GuestState["frozen"];
  /** It never was: a command is making it, or was killed before it had. Then all of it is a leftover, which others remove. */
  isNew?: boolean;
  /** Whether the guest has run on this disk: then the disk is the user's, and only the user drops it. */
  isDiskKept: boolean;
  /** How it ended, and when, ISO 8601. */
  ended?: { how: Ending; at: string };
  /**
   * The memory that matches the disk. It stops matching when the guest runs, so this is removed, and flushed to disk, before
   * the guest runs: no crash can combine old memory with a newer disk.
   */
  memory?: SavedMemory & { guest: GuestState };
}

/** The files with a suspended machine's memory: one, or two of the same moment. */
export interface SavedMemory {
  /** All of it or, if its RAM has a file of its own, its devices. */
  state: Fingerprint;
  /** Its RAM, page by page. */
  ram?: Fingerprint;
}

/** A record that cannot be read. */
export interface DamagedRecord {
  damaged: string;
}

/** The instance's record; `undefined` if there is none. */
export async function readRecord(emulator: InstancePlace): Promise<InstanceRecord | DamagedRecord | undefined> {
  const path = instancePath(emulator, "record");
  let value: unknown;
  try {
    value = JSON.parse(await Deno.readTextFile(path));
  } catch (error) {
    if (isMissing(error)) return await readOlder(emulator);
    if (error instanceof Deno.errors.IsADirectory) return { damaged: `${path} is a directory` };
    if (error instanceof SyntaxError) return { damaged: `${path} is not JSON` };
    throw error;
  }
  const record = isRecord(value) ? value : await readOlder(emulator, value);
  return record ?? { damaged: `${path} lacks what hotboot writes there` };
}

function isRecord(value: unknown): value is InstanceRecord {
  const { profile, phase, uuid, ports, identity, isDiskKept } = Object(value);
  return typeof profile === "string" && ["starting", "running", "stopping", "stopped"].includes(phase) &&
    typeof uuid === "string" && typeof isDiskKept === "boolean" &&
    [ports, identity].every((each) => typeof each === "object" && each !== null);
}

/**
 * Writes the instance's record. After a power cut, there is the old one or this one.
 *
 * @param options `sync`: then there is this one.
 */
export async function writeRecord(
  emulator: Emulator,
  record: InstanceRecord,
  options: { sync?: boolean } = {},
): Promise<void> {
  await writeJson(instancePath(emulator, "record"), record, { flush: true, ...options });
  await Deno.remove(olderPath(emulator)).catch(() => {});
}

/**
 * Records that QEMU has ended, and flushes that to disk.
 *
 * @param memory The saved memory, if any; otherwise only the disk is kept.
 */
export async function writeEnding(
  emulator: Emulator,
  record: InstanceRecord,
  how: Ending,
  memory?: InstanceRecord["memory"],
): Promise<void> {
  const ended = { how, at: new Date().toISOString() };
  await writeRecord(emulator, { ...record, phase: "stopped", isDiskKept: true, memory, ended }, { sync: true });
}

/** Tells a profile, with its environment variables filled in, from an earlier version of it. */
export function profileDigest(profile: Profile): Promise<string> {
  return sha256(JSON.stringify(profile));
}

/** Whether it is the record of an instance that no command has finished making. */
export function isUnfinished(record: InstanceRecord | DamagedRecord | undefined): record is InstanceRecord {
  return record !== undefined && "isNew" in record && record.isNew === true && !record.isDiskKept;
}

/** Whether the instance's files are hotboot's. */
export async function hasRecord(emulator: Emulator): Promise<boolean> {
  return await exists(instancePath(emulator, "record")) || await exists(olderPath(emulator));
}

/** Removes the record, and with it all that hotboot knows about the instance. */
export async function removeRecord(emulator: Emulator): Promise<void> {
  for (const path of [instancePath(emulator, "record"), olderPath(emulator)]) await Deno.remove(path).catch(() => {});
}

/** Where version 0.1 recorded a stopped instance, beside a record without phases. */
function olderPath(emulator: InstancePlace): string {
  return `${emulator.home.instance(emulator.instance)}/kept.json`;
}

/** The record of version 0.1: `kept.json` of a stopped instance, `instance.json` of a running one. */
async function readOlder(
  emulator: InstancePlace,
  given?: unknown,
): Promise<InstanceRecord | DamagedRecord | undefined> {
  const text = await Deno.readTextFile(olderPath(emulator)).catch(() => undefined);
  if (text === undefined && given === undefined) return undefined;
  try {
    const run = Object(given);
    const kept = text === undefined ? undefined : JSON.parse(text);
    const isRunning = run.state === "running" && kept?.how !== "suspended";
    const record = {
      ports: {},
      arch: HOST_ARCH,
      uuid: "",
      origin: "resume",
      started: kept?.stopped,
      ...kept,
      ...run,
      phase: isRunning ? "running" : kept ? "stopped" : "starting",
      isDiskKept: isRunning || kept !== undefined,
      ...(kept && !isRunning && { ended: { how: kept.how, at: kept.stopped } }),
      ...(isRunning && { memory: undefined }),
    };
    for (const name of ["state", "how", "stopped"]) delete record[name];
    return isRecord(record) ? record : undefined;
  } catch {
    return { damaged: `${olderPath(emulator)} is not JSON` };
  }
}
