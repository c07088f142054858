/** Writes an image to a registry: only the chunks that are not there. */

import { sha256 } from "../base/hash.ts";
import { Turns } from "../base/turns.ts";
import type { Arch } from "../vm/arch.ts";
import type { Pool } from "../zstd/pool.ts";
import { longestChunk } from "./chunks.ts";
import { containerDisk } from "./container_disk.ts";
import { compress, describe, type LocalChunk, openCompressor, type Pushed } from "./describe.ts";
import { type Found, imageIn, type Named } from "./find.ts";
import {
  annotationsOf,
  ARTIFACT,
  CHUNK,
  DESCRIPTION,
  type Description,
  type Descriptor,
  encode,
  MANIFEST,
  type Manifest,
  type Part,
  requireAcceptable,
} from "./manifest.ts";
import type { Registry } from "./registry.ts";
import { nameImage } from "./name_image.ts";
import { putManifest, sendBytes } from "./send.ts";

/** How many chunks are sent at once. */
const AT_ONCE = 4;
/** What may be there already, and who gets progress. */
export interface Pushing {
  registry: Registry;
  /** What the tag names now. */
  named?: Named;
  /** The image that this one comes from, and its repository. */
  origin?: { found: Found; repository: string };
  /** The files of a containerDisk to push, too, by part, and where to make its layer. */
  container?: { files: Partial<Record<Part, string>>; path: string };
  /** Replace what the tag names even if that is no image of hotboot's. */
  force?: boolean;
  signal: AbortSignal;
  /** Told how much of the content is there. */
  onProgress(done: number, total: number): void;
}

/** What came of a push. */
export interface PushedResult {
  /** The index's digest. */
  digest: string;
  /** The digest of this architecture's manifest. */
  version: string;
  /** How many bytes the image has in the registry, and how many of them were sent. */
  size: number;
  moved: number;
}

/** A chunk that is in a registry. */
interface Known {
  descriptor: Descriptor;
  /** The repository that has it, if another one. */
  from?: string;
}

/**
 * Sends the image, and lets the tag name it. Images of other architectures stay there.
 *
 * @throws {HotbootError} if the registry does not take it.
 */
export async function pushImage(image: Pushed, pushing: Pushing): Promise<PushedResult> {
  const { registry, named, origin, container, signal } = pushing;
  const { description, local } = await describe(image, signal);
  requireAcceptable(encode(description), "description");
  requireAcceptable(encode(manifestOf(description, PLACEHOLDER, local.map(() => PLACEHOLDER))), "manifest");
  const known = await knownChunks(registry, image.arch, named, origin);
  const { layers, moved } = await sendChunks(local, known, pushing);

  const config = await sendBytes(registry, DESCRIPTION, encode(description), "description");
  const manifest = manifestOf(description, config, layers);
  const platform = { architecture: image.arch, os: "linux" };
  const entries: Descriptor[] = [];
  // First, for programs that take the first that fits a platform.
  if (container) {
    const disk = await containerDisk(registry, container, image, signal);
    entries.push({ ...await putManifest(registry, disk), platform });
  }
  const entry = await putManifest(registry, manifest);
  entries.push({ ...entry, artifactType: ARTIFACT, platform, annotations: manifest.annotations });
  const digest = await nameImage(registry, entries, image.arch, pushing);
  return { digest, version: entry.digest, size: layers.reduce((sum, { size }) => sum + size, 0), moved };
}

/** As long as any descriptor of a chunk: what is too long for registries is refused before anything is sent. */
const PLACEHOLDER: Descriptor = { mediaType: CHUNK, digest: `sha256:${"0".repeat(64)}`, size: longestChunk(8) };

function manifestOf(description: Description, config: Descriptor, layers: Descriptor[]): Manifest {
  const annotations = annotationsOf(description);
  return { schemaVersion: 2, mediaType: MANIFEST, artifactType: ARTIFACT, config, layers, annotations };
}

/** The chunks that the registry has, by their content: compressing and sending them would be in vain. */
async function knownChunks(
  registry: Registry,
  arch: Arch,
  named: Named | undefined,
  origin: Pushing["origin"],
): Promise<Map<string, Known>> {
  const known = new Map<string, Known>();
  const add = async ({ manifest, describe }: Found, from?: string) => {
    const { chunks } = await describe();
    for (const [index, { sha256 }] of chunks.entries()) {
      known.set(sha256, { descriptor: manifest.layers[index], ...(from !== undefined && { from }) });
    }
  };
  const { repository } = registry.reference;
  if (origin) await add(origin.found, origin.repository === repository ? undefined : origin.repository);
  const current = named && await imageIn(registry, named, arch).catch(() => undefined); // a damaged one is replaced
  if (current) await add(current).catch(() => {});
  return known;
}

/** Sends the chunks that are not there, and gives the descriptors of all. */
async function sendChunks(
  local: LocalChunk[],
  known: Map<string, Known>,
  { registry, signal, onProgress }: Pushing,
): Promise<{ layers: Descriptor[]; moved: number }> {
  const layers: Descriptor[] = [];
  const total = local.reduce((sum, { length }) => sum + length, 0);
  const turns = new Turns(AT_ONCE);
  const end = new AbortController(); // one failure ends the others
  const either = AbortSignal.any([signal, end.signal]);
  let [moved, done] = [0, 0];
  const send = async (chunk: LocalChunk, pool: Pool): Promise<Descriptor> => {
    const there = known.get(chunk.sha256);
    if (there && there.from === undefined) return there.descriptor;
    if (there && await registry.mount(there.descriptor.digest, there.from!)) return there.descriptor;
    const frame = await compress(pool, chunk);
    const descriptor = { mediaType: CHUNK, digest: `sha256:${await sha256(frame)}`, size: frame.length };
    if (await registry.has(descriptor.digest)) return descriptor;
    either.throwIfAborted();
    await registry.upload(descriptor, frame);
    moved += frame.length;
    return descriptor;
  };
  for (const path of new Set(local.map((chunk) => chunk.path))) {
    const ofFile = local.entries().filter(([, chunk]) => chunk.path === path).toArray();
    using pool = await openCompressor(path, ofFile.length);
    const sending = ofFile.map(([index, chunk]) =>
      turns.run(async () => {
        either.throwIfAborted();
        layers[index] = await send(chunk, pool);
        onProgress(done += chunk.length, total);
      }, either).catch((error) => end.abort(error))
    );
    await Promise.all(sending);
    either.throwIfAborted();
  }
  return { layers, moved };
}
