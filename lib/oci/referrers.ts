/**
 * What others have attached to an image: attestations, as Sigstore bundles.
 *
 * Source: OCI Distribution Specification 1.1, "Listing Referrers", "Referrers Tag Schema"; Sigstore's "Cosign bundle
 * specification".
 */

import type { Manifest } from "./manifest.ts";
import type { Registry } from "./registry.ts";

/** The kind of artifact that a bundle is, whatever its version. */
const BUNDLE = /^application\/vnd\.dev\.sigstore\.bundle[.+]/;
/** What the list may say instead: cosign 3 enters the kind of its empty config there. */
const UNKNOWN = ["application/vnd.oci.empty.v1+json", ""];
/** The most bytes that a bundle may have, and the most of them: an image is attested once or twice for each build. */
const LONGEST = 2 ** 20;
const MOST = 100;

/**
 * The Sigstore bundles that are attached to a digest, which nobody has checked yet.
 *
 * @throws {HotbootError} if they cannot be got.
 */
export async function* bundlesOf(registry: Registry, digest: string): AsyncIterable<unknown> {
  const mayBe = (kind: string) => BUNDLE.test(kind) || UNKNOWN.includes(kind);
  const entries = (await registry.referrers(digest)).filter(({ artifactType = "" }) => mayBe(artifactType));
  for (const entry of entries.slice(0, MOST)) {
    const fetched = await registry.manifest(entry.digest);
    const layer = fetched && layerOf(fetched.bytes);
    if (layer && layer.size <= LONGEST) yield parse(await registry.blob(layer));
  }
}

/** The bundle's blob, if the manifest has one. */
function layerOf(manifest: Uint8Array): Manifest["layers"][number] | undefined {
  const { layers } = (parse(manifest) ?? {}) as Partial<Manifest>;
  return Array.isArray(layers) ? layers.find((each) => BUNDLE.test(String(each?.mediaType))) : undefined;
}

function parse(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined; // no bundle: whoever checks it says so
  }
}
