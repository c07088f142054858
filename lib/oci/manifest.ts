/**
 * What a registry has of an image: an index with one manifest for each architecture; a manifest with the chunks as its layers;
 * and a description, the manifest's config, that says which chunks make which file. Each names the next by its digest, so
 * the index's digest fixes every byte.
 *
 * Source: OCI Image Format Specification 1.1: "Image Manifest", "Image Index", "Guidelines for Artifact Usage".
 */

import { HotbootError } from "../base/error.ts";
import type { Arch } from "../vm/arch.ts";
import { longestChunk, type Scale, SCALES } from "./chunks.ts";

/** Media types: OCI's own, */
export const INDEX = "application/vnd.oci.image.index.v1+json";
export const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
/** and hotboot's: the kind of artifact, its description, and a chunk, which is one zstd frame. */
export const ARTIFACT = "application/vnd.hotboot.image.v1";
export const DESCRIPTION = "application/vnd.hotboot.image.config.v1+json";
export const CHUNK = "application/vnd.hotboot.image.chunk.v1+zstd";

/** The most that registries accept, by the Distribution Specification. */
export const LONGEST_MANIFEST = 4 * 2 ** 20;
/** A description lists each chunk in some 80 bytes, a manifest in some 170. */
const LONGEST_DESCRIPTION = LONGEST_MANIFEST;

/** Names a blob or a manifest by its digest. */
export interface Descriptor {
  mediaType: string;
  digest: string;
  size: number;
  artifactType?: string;
  platform?: { architecture: string; os: string };
  annotations?: Record<string, string>;
}

/** A manifest. */
export interface Manifest {
  schemaVersion: 2;
  mediaType: typeof MANIFEST;
  artifactType?: string;
  config: Descriptor;
  layers: Descriptor[];
  annotations?: Record<string, string>;
}

/** An index. */
export interface Index {
  schemaVersion: 2;
  mediaType: typeof INDEX;
  manifests: Descriptor[];
  annotations?: Record<string, string>;
}

/** The parts of an image. */
export const PARTS = ["disk", "kernel", "initrd"] as const;
export type Part = typeof PARTS[number];

/** A file of the image. */
export interface FileDescription {
  size: number;
  /** SHA-256 of all of it, in hex. */
  sha256: string;
  /** What it consists of, in order: indices of the description's chunks. */
  chunks: number[];
}

/** A chunk, by its content. */
export interface ChunkDescription {
  length: number;
  /** SHA-256 of its content, in hex. */
  sha256: string;
}

/** What an image is, and since when. */
export interface Made {
  /** The profile's name. */
  profile: string;
  arch: Arch;
  /** When it was made, ISO 8601. */
  created: string;
}

/** What makes which file. */
export interface Description extends Made {
  /** How much longer than usual its chunks are, if the image is large. */
  scale?: Scale;
  files: { disk: FileDescription } & Partial<Record<Part, FileDescription>>;
  /** The manifest's layers in the same order, decompressed. */
  chunks: ChunkDescription[];
}

/** The bytes of a manifest, an index or a description: the same for the same value. */
export function encode(value: Manifest | Index | Description): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(value));
}

/** @throws {HotbootError} if it is not JSON, or not an object. */
export function parse(bytes: Uint8Array, what: string): Record<string, unknown> {
  try {
    const value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  } catch {
    // below
  }
  throw unsound(`${what} is not JSON`);
}

/** The error for something published that makes no sense. */
export function unsound(why: string): HotbootError {
  return new HotbootError(`the image that was pushed is damaged: ${why}; push it again`);
}

const DIGEST = /^sha256:[0-9a-f]{64}$/;
/** A SHA-256. */
export const HEX = /^[0-9a-f]{64}$/;

/** Whether it is a number of bytes, or an index. */
export function isSize(value: unknown, most = Number.MAX_SAFE_INTEGER): value is number {
  return Number.isSafeInteger(value) && value as number >= 0 && value as number <= most;
}

function isDescriptor(value: unknown): value is Descriptor {
  const { mediaType, digest, size } = (value ?? {}) as Partial<Descriptor>;
  return typeof mediaType === "string" && typeof digest === "string" && DIGEST.test(digest) && isSize(size);
}

/** Reads an index or a manifest, of whatever kind of image. @throws {HotbootError} if it is neither. */
export function parseManifest(bytes: Uint8Array, mediaType: string): Index | Manifest {
  const value: { mediaType?: unknown; manifests?: unknown; config?: unknown; layers?: unknown } = parse(
    bytes,
    "its manifest",
  );
  if (mediaType === INDEX && value.mediaType !== MANIFEST && isDescriptors(value.manifests)) {
    return value as unknown as Index;
  }
  const isManifest = isDescriptor(value.config) && isDescriptors(value.layers);
  if (mediaType === MANIFEST && value.mediaType !== INDEX && isManifest) return value as unknown as Manifest;
  throw unsound(`its manifest is of another kind, or lacks something`);
}

function isDescriptors(value: unknown): value is Descriptor[] {
  return Array.isArray(value) && value.every(isDescriptor);
}

/** The annotations that say whose image it is: programs that copy an index may leave out what they do not know, but not these. */
const [OF_PROFILE, OF_ARCH] = ["io.github.hotboot.profile", "io.github.hotboot.arch"];

/** Whether an index's entry is a manifest of hotboot's. */
export function isOurs({ artifactType, annotations }: Descriptor): boolean {
  return artifactType === ARTIFACT || annotations?.[OF_PROFILE] !== undefined;
}

/** Whether a manifest is hotboot's. */
export function isArtifact({ config }: Manifest): boolean {
  return config.mediaType === DESCRIPTION;
}

/**
 * Reads the description of a manifest.
 *
 * @throws {HotbootError} if the two do not fit each other, or something in them makes no sense.
 */
export function parseDescription(bytes: Uint8Array, { layers }: Manifest): Description {
  if (!layers.every(({ mediaType }) => mediaType === CHUNK)) throw unsound("its layers are not its chunks");
  return requireSound(parse(bytes, "its description"), layers);
}

/** @param stored The chunks as they are published. @throws {HotbootError} as above. */
export function requireSound(described: unknown, stored: { size: number }[]): Description {
  const value = described as Description;
  const { profile, arch, created, scale = 1, files, chunks } = value;
  const isText = [profile, arch, created].every((text) => typeof text === "string");
  if (!isText || typeof files !== "object" || !files?.disk || !Array.isArray(chunks)) {
    throw unsound("its description lacks something");
  }
  if (!SCALES.includes(scale)) throw unsound("its chunks are cut in a way that this hotboot does not know");
  const longest = longestChunk(scale);
  const areChunks = chunks.every((chunk) => HEX.test(chunk?.sha256) && isSize(chunk.length, longest));
  if (!areChunks || chunks.some(({ length }) => length === 0)) throw unsound("its description has an impossible chunk");
  // Compressed, even noise becomes only a little longer.
  const fit = stored.every(({ size }) => size <= longest + 2 ** 16);
  if (!fit || stored.length !== chunks.length) throw unsound("its layers are not its chunks");
  for (const [part, file] of Object.entries(files)) {
    const isFile = PARTS.includes(part as Part) && HEX.test(file?.sha256) && Array.isArray(file.chunks) &&
      file.chunks.every((index) => isSize(index, chunks.length - 1)) &&
      file.chunks.reduce((sum, index) => sum + chunks[index].length, 0) === file.size;
    if (!isFile) throw unsound(`its description of the ${PARTS.find((each) => each === part) ?? "file"} is wrong`);
  }
  return value;
}

/** The limit for a description, before it is fetched. @throws {HotbootError} if it is longer. */
export function requireShort({ size }: Descriptor): void {
  if (size > LONGEST_DESCRIPTION) throw unsound("its description is too long");
}

/** @throws {HotbootError} if a manifest or description is too long for registries. */
export function requireAcceptable(bytes: Uint8Array, what: string): void {
  if (bytes.length <= LONGEST_MANIFEST) return;
  throw new HotbootError(
    `the image is too large for a registry: its ${what} would be longer than the ${LONGEST_MANIFEST} bytes that registries accept; make its disk smaller`,
  );
}

/** The manifest's annotations. */
export function annotationsOf({ profile, arch, created }: Description): Record<string, string> {
  return {
    "org.opencontainers.image.created": created,
    "org.opencontainers.image.title": `${profile} for ${arch}`,
    [OF_PROFILE]: profile,
    [OF_ARCH]: arch,
  };
}
