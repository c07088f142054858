/**
 * Describes a snapshot and the machine of its capture. Written last, so a snapshot with a manifest is complete.
 *
 * @module
 */

import { writeJson } from "../base/files.ts";
import { isSameBoot } from "../base/boot_time.ts";
import { HotbootError } from "../base/error.ts";
import { type Fingerprint, fingerprint, matches } from "./fingerprint.ts";

/** How to save and restore RAM; the engines' modules describe them. */
export type Engine = "instant" | "mapped-ram";

/** How a snapshot's RAM was saved: `flat` is a checkpoint's way, which nobody chooses. */
export type SavedBy = Engine | "flat";

/** The files of a snapshot, by their names in its directory. */
export const SNAPSHOT_FILES = {
  disk: "disk.qcow2",
  /** `instant` and `flat`: the RAM as it is, and the devices. */
  ram: "ram",
  state: "device.state",
  /** `mapped-ram`: both, compressed; and QEMU's own format, which is made from that whenever it is missing. */
  savevm: "savevm.zst",
  savevmCache: "savevm.raw",
} as const;

/** The files that a snapshot of each engine must have. */
export const ENGINE_FILES: Record<SavedBy, string[]> = {
  "instant": [SNAPSHOT_FILES.ram, SNAPSHOT_FILES.state, SNAPSHOT_FILES.disk],
  "flat": [SNAPSHOT_FILES.ram, SNAPSHOT_FILES.state, SNAPSHOT_FILES.disk],
  "mapped-ram": [SNAPSHOT_FILES.savevm, SNAPSHOT_FILES.disk],
};

/** The version of the manifest's layout and of the files that it describes. */
export const FORMAT = 2;

/**
 * Everything that must be the same for a snapshot to resume, as readable names and plain values:
 * `"QEMU version": "7.2.22"`.
 */
export type Identity = Record<string, string>;

/** The state of the captured guest, needed to wake it. */
export interface GuestState {
  /** What sets its clock: our own program, its `date`, the agent, or nothing if no agent answered. */
  clock: "shift" | "date" | "agent" | "nothing";
  /** How far its clock was ahead of the host's, in milliseconds. */
  clockOffsetMs: number;
  /** When it was stopped, by the host's clock: milliseconds since 1970. */
  stoppedAt: number;
  /** Whether its kernel can be told to use fresh entropy at once. */
  reseeds: boolean;
  /** The frozen units, and their control groups. */
  frozen: { unit: string; group: string; thaw: "after rotation" | "before rotation" }[];
  /** The units that could not be frozen, and why. */
  notFrozen: { unit: string; why: string }[];
  /** The ports of the host with which it had connections; absent if there were none. */
  peers?: number[];
}

/** A snapshot's description, `manifest.json` in its directory. */
export interface Manifest {
  /** The layout of this file and its directory. */
  format: typeof FORMAT;
  /** The snapshot's name, which its directory has, too. */
  id: string;
  /** The engine that saved its RAM. */
  engine: SavedBy;
  /** When it was captured, ISO 8601. */
  created: string;
  /** The machine of the capture. */
  identity: Identity;
  /** The guest's state. */
  guest: GuestState;
  /** What only a checkpoint has. */
  checkpoint?: Checkpoint;
  /** The fingerprints of its files. */
  files: Record<string, Fingerprint>;
  /** The fingerprint of a file that can be made again and may be missing. */
  cache?: Fingerprint;
  /**
   * Present until the files are known to be on disk, not only in the host's memory: the time of the host's last boot,
   * milliseconds since 1970. After another boot such a snapshot is not trusted.
   */
  unsyncedSinceBoot?: number;
}

/** Of which session a checkpoint is. */
export interface Checkpoint {
  /** What its user calls it; none: it was made for a fork, and goes when nobody uses it any more. */
  name?: string;
  /** The instance that was saved. */
  instance: string;
  /** The disk below its own, which it shares with that instance: the layer's name, and what it must look like. */
  layer: { name: string; disk: Fingerprint };
  /** The snapshot or checkpoint that this instance was started from, whose disk is below the layer's. */
  base?: string;
  /** Its id where it was saved, if it came from another home and has another id here. */
  origin?: string;
  /** The digest of the profile that a spare was made with: what rotated and proved its secrets. */
  profileDigest?: string;
  /** Whether the guest in it has secrets of its own or the image's; absent where there are none. */
  secrets?: "rotated" | "placeholders";
}

const MANIFEST = "manifest.json";

/** Whether it can be a layer's name, and so a part of a path. */
export function isLayerName(name: unknown): name is string {
  return typeof name === "string" && /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(name);
}

/** Longer values are shown by their differences only. */
const LONGEST_SHOWN = 200;

/** A snapshot that cannot be resumed, now or later. */
export class UnusableSnapshot extends HotbootError {
  /** What is wrong, without what to do about it. */
  readonly what: string;
  /** Why, without its name. */
  readonly reason: string;

  /** @param what What is wrong. @param todo What to do about it. @param reason Why, if `what` says more than that. */
  constructor(what: string, todo: string, reason: string = what) {
    super(`${what}; ${todo}`);
    this.what = what;
    this.reason = reason;
  }
}

/** How messages call it: `checkpoint 2026…`. */
export function nameOfSaved({ id, checkpoint }: Pick<Manifest, "id" | "checkpoint">): string {
  return `${checkpoint ? "checkpoint" : "snapshot"} ${id}`;
}

/** The error of a snapshot or checkpoint whose content is not what it was. */
export function damagedSnapshot(manifest: Pick<Manifest, "id" | "checkpoint">, why: string): UnusableSnapshot {
  const todo = `'hotboot snapshot rm ${manifest.id}' removes it`;
  return new UnusableSnapshot(`${nameOfSaved(manifest)} is damaged: ${why}`, todo, why);
}

/** A snapshot that another version of hotboot made: nothing is wrong with it. */
export class OtherFormat extends UnusableSnapshot {}

/**
 * Reads a snapshot's manifest.
 *
 * @throws {UnusableSnapshot} if there is none or it is malformed; {@linkcode OtherFormat} if another hotboot can read it.
 */
export async function readManifest(directory: string): Promise<Manifest> {
  const id = directory.split("/").at(-1)!;
  const unusable = (why: string, Kind = UnusableSnapshot) => {
    const reason = `its manifest.json ${why}`;
    const other = Kind === OtherFormat ? "use the hotboot that made it, or " : "";
    const todo = `${other}'hotboot snapshot rm ${id}' removes it`;
    return new Kind(`snapshot ${id} cannot be used: ${reason}`, todo, reason);
  };
  let manifest: Manifest;
  try {
    manifest = JSON.parse(await Deno.readTextFile(`${directory}/${MANIFEST}`));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw unusable("is missing");
    if (error instanceof SyntaxError) throw unusable("is damaged");
    throw error;
  }
  const fault = malformed(manifest);
  if (fault) throw unusable(fault, isOtherFormat(manifest) ? OtherFormat : UnusableSnapshot);
  if (manifest.id !== id) throw unusable(`belongs to ${manifest.id}`);
  return manifest;
}

/** What is wrong with a manifest, to complete "its manifest …"; `undefined` if nothing. */
export function malformed(manifest: Manifest): string | undefined {
  if (manifest?.format !== FORMAT) {
    return `has format ${manifest?.format}, but this hotboot reads format ${FORMAT}`;
  }
  const isString = (value: unknown) => typeof value === "string";
  const isObject = (value: unknown) => typeof value === "object" && value !== null;
  if (
    !Object.hasOwn(ENGINE_FILES, manifest.engine) || !isString(manifest.created) || !isObject(manifest.identity) ||
    !isObject(manifest.files) || !isObject(manifest.guest)
  ) {
    return "lacks the engine, the date, the identity, the files or the guest";
  }
  const { checkpoint } = manifest;
  if ((checkpoint !== undefined) !== (manifest.engine === "flat")) return "is half of a checkpoint";
  if (checkpoint === undefined) return undefined;
  if (!isLayerName(checkpoint?.layer?.name) || !isObject(checkpoint.layer.disk)) return "lacks the checkpoint's layer";
}

function isOtherFormat(manifest: Manifest | null): boolean {
  return Number.isInteger(manifest?.format) && manifest!.format !== FORMAT;
}

/**
 * Writes it in one step, replacing an earlier one: after a power cut, there is the old one or this one.
 *
 * @param options `sync`: then there is this one.
 */
export async function writeManifest(
  directory: string,
  manifest: Manifest,
  options: { sync?: boolean } = {},
): Promise<void> {
  await writeJson(`${directory}/${MANIFEST}`, manifest, { flush: true, ...options });
}

/** The version of QEMU, in an identity. Another one is tried: it says itself whether it takes the state. */
const QEMU_VERSION = "QEMU version";

/** The first reason why a snapshot cannot be resumed on a machine with `identity`, or `undefined`. */
export function difference(
  manifest: Pick<Manifest, "identity" | "unsyncedSinceBoot">,
  identity: Identity,
): string | undefined {
  for (const name of new Set([...Object.keys(identity), ...Object.keys(manifest.identity)])) {
    const [was, is] = [manifest.identity[name], identity[name]];
    if (was === is || name === QEMU_VERSION) continue;
    if (name === "CPU's features") return otherCpu(manifest.identity, identity);
    if (DIGEST.test(was) && DIGEST.test(is)) return `the ${name} is not the same as then${WHAT_CHANGES[name] ?? ""}`;
    return isLong(was, is)
      ? longDifference(name, was, is)
      : `the ${name} was ${was ?? "not recorded"} and is ${is ?? "none"}`;
  }
  if (manifest.unsyncedSinceBoot !== undefined && !isSameBoot(manifest.unsyncedSinceBoot)) {
    return "the host went down, or its clock was set, before the snapshot was safely on disk";
  }
}

/** A SHA-256, which tells a person nothing. */
const DIGEST = /^[0-9a-f]{64}$/;
/** What makes such a thing another one. */
const WHAT_CHANGES: Record<string, string> = {
  "config disk": " (the profile's 'config', a file that it names, or a variable in it has changed)",
};

/** The CPU's features depend on QEMU if it emulates them, and on the host if not. */
function otherCpu(was: Identity, is: Identity): string {
  if (is["accelerator"] !== "tcg") return "the host's CPU offers the guest other features than then";
  const [before, now] = [was[QEMU_VERSION], is[QEMU_VERSION]];
  return before === now
    ? `this build of QEMU ${now} emulates another CPU than that of then`
    : `QEMU ${now} emulates another CPU than QEMU ${before} did`;
}

function isLong(was: string | undefined, is: string | undefined): boolean {
  return was !== undefined && is !== undefined && was.length + is.length > LONGEST_SHOWN;
}

/** The options that only one of two long lists has. */
function longDifference(name: string, was: string, is: string): string {
  const [before, now] = [was, is].map((text) => text.split(/ (?=-)/));
  const only = (these: string[], those: string[]) => these.filter((each) => !those.includes(each)).join(" ");
  const [gone, added] = [only(before, now), only(now, before)];
  if (!gone && !added) return `the ${name} has another order`;
  return `the ${name} differs: ${[gone && `without ${gone}`, added && `with ${added}`].filter(Boolean).join(", ")}`;
}

/**
 * Checks the sizes of a snapshot's files, which takes no time. Call it before QEMU starts: QEMU lengthens a RAM file that is
 * too short.
 *
 * @returns The first reason not to trust them, or `undefined`.
 */
export async function wrongSize(directory: string, manifest: Manifest): Promise<string | undefined> {
  for (const name of ENGINE_FILES[manifest.engine]) {
    const expected = manifest.files[name];
    if (!expected) return `its manifest does not list '${name}'`;
    const stat = await Deno.lstat(`${directory}/${name}`).catch(() => undefined);
    if (!stat) return `its file '${name}' is missing`;
    if (!stat.isFile) return `its '${name}' is not a file`;
    if (stat.size !== expected.size) return `its file '${name}' has ${stat.size} bytes instead of ${expected.size}`;
  }
}

/** Checks the content of the files. It can run while QEMU starts. */
export async function wrongContent(directory: string, manifest: Manifest): Promise<string | undefined> {
  for (const name of ENGINE_FILES[manifest.engine]) {
    if (!await matches(`${directory}/${name}`, manifest.files[name])) {
      return `its file '${name}' differs from what was captured`;
    }
  }
}

/** Fingerprints a snapshot's files for its manifest. */
export async function describeFiles(directory: string, engine: SavedBy): Promise<Record<string, Fingerprint>> {
  const names = ENGINE_FILES[engine];
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await fingerprint(`${directory}/${name}`)] as const)),
  );
}
