/**
 * Lets a tag name an image beside those of other architectures. Registries replace what a tag names without a look at what
 * that was (OCI Distribution Specification 1.1, "Pushing Manifests", has no conditions), so two that push at the same time
 * could each lose the other's image. So each looks again after a moment, and puts its own in again if it is missing.
 */

import { HotbootError } from "../base/error.ts";
import { sha256 } from "../base/hash.ts";
import { sleep } from "../base/wait.ts";
import type { Arch } from "../vm/arch.ts";
import { findNamed, type Named } from "./find.ts";
import {
  type Descriptor,
  encode,
  INDEX,
  type Index,
  isArtifact,
  isOurs,
  type Manifest,
  requireAcceptable,
} from "./manifest.ts";
import { formatReference } from "./reference.ts";
import type { Registry } from "./registry.ts";

/** Longer than another's requests take, one to read what the tag names and one to replace it. */
const LOOK_AGAIN_MS = 500;
const MOST_ROUNDS = 8;

/**
 * Puts the entries in the place of the earlier ones of their architecture, and gives the digest of what the tag names then.
 *
 * @param entries The last one is the image's own.
 * @throws {HotbootError} if the tag names something else than images of hotboot's, and that may not be replaced; if others push to the tag all the time, or an image of the same architecture.
 */
export async function nameImage(
  registry: Registry,
  entries: Descriptor[],
  arch: Arch,
  { force = false, signal }: { force?: boolean; signal: AbortSignal },
): Promise<string> {
  const own = entries.at(-1)!.digest;
  let old: string | undefined;
  for (let round = 1; round <= MOST_ROUNDS; round++) {
    const named = await findNamed(registry);
    if (!force) requireOurs(registry, named);
    const there = imageFor(named?.value, arch);
    if (round === 1) old = there;
    else if (there !== undefined && there !== own && there !== old) {
      throw new HotbootError(
        `another push has put an image for ${arch} under ${formatReference(registry.reference)} at the same time: ` +
          "push again, if yours is the newer one",
      );
    }
    const index = merge(named?.value, entries, arch);
    const bytes = encode(index);
    requireAcceptable(bytes, "index");
    const digest = `sha256:${await sha256(bytes)}`;
    if (named?.digest === digest) return digest;
    await registry.putManifest(registry.reference.tag!, { mediaType: INDEX, digest, bytes });
    await sleep(LOOK_AGAIN_MS * 2 ** Math.min(round - 1, 3), signal); // some registries show the old one for a while
  }
  throw new HotbootError(
    `others push to ${formatReference(registry.reference)} all the time: push again when they are done`,
  );
}

/** @throws {HotbootError} if the tag names something else than images of hotboot's. */
export function requireOurs(registry: Registry, named: Named | undefined): void {
  if (!named) return;
  const { value } = named;
  if (value && ("manifests" in value ? value.manifests.some(isOurs) : isArtifact(value))) return;
  throw new HotbootError(
    `${
      formatReference(registry.reference)
    } is there, and no image of hotboot's: name another tag, or replace it with --force`,
  );
}

/** The digest of hotboot's own image for an architecture. */
function imageFor(value: Index | Manifest | undefined, arch: Arch): string | undefined {
  if (!value || !("manifests" in value)) return undefined;
  return value.manifests.find((each) => isOurs(each) && each.platform?.architecture === arch)?.digest;
}

/** The index with these entries in the place of the earlier ones of their architecture: the same, whoever came first. */
function merge(before: Index | Manifest | undefined, entries: Descriptor[], arch: Arch): Index {
  const others = before && "manifests" in before
    ? before.manifests.filter(({ platform }) => platform?.architecture !== arch)
    : [];
  // Those of hotboot's come last, for programs that take the first that fits a platform.
  const rank = (each: Descriptor) => `${isOurs(each) ? 1 : 0} ${each.platform?.architecture} ${each.digest}`;
  const manifests = [...others, ...entries].toSorted((a, b) => rank(a) < rank(b) ? -1 : 1);
  return { schemaVersion: 2, mediaType: INDEX, manifests };
}
