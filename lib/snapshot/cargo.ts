/** What an archive has beside the files of its snapshot: for a checkpoint, the disks below its own. */

import { type Checkpoint, type Manifest, SNAPSHOT_FILES } from "./manifest.ts";
import { PAGE } from "./ram_file.ts";

/** A digest in hex. */
export const SHA256 = /^[0-9a-f]{64}$/;
/** QEMU opens every one of them. */
const MOST_DISKS = 1024;
const LONGEST_CREDENTIALS = 1 << 20;
/** The pages of 1 TiB: a map of them is held in memory. */
const MOST_PAGES = 1 << 28;

/** A file in an archive. */
export interface Part {
  /** In bytes. */
  size: number;
  /** In hex. */
  sha256: string;
}

/** What is in an archive, in its manifest as `archive`. */
export interface Cargo {
  /** What all of it will take on the receiver's disk, in bytes; pages of zeros take nothing. */
  bytes: number;
  /** The disks below a checkpoint's own, the nearest first, down to the image or to what `since` has. */
  disks?: Part[];
  /** The secrets of its session. */
  credentials?: Part;
  /** What the receiver must have already. */
  since?: Since;
}

/** A snapshot or checkpoint that an archive builds on. */
export interface Since {
  /** Its id where the archive was made. */
  id: string;
  /** A checkpoint's name. */
  name?: string;
  /** SHA-256 of its RAM, in hex. */
  ram: string;
  /** SHA-256 of its devices, in hex. */
  state: string;
  /** SHA-256 of those of its disks that are also below the archive's, the nearest first, as {@linkcode Cargo.disks}. */
  disks: string[];
  /** How many pages differ from its RAM's, and are not zeros. */
  changed: number;
}

/** The names of files in a checkpoint's archive. */
export const CARGO_FILES = {
  credentials: "credentials.json",
  /** A byte for each page of RAM: see `page_changes.ts`. */
  map: "ram.map",
  /** The pages that differ. */
  changes: "ram.changes",
} as const;

/** The name of one of {@linkcode Cargo.disks}, by its place there. */
export function cargoDisk(index: number): string {
  return `disk.${index + 1}.qcow2`;
}

/** What is wrong with the part of a manifest that only archives have, to complete "its manifest has …". */
export function oddCargo(
  cargo: Cargo | undefined,
  files: Manifest["files"],
  checkpoint?: Checkpoint,
): string | undefined {
  if (cargo === undefined) return checkpoint ? "no list of a checkpoint's disks" : undefined;
  const { bytes, disks, credentials, since } = Object(cargo) as Cargo;
  if (!isCount(bytes)) return "no size";
  if (!checkpoint) return disks || credentials || since ? "what only a checkpoint has" : undefined;
  if (!isListOf(disks, isPart)) return "no valid list of a checkpoint's disks";
  if (credentials !== undefined && !(isPart(credentials) && credentials.size <= LONGEST_CREDENTIALS)) {
    return "no valid description of its secrets";
  }
  const { name, instance, secrets, origin } = checkpoint;
  const isText = (value: unknown) => typeof value === "string";
  if (!isText(instance) || [name, origin].some((each) => each !== undefined && !isText(each))) {
    return "no name of a session";
  }
  if (![undefined, "rotated", "placeholders"].includes(secrets)) return "no valid state of its secrets";
  if (since === undefined) return undefined;
  const { id, name: base, ram, state, disks: shared, changed } = Object(since) as Since;
  const areTexts = isText(id) && (base === undefined || isText(base));
  if (!areTexts || ![ram, state].every(isDigest) || !isListOf(shared, isDigest) || !isCount(changed)) {
    return "no valid description of what it builds on";
  }
  const { size } = files[SNAPSHOT_FILES.ram];
  if (size % PAGE !== 0 || changed > size / PAGE || size / PAGE > MOST_PAGES) return "memory that is not made of pages";
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isDigest(value: unknown): boolean {
  return typeof value === "string" && SHA256.test(value);
}

function isPart(part: Part): boolean {
  const { size, sha256 } = Object(part) as Part;
  return isCount(size) && isDigest(sha256);
}

function isListOf<T>(list: T[] | undefined, isOne: (each: T) => boolean): boolean {
  return Array.isArray(list) && list.length <= MOST_DISKS && list.every(isOne);
}
