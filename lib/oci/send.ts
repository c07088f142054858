/** Sends what is small: descriptions, configs and manifests. */

import { sha256 } from "../base/hash.ts";
import { type Descriptor, encode, MANIFEST, type Manifest, requireAcceptable } from "./manifest.ts";
import type { Registry } from "./registry.ts";

/** Sends a blob that is in memory, and gives its descriptor. */
export async function sendBytes(
  registry: Registry,
  mediaType: string,
  bytes: Uint8Array<ArrayBuffer>,
  what: string,
): Promise<Descriptor> {
  requireAcceptable(bytes, what);
  const descriptor = { mediaType, digest: `sha256:${await sha256(bytes)}`, size: bytes.length };
  if (!await registry.has(descriptor.digest)) await registry.upload(descriptor, bytes);
  return descriptor;
}

/** Sends a manifest, and gives its descriptor. */
export async function putManifest(registry: Registry, manifest: Manifest): Promise<Descriptor> {
  const bytes = encode(manifest);
  requireAcceptable(bytes, "manifest");
  const digest = `sha256:${await sha256(bytes)}`;
  await registry.putManifest(digest, { mediaType: MANIFEST, digest, bytes });
  return { mediaType: MANIFEST, digest, size: bytes.length };
}
