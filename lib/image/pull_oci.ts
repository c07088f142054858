/** Gets an image from a registry: only what is not on this machine. */

import { HotbootError } from "../base/error.ts";
import { removeIfThere } from "../base/files.ts";
import { assemble } from "../oci/assemble.ts";
import { blobsOf } from "../oci/chunk_sources.ts";
import { findImage } from "../oci/find.ts";
import { bundlesOf } from "../oci/referrers.ts";
import { formatReference, parseReference, type Reference } from "../oci/reference.ts";
import { WrongContent } from "../release/options.ts";
import type { Emulator } from "../instance/emulator.ts";
import { ownDirectory } from "../instance/home.ts";
import { requireUnused } from "../instance/users.ts";
import { downloadPath, readImage } from "./image.ts";
import { type PullOptions, type PullResult, requirePublishedDisk } from "./pulling.ts";
import { prove, proveAgain, type Subject } from "./provenance.ts";
import { openRegistry } from "./registry.ts";
import { madeFiles, sourcesIn } from "./chunks.ts";
import { openStore, putInPlace, requireKnown } from "./store.ts";

/**
 * Downloads the emulator's image from a registry, unless it is up to date; see `pull`.
 *
 * @param name The image's name in the profile.
 */
export async function pullFromRegistry(emulator: Emulator, name: string, options: PullOptions): Promise<PullResult> {
  const { arch, report, signal } = emulator;
  const reference = wantedReference(emulator, name, options);
  using _lock = await openStore(emulator);
  const registry = await openRegistry(emulator, reference);
  const found = await findImage(registry, arch);
  const { version, manifest: { layers, config } } = found;
  const size = layers.reduce((sum, layer) => sum + layer.size, 0);
  const existing = await readImage(emulator, { isOwner: true }).catch(() => undefined); // a damaged one is replaced
  const origin = existing?.record.origin;
  const digests = [...new Set([found.digest, version])]; // the index's fixes its images
  const subject: Subject = {
    name: formatReference(reference),
    digests,
    async *bundles() {
      for (const digest of digests) yield* bundlesOf(registry, digest);
    },
  };
  const names = reference.tag === undefined ? {} : { tag: reference.tag };
  if (!options.force && existing && origin?.kind === "oci" && origin.version === version) {
    await proveAgain(emulator, existing, [subject], names);
    return { image: existing, pulled: false, size, moved: 0 };
  }
  if (!options.force) await requireKnown(emulator, existing);
  await requireUnused(emulator, existing?.record.files.disk.sha256);

  const provenance = await prove(emulator, [subject], names);
  const directory = downloadPath(emulator);
  await ownDirectory(directory);
  report.step(`pull ${formatReference(reference)}`);
  try {
    const description = await found.describe();
    const { paths, moved } = await assemble({
      description,
      from: blobsOf(registry, layers),
      directory,
      sources: existing ? await sourcesIn(emulator, existing, directory) : [],
      signal,
      onProgress: (done, total) => report.progress(reference.repository, done, total),
    });
    const files = madeFiles(paths, description);
    await requirePublishedDisk(files.disk.path);
    const image = await putInPlace(emulator, files, {
      kind: "oci",
      reference: formatReference({ ...reference, digest: undefined }),
      digest: found.digest,
      version,
      published: description.created,
    }, provenance);
    await removeIfThere(directory);
    return { image, pulled: true, size, moved: moved + config.size };
  } catch (error) {
    if (error instanceof WrongContent) await removeIfThere(directory); // the next attempt must not find it
    throw error;
  }
}

/** What the profile names, or the tag that was asked for. */
function wantedReference({ profile }: Emulator, name: string, options: PullOptions): Reference {
  const other = (["repository", "branch", "pullRequest", "run"] as const).find((each) => options[each] !== undefined);
  if (other !== undefined) {
    throw new HotbootError(
      `profile '${profile.name}' has its image in a registry, where there is no such choice: name a tag with --tag`,
    );
  }
  const reference = parseReference(name);
  return options.tag === undefined
    ? reference
    : parseReference(formatReference({ ...reference, tag: options.tag, digest: undefined }));
}
