/** Gets an image from where it is published. */

import { sha256File } from "../base/hash.ts";
import { HotbootError } from "../base/error.ts";
import type { ReleaseSource } from "../profile/profile.ts";
import { indexName, packedBytes } from "../oci/asset_index.ts";
import { type Artifact, GitHub, type ReleaseAsset } from "../release/github.ts";
import { download } from "../release/download.ts";
import { findNetwork } from "../release/network.ts";
import { findToken } from "../release/token.ts";
import { unzipOne } from "../release/zip.ts";
import { type Download, WrongContent } from "../release/options.ts";
import type { Emulator } from "../instance/emulator.ts";
import { BUNDLE_ENDING, LONGEST_BUNDLES, parseJsonLines } from "../sigstore/bundles.ts";
import { repositoryOf } from "../sigstore/provenance.ts";
import { ownDirectory } from "../instance/home.ts";
import type { ImagePart } from "../instance/machine.ts";
import { requireUnused } from "../instance/users.ts";
import { downloadPath, type ImageOrigin, type ImageRecord, readImage } from "./image.ts";
import type { IndexedRelease, Published } from "./pull_index.ts";
import { prove, proveAgain, type RefNames, type Subject } from "./provenance.ts";
import { type PullOptions, type PullResult, requirePublishedDisk } from "./pulling.ts";
import { type NewFiles, openStore, putInPlace, requireKnown, temporaryPath } from "./store.ts";

/** What to pull: the origin, and each file's download, the index of their chunks, or both; for a run, one archive with all files. */
interface Plan {
  origin: Extract<ImageOrigin, { kind: "release" | "run" }>;
  files?: [ImagePart, Published][];
  indexed?: IndexedRelease;
  archive?: Download;
  /** How much there is to download. */
  bytes: number;
  /** What the builder's ref may contain. */
  names: RefNames;
  /** Looks for the attestations of a file of the image. */
  attestations(name: string, sha256: string): AsyncIterable<unknown>;
}

/**
 * Downloads the emulator's image, unless it is up to date. A download that broke off continues where it stopped, in this run
 * or the next. The earlier image and its snapshots stay usable until the new one is in place.
 *
 * Needs net permission for GitHub, or the registry, and the hosts that they name; env permission for `HOTBOOT_GITHUB_API`, and for
 * `GITHUB_TOKEN` and `GH_TOKEN` (for another API `GITHUB_ENTERPRISE_TOKEN` and `GH_ENTERPRISE_TOKEN`); run permission for `gh`, to ask it for a token (`gh` and the two token variables are not used if the
 * emulator has a token, and `gh` not without the permission); read and write permission for
 * the home; read permission for the trusted root that the profile names; sys permission for `statfs`; net permission for the
 * sockets of instances.
 * For the login at a registry it needs env permission for `DOCKER_CONFIG` and `HOME`, read permission for Docker's
 * `config.json`, and run permission for the credential helper that this names, unless the emulator has a login.
 *
 * @param emulator The emulator, from {@linkcode openEmulator}.
 * @param options What to pull, if not what the profile says.
 * @returns The image, and whether it was downloaded now.
 * @throws {HotbootError} if the profile names no release, an instance uses the current image, or the new one cannot be
 * downloaded, is not what was published, or was not built by the workflow that the profile names.
 * @throws The reason of the emulator's signal, if it aborts. The downloaded part is kept for the next attempt.
 *
 * @example
 * ```ts
 * import { openEmulator, pull } from "@hotboot/hotboot";
 *
 * const emulator = await openEmulator({ profile: "./shop.json" });
 * const { image, pulled } = await pull(emulator, { pullRequest: 42 });
 * console.log(pulled ? "pulled" : "there already", image.paths.disk);
 * ```
 */
export async function pull(emulator: Emulator, options: PullOptions = {}): Promise<PullResult> {
  const { profile, report, signal } = emulator;
  const { release, oci } = profile.image;
  if (oci !== undefined) return await (await import("./pull_oci.ts")).pullFromRegistry(emulator, oci, options);
  if (!release) {
    throw new HotbootError(`profile '${profile.name}' names no release to pull: 'hotboot build' makes its image`);
  }
  using _lock = await openStore(emulator);
  const plan = await makePlan(emulator, release, options);
  const existing = await readImage(emulator, { isOwner: true }).catch(() => undefined); // a damaged one is replaced
  const subject = (name: string, sha256: string): Subject => ({
    name,
    digests: [`sha256:${sha256}`],
    bundles: () => plan.attestations(name, sha256),
  });
  const subjects = (files: Partial<Record<ImagePart, { sha256: string }>>) =>
    Object.entries(files).map(([part, { sha256 }]) => {
      return subject(nameOf(release.assets[part as ImagePart] ?? part, emulator), sha256);
    });
  if (!options.force && existing && isSame(existing.record.origin, plan.origin)) {
    const { origin, files } = existing.record;
    const index = origin.kind === "release" ? origin.index : undefined; // it stands for the image that it describes
    const all = index === undefined
      ? subjects(files)
      : [subject(indexName(nameOf(release.assets.disk, emulator)), index)];
    await proveAgain(emulator, existing, all, plan.names);
    return { image: existing, pulled: false };
  }
  if (!options.force) await requireKnown(emulator, existing);
  await requireUnused(emulator, existing?.record.files.disk.sha256);

  const directory = downloadPath(emulator);
  await ownDirectory(directory);
  const fetchOne = async (what: Download, to = directory) => {
    report.step(`pull ${what.name} from ${plan.origin.repository}`);
    const path = `${to}/${what.name}`;
    const { sha256 } = await download(path, what, {
      signal,
      onProgress: (done, total) => report.progress(what.name, done, total),
      onTrouble: report.warn,
    });
    return { path, sha256 };
  };
  const removeAll = () => Deno.remove(directory, { recursive: true }).catch(() => {});
  const fetchFiles = async () =>
    Object.fromEntries(
      await eachInTurn(plan.files!, async ([part, what]) => [part, await fetchOne(what)]),
    ) as NewFiles;
  try {
    const assembled = plan.indexed &&
      await (await import("./pull_index.ts")).pullByIndex(emulator, plan.indexed, {
        directory: `${directory}/chunks`,
        existing,
        prove: ({ name, sha256 }) => prove(emulator, [subject(name, sha256!)], plan.names),
        fetchWhole: fetchOne,
      });
    if (assembled) {
      const { files, size, moved, provenance } = assembled;
      await requirePublishedDisk(files.disk.path);
      const image = await putInPlace(emulator, files, assembledFrom(plan), provenance);
      await removeAll();
      return { image, pulled: true, size, moved };
    }
    // Before anything is downloaded, if it is known what that will be.
    const known = plan.files?.every(([, { sha256 }]) => sha256 !== undefined) &&
      plan.files.map(([, { name, sha256 }]) => subject(name, sha256!));
    let provenance: ImageRecord["provenance"];
    if (known) provenance = await prove(emulator, known, plan.names);
    const files = plan.archive ? await unpack(emulator, release, await fetchOne(plan.archive)) : await fetchFiles();
    if (!known) provenance = await prove(emulator, subjects(files), plan.names);
    await requirePublishedDisk(files.disk.path);
    const image = await putInPlace(emulator, files, plan.origin, provenance);
    const all = plan.archive ? [plan.archive] : plan.files!.map(([, what]) => what);
    for (const { name, sha256 } of all) {
      if (sha256 !== undefined) continue;
      report.warn(
        `GitHub gives no digest of ${name}, so nothing shows that it is what was published: set image.release.requireDigest in the profile to refuse such a file`,
      );
    }
    await removeAll();
    return { image, pulled: true };
  } catch (error) {
    if (error instanceof WrongContent) await removeAll(); // the next attempt must not find it
    throw error;
  }
}

/** How much there is to download of what the profile's release has, in bytes. @throws {HotbootError} as for {@linkcode pull}. */
export async function publishedBytes(emulator: Emulator, release: ReleaseSource): Promise<number> {
  return (await makePlan(emulator, release, {})).bytes;
}

/** GitHub, configured from the environment. */
export async function openGitHub({ signal, token: given, network: known }: Emulator): Promise<GitHub> {
  const api = Deno.env.get("HOTBOOT_GITHUB_API") || undefined;
  const token = given === undefined ? await findToken(api, signal) : given;
  const network = known ?? await findNetwork();
  return new GitHub({ signal, network, ...(api && { api }), ...(token && { token }) });
}

async function makePlan(emulator: Emulator, release: ReleaseSource, options: PullOptions): Promise<Plan> {
  const github = await openGitHub(emulator);
  const repository = options.repository ?? release.repository;
  if (options.pullRequest !== undefined || options.run !== undefined) {
    return await planRun(emulator, github, release, repository, options);
  }
  const { branch = release.branch ?? "main" } = options;
  if (options.branch !== undefined && !release.tag.includes("{branch}")) {
    throw new HotbootError(
      `profile '${emulator.profile.name}' has one release for all branches: name another with --tag`,
    );
  }
  const tag = options.tag ?? release.tag.replaceAll("{branch}", () => branch); // as a string, $ would have a meaning
  const found = await github.release(repository, tag);
  const describe = (asset: ReleaseAsset): Published => {
    const { name, size, url, updated_at } = asset;
    const sha256 = digestOf(asset, release);
    return {
      name,
      size,
      version: `${url} ${updated_at}`,
      ...(sha256 && { sha256 }),
      request: github.bytesRequest(url),
      explain: (response) => github.explain(response, `${name} of release '${tag}' of ${repository}`),
    };
  };
  const file = (name: string) => {
    const asset = found.assets.find((each) => each.name === name);
    return asset && describe(asset);
  };
  const names = Object.entries(release.assets).map((
    [part, pattern],
  ): [ImagePart, string] => [part as ImagePart, nameOf(pattern, emulator)]);
  const missing = names.find(([, name]) => !found.assets.some((each) => each.name === name))?.[1];
  const disk = nameOf(release.assets.disk, emulator);
  // Without a digest nothing would show what it is.
  const index = found.assets.some(({ name, digest }) => name === indexName(disk) && digest)
    ? file(indexName(disk))
    : undefined;
  if (missing !== undefined && !index) {
    const there = found.assets.map((each) => each.name).join(", ") || "nothing";
    throw new HotbootError(
      `release '${tag}' of ${repository} has no ${missing}, only ${there}: choose another with --tag`,
    );
  }
  const files = missing === undefined
    ? names.map(([part, name]): [ImagePart, Published] => [part, file(name)!])
    : undefined;
  const version = files?.map(([, { sha256, version }]) => sha256 ?? version).join(" ") ?? index!.sha256!;
  return {
    origin: { kind: "release", repository, tag, published: found.published_at ?? "", version },
    bytes: files?.reduce((sum, [, { size }]) => sum + size, 0) ?? packedBytes(found.assets, disk),
    ...(files && { files }),
    ...(index && {
      indexed: {
        index,
        disk,
        parts: names.map(([part]) => part),
        ...(files && { whole: Object.fromEntries(files) }),
        file,
      },
    }),
    names: { branch, tag },
    async *attestations(name, sha256) {
      const beside = found.assets.find((each) => each.name === `${name}${BUNDLE_ENDING}`);
      if (beside) yield* parseJsonLines(await github.text(beside, LONGEST_BUNDLES), beside.name);
      yield* atGitHub(emulator, github, sha256);
    },
  };
}

/** The attestations that GitHub keeps for the repository that an image must be built from. */
function atGitHub({ profile }: Emulator, github: GitHub, sha256: string): AsyncIterable<unknown> {
  const { workflow, repository = repositoryOf(workflow) } = profile.image.attestation!;
  return github.attestations(repository, sha256);
}

async function planRun(
  emulator: Emulator,
  github: GitHub,
  release: ReleaseSource,
  repository: string,
  { pullRequest, run }: PullOptions,
): Promise<Plan> {
  const { arch, profile } = emulator;
  const { workflow } = release;
  const name = release.artifact?.replaceAll("{arch}", arch);
  if (!name || !workflow) {
    throw new HotbootError(
      `profile '${profile.name}' does not name the workflow and artifact that images are built with: pull a release instead`,
    );
  }
  const found = run === undefined ? await github.runOfPullRequest(repository, pullRequest!, workflow) : undefined;
  const id = run ?? found!.id;
  const artifact = await github.artifact(repository, id, name);
  const sha256 = digestOf(artifact, release);
  const branch = found?.head_branch ?? undefined;
  const version = sha256 ?? String(artifact.id);
  return {
    origin: { kind: "run", repository, run: id, ...(branch && { branch }), published: artifact.created_at, version },
    bytes: artifact.size_in_bytes,
    archive: {
      name: `${name}.zip`,
      version: artifact.archive_download_url,
      // An artifact without a digest is an old one: its size is that of the files in it.
      ...(sha256 && { sha256, size: artifact.size_in_bytes }),
      request: github.bytesRequest(artifact.archive_download_url),
      explain: (response) => github.explain(response, `artifact '${name}' of run ${id} of ${repository}`),
    },
    names: { branch: release.branch ?? "main" },
    async *attestations(_, sha256) {
      yield* atGitHub(emulator, github, sha256);
    },
  };
}

/** The SHA-256 that GitHub gives. @throws {HotbootError} if it gives none, and the profile wants one. */
function digestOf({ name, digest }: ReleaseAsset | Artifact, { requireDigest }: ReleaseSource): string | undefined {
  const sha256 = digest?.match(/^sha256:([0-9a-f]{64})$/)?.[1];
  if (sha256 !== undefined || !requireDigest) return sha256;
  throw new HotbootError(
    `GitHub gives no digest of ${name}, and the profile wants one (image.release.requireDigest): ask its publisher to upload it again`,
  );
}

/** Extracts the image's files from an artifact's archive. */
async function unpack(emulator: Emulator, release: ReleaseSource, archive: { path: string }): Promise<NewFiles> {
  const { report, signal } = emulator;
  const files = await eachInTurn(Object.entries(release.assets), async ([part, pattern]) => {
    const name = nameOf(pattern, emulator);
    report.step(`unpack ${name}`);
    const path = temporaryPath(emulator);
    await unzipOne(archive.path, name, path, signal);
    return [part, { path, sha256: await sha256File(path, signal) }] as const;
  });
  return Object.fromEntries(files) as NewFiles;
}

/** The name of a file that is published. */
function nameOf(pattern: string, { arch }: Emulator): string {
  return pattern.replaceAll("{arch}", arch);
}

function assembledFrom({ origin, indexed }: Plan): ImageOrigin {
  return origin.kind === "release" ? { ...origin, index: indexed!.index.sha256! } : origin;
}

function isSame(origin: ImageOrigin, wanted: Plan["origin"]): boolean {
  return origin.kind === wanted.kind && origin.version === wanted.version;
}

async function eachInTurn<T, R>(list: T[], use: (each: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (const each of list) results.push(await use(each));
  return results;
}
