/** Publishes an image in a registry. */

import { HotbootError } from "../base/error.ts";
import { findImage, findNamed } from "../oci/find.ts";
import { writeFlatDisk } from "../oci/flat_disk.ts";
import { requireOurs } from "../oci/name_image.ts";
import { pushImage, type Pushing } from "../oci/push.ts";
import { formatReference, parseReference, type Reference } from "../oci/reference.ts";
import type { Registry } from "../oci/registry.ts";
import type { Emulator } from "../instance/emulator.ts";
import { isFlat } from "./chunks.ts";
import { type Image, readImage } from "./image.ts";
import { openRegistry } from "./registry.ts";
import { openStore, temporaryPath } from "./store.ts";

/** Where to push to, and what. */
export interface PushOptions {
  /** `oci://HOST[:PORT]/REPOSITORY[:TAG]`; the profile's `image.oci` by default. */
  reference?: string;
  /** Also push a containerDisk, as KubeVirt takes it, under the same tag. */
  containerDisk?: boolean;
  /** Replace what the tag names even if that is no image of hotboot's. */
  force?: boolean;
}

/** The result of a push. */
export interface PushResult {
  /** Where the image is now: `oci://HOST/REPOSITORY:TAG`. */
  reference: string;
  /** The digest of what the tag names now; behind `@` in a profile's `image.oci` it pins this image. */
  digest: string;
  /** The digest of this architecture's manifest. */
  version: string;
  /** How many bytes the image's chunks have in the registry. */
  size: number;
  /** How many of them were sent; the registry had the others. */
  moved: number;
}

/**
 * Pushes the image that is there to a registry, from which {@linkcode pull} gets it. Sends only what the registry does not
 * have. Images of other architectures under the same tag stay, also those that others push at the same time.
 *
 * Needs net permission for the registry and the hosts that it names; read and write permission for the home; sys permission
 * for `statfs`; and for the login what {@linkcode pull} needs.
 *
 * @param emulator The emulator, from {@linkcode openEmulator}.
 * @param options Where to push to, if not where the profile has its image.
 * @returns Where the image is now, with its digest.
 * @throws {HotbootError} if there is no image, no place to push to, the tag names something else than an image of hotboot's,
 * or the registry does not take it.
 * @throws The reason of the emulator's signal, if it aborts. What has been sent stays in the registry, for the next attempt.
 *
 * @example
 * ```ts
 * import { build, openEmulator, push } from "@hotboot/hotboot";
 *
 * const emulator = await openEmulator({ profile: "./shop.json" });
 * await build(emulator);
 * const { reference, digest } = await push(emulator, { reference: "oci://registry.example.com/team/shop:main" });
 * console.log(`${reference}@${digest}`);
 * ```
 */
export async function push(emulator: Emulator, options: PushOptions = {}): Promise<PushResult> {
  const { arch, profile, report, signal } = emulator;
  const reference = wantedReference(emulator, options);
  using _lock = await openStore(emulator);
  const image = await readImage(emulator, { isOwner: true });
  if (!image) throw new HotbootError(`there is no image of '${profile.name}' to push: 'hotboot build' makes it`);
  const registry = await openRegistry(emulator, reference, true);
  const named = await findNamed(registry);
  if (!options.force) requireOurs(registry, named);
  const origin = await originOf(emulator, registry, image);

  const directory = temporaryPath(emulator);
  await Deno.mkdir(directory, { mode: 0o700 });
  try {
    let { disk } = image.paths;
    const from = image.record.origin;
    if (!isFlat(from)) {
      report.step("read the image");
      disk = `${directory}/disk`;
      await writeFlatDisk(image.paths.disk, disk, {
        signal,
        onProgress: (done, total) => report.progress("disk", done, total),
      });
    }
    const name = formatReference(reference);
    report.step(`push to ${name}`);
    const result = await pushImage({
      profile: profile.name,
      arch,
      created: from.kind === "oci" ? from.published : image.record.created,
      files: { ...image.paths, disk },
    }, {
      registry,
      ...(named && { named }),
      force: options.force ?? false,
      ...(origin && { origin }),
      ...(options.containerDisk && { container: { files: image.paths, path: `${directory}/layer.tar` } }),
      signal,
      onProgress: (done, total) => report.progress(reference.repository, done, total),
    });
    return { reference: name, ...result };
  } finally {
    await Deno.remove(directory, { recursive: true }).catch(() => {});
  }
}

function wantedReference({ profile }: Emulator, { reference }: PushOptions): Reference {
  const name = reference ?? profile.image.oci;
  if (name === undefined) {
    throw new HotbootError(
      `profile '${profile.name}' names no registry: name one, as in 'hotboot push oci://HOST/REPOSITORY:TAG', or write the ` +
        "files of a release with --assets DIR",
    );
  }
  const parsed = parseReference(name);
  if (parsed.digest === undefined) return parsed;
  throw new HotbootError(
    `${name} is one certain image, which cannot be replaced: name a tag, as in 'hotboot push ${
      formatReference({ ...parsed, tag: parsed.tag ?? "latest", digest: undefined })
    }'`,
  );
}

/** The image in the same registry that this one was pulled from: what is the same need not be sent again. */
async function originOf(
  { arch }: Emulator,
  registry: Registry,
  { record: { origin } }: Image,
): Promise<Pushing["origin"]> {
  if (origin.kind !== "oci") return undefined;
  const { host, repository, ...rest } = parseReference(origin.reference);
  if (host !== registry.reference.host) return undefined;
  const other = registry.at({ ...rest, host, repository, digest: origin.version });
  return await findImage(other, arch).then((found) => ({ found, repository }), () => undefined);
}
