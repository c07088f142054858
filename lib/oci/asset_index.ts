/**
 * What a release has of an image beside its files: packs, which are files with the chunks one after the other, and an index
 * that says where each chunk is. The index names the packs by their digests, so its own digest fixes every byte.
 *
 * Source: GitHub's documentation, "About releases", "Storage and bandwidth quotas": 1000 files, each under 2 GiB.
 */

import type { Arch } from "../vm/arch.ts";
import { type Description, HEX, isSize, parse, requireSound, unsound } from "./manifest.ts";

/** The longest pack, in bytes: somewhat less than a release takes. */
export const LONGEST_PACK = 2e9;
/** The longest index that is read, in bytes: each chunk takes some 150. */
export const LONGEST_INDEX = 64 * 2 ** 20;
/** The form that this hotboot writes and reads. */
const VERSION = 1;

/** A file with chunks one after the other, each one zstd frame. */
export interface Pack {
  name: string;
  size: number;
  /** SHA-256 of all of it, in hex. */
  sha256: string;
}

/** Where a chunk is. */
export interface Frame {
  /** Which of the packs. */
  pack: number;
  offset: number;
  size: number;
}

/** The index of an image. */
export interface AssetIndex {
  version: number;
  description: Description;
  /** The disk as the release may have it as a whole: the same content, in a form of its own. */
  whole: { size: number; sha256: string };
  packs: Pack[];
  /** The description's chunks in the same order, compressed. */
  frames: Frame[];
}

/** The index's name. @param disk The name that the disk has in the release. */
export function indexName(disk: string): string {
  return `${disk}.hotboot-index.json`;
}

/** A pack's name. @param number From 1. */
export function packName(disk: string, number: number): string {
  return `${disk}.hotboot-pack-${number}`;
}

/** How many bytes the chunks of a disk have among a release's files. */
export function packedBytes(files: { name: string; size: number }[], disk: string): number {
  const packs = files.filter(({ name }) => name.startsWith(packName(disk, 0).slice(0, -1)));
  return packs.reduce((sum, { size }) => sum + size, 0);
}

/**
 * Reads an index.
 *
 * @param disk The name that the disk has in the release, from which those of the packs follow.
 * @throws {HotbootError} if something in it makes no sense, or it is of another architecture, or of a newer form.
 */
export function parseAssetIndex(bytes: Uint8Array, disk: string, arch: Arch): AssetIndex {
  const value = parse(bytes, "its index") as unknown as AssetIndex;
  const { version, whole, packs, frames } = value;
  if (version !== VERSION) throw unsound(`its index is of version ${JSON.stringify(version)} instead of ${VERSION}`);
  const isPack = ({ name, size, sha256 }: Pack, at: number) =>
    name === packName(disk, at + 1) && isSize(size) && HEX.test(sha256);
  const arePacks = Array.isArray(packs) && packs.every((pack, at) => isPack(pack ?? {}, at));
  if (!arePacks || !isSize(whole?.size) || !HEX.test(whole.sha256)) {
    throw unsound("its index lacks something, or names a pack that is none");
  }
  const isFrame = ({ pack, offset, size }: Frame) =>
    isSize(pack, packs.length - 1) && isSize(offset) && isSize(size) && size > 0 && offset + size <= packs[pack].size;
  const areFrames = Array.isArray(frames) && frames.every((frame) => isFrame(frame ?? {}));
  if (!areFrames) throw unsound("its index names places that no pack has");
  const description = requireSound(value.description ?? {}, frames);
  if (description.arch !== arch) throw unsound(`its index is for ${JSON.stringify(description.arch)}`);
  return value;
}

/** The bytes of an index: the same for the same image. */
export function encodeAssetIndex(index: Omit<AssetIndex, "version">): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify({ version: VERSION, ...index }));
}
