/** What is written down about an instance: one file, replaced in one step. */

import { exists } from "@std/fs/exists";
import { writeJson } from "../base/files.ts";
import { sha256 } from "../base/hash.ts";
import type { Profile } from "../profile/profile.ts";
import type { Fingerprint } from "../snapshot/fingerprint.ts";
import type { GuestState, Identity } from "../snapshot/manifest.ts";
import { type Arch, HOST_ARCH } from "../vm/arch.ts";
import { instancePath } from "./channels.ts";
import type { Emulator, InstancePlace } from "./emulator.ts";

/** How a running instance came to be: booted, from a snapshot, or from where it was suspended. */
export type Origin = "cold boot" | "resume" | "continue";

/** How an instance ended that keeps its disk. */
export type Ending = "suspended" | "shut down" | "crashed";

/** `instance.json`. What state the instance is in follows from it and from the world: see `state.ts`. */
export interface InstanceRecord {
  /** The profile's name. */
  profile: string;
  /** The guest's architecture. */
  arch: Arch;
  /** What was begun last, or reached. Written before QEMU is started, so that no QEMU is ever unknown. */
  phase: "starting" | "running" | "stopping" | "stopped";
  /** QEMU's own uuid for the last run. */
  uuid: string;
  /** QEMU's process id; for people, since it may be another's by now. */
  pid?: number;
  /** How it was started. */
  origin: Origin;
  /** The snapshot that its disk is on top of. */
  snapshot?: string;
  /** When it was started, ISO 8601. */
  started: string;
  /** The host's ports, by name. */
  ports: Record<string, number>;
  /** Whether its secrets are its own, or those of the image that everybody knows; absent where there are none. */
  secrets?: "rotated" | "placeholders";
  /** What its disk and its memory depend on. */
  identity: Identity;
  /** What the profile was, by {@linkcode profileDigest}; absent in what version 0.1 wrote. */
  profileDigest?: string;
  /** Whether `hotboot run` has started it, and it is to be suspended when the last such command ends. */
  isForRun?: boolean;
  /** Whether the guest has been up on this disk: then it is the user's, and only dropped when the user says so. */
  isDiskKept: boolean;
  /** How it ended, and when, ISO 8601. */
  ended?: { how: Ending; at: string };
  /**
   * The memory that belongs to the disk as it is. It does no longer from the moment that the guest runs; that is written
   * down, on the disk itself, before the guest does, so that no crash brings old memory together with a newer disk.
   */
  memory?: SavedMemory & { guest: GuestState };
}

/** What a suspended machine's memory was saved to: one file, or two of one moment. */
export interface SavedMemory {
  /** All of it or, where its RAM is a file of its own, its devices. */
  state: Fingerprint;
  /** Its RAM, page by page. */
  ram?: Fingerprint;
}

/** A record that cannot be understood. */
export interface DamagedRecord {
  damaged: string;
}

/** The instance's record; `undefined` when nothing of it is there. */
export async function readRecord(emulator: InstancePlace): Promise<InstanceRecord | DamagedRecord | undefined> {
  const path = instancePath(emulator, "record");
  let value: unknown;
  try {
    value = JSON.parse(await Deno.readTextFile(path));
  } catch (error) {
    const { NotFound, NotADirectory } = Deno.errors;
    if ([NotFound, NotADirectory].some((kind) => error instanceof kind)) return await readOlder(emulator);
    if (error instanceof SyntaxError) return { damaged: `${path} is no JSON` };
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
 * Writes the instance's record.
 *
 * @param options `sync`: it is on the disk itself when this returns.
 */
export async function writeRecord(
  emulator: Emulator,
  record: InstanceRecord,
  options: { sync?: boolean } = {},
): Promise<void> {
  await writeJson(instancePath(emulator, "record"), record, options);
  await Deno.remove(olderPath(emulator)).catch(() => {});
}

/**
 * Writes down that QEMU has ended, on the disk itself.
 *
 * @param memory What was saved of its memory, where it was; else only its disk is kept.
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

/** What tells a profile, with the environment's variables in it, from what it was before. */
export function profileDigest(profile: Profile): Promise<string> {
  return sha256(JSON.stringify(profile));
}

/** Whether the instance's files are hotboot's. */
export async function hasRecord(emulator: Emulator): Promise<boolean> {
  return await exists(instancePath(emulator, "record")) || await exists(olderPath(emulator));
}

/** Removes it, and with it all that hotboot knows of the instance. */
export async function removeRecord(emulator: Emulator): Promise<void> {
  for (const path of [instancePath(emulator, "record"), olderPath(emulator)]) await Deno.remove(path).catch(() => {});
}

/** Where version 0.1 wrote what a stopped instance had kept, beside a record without phases. */
function olderPath(emulator: InstancePlace): string {
  return `${emulator.home.instance(emulator.instance)}/kept.json`;
}

/** What version 0.1 has left: `kept.json` of a stopped instance, `instance.json` of one that runs. */
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
    return { damaged: `${olderPath(emulator)} is no JSON` };
  }
}
