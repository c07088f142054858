/** Finds an image in a registry. */

import { HotbootError } from "../base/error.ts";
import type { Arch } from "../vm/arch.ts";
import {
  type Description,
  INDEX,
  type Index,
  isArtifact,
  isOurs,
  MANIFEST,
  type Manifest,
  parseDescription,
  parseManifest,
  requireShort,
} from "./manifest.ts";
import { formatReference } from "./reference.ts";
import { type Fetched, noImage, type Registry } from "./registry.ts";

/** An image in a registry. */
export interface Found {
  /** The digest of what the reference names: the index, or the manifest itself. */
  digest: string;
  /** The manifest's own digest, which fixes the image of one architecture. */
  version: string;
  manifest: Manifest;
  /** Fetches what makes which file. */
  describe(): Promise<Description>;
}

/** What a tag or digest names. */
export interface Named extends Fetched {
  /** Parsed; `undefined` if it is of a kind that hotboot does not push. */
  value?: Index | Manifest;
}

function otherArch({ reference }: Registry, arch: string): HotbootError {
  return new HotbootError(
    `${formatReference(reference)} is an image for ${arch}: type --arch ${arch}, or name another`,
  );
}

/** What a tag or digest names, of whatever kind; `undefined` if there is nothing. */
export async function findNamed(registry: Registry, which?: string): Promise<Named | undefined> {
  const fetched = await registry.manifest(which);
  if (!fetched || ![INDEX, MANIFEST].includes(fetched.mediaType)) return fetched;
  return { ...fetched, value: parseManifest(fetched.bytes, fetched.mediaType) };
}

/**
 * The image that the registry's reference names, for an architecture.
 *
 * @throws {HotbootError} if there is none, or it is no image of hotboot's.
 */
export async function findImage(registry: Registry, arch: Arch): Promise<Found> {
  const { reference } = registry;
  const named = await findNamed(registry);
  if (!named) throw noImage(reference);
  const found = await imageIn(registry, named, arch);
  if (found) return found;
  const others = named.value && "manifests" in named.value
    ? named.value.manifests.filter(isOurs)
      .flatMap(({ platform }) => platform?.architecture ?? [])
    : [];
  throw new HotbootError(
    `${formatReference(reference)} is no image of hotboot's for ${arch}: ${
      others.length > 0
        ? `it has one for ${others.join(", ")}, so type --arch ${others[0]}, or push one`
        : "name another tag, or push one with 'hotboot push'"
    }`,
  );
}

/** The image in what a tag names, for an architecture, if there is one. */
export async function imageIn(
  registry: Registry,
  { value, digest }: Named,
  arch: Arch,
): Promise<Found | undefined> {
  let [manifest, version] = [value, digest];
  if (value && "manifests" in value) {
    const entry = value.manifests.find((each) => isOurs(each) && each.platform?.architecture === arch);
    if (!entry) return undefined;
    const inner = await findNamed(registry, entry.digest);
    if (!inner) throw noImage({ ...registry.reference, digest: entry.digest });
    [manifest, version] = [inner.value, entry.digest];
  }
  if (!manifest || "manifests" in manifest || !isArtifact(manifest)) return undefined;
  const own = manifest;
  const describe = async () => {
    requireShort(own.config);
    const description = parseDescription(await registry.blob(own.config), own);
    if (description.arch !== arch) throw otherArch(registry, description.arch);
    return description;
  };
  return { digest, version, manifest: own, describe };
}
