/** Whether an image was built by the workflow that its profile names. */

import { HotbootError } from "../base/error.ts";
import type { Emulator } from "../instance/emulator.ts";
import type { ImagePart } from "../instance/machine.ts";
import type { AttestationSource } from "../profile/profile.ts";
import { WrongContent } from "../release/options.ts";
import { BUNDLE_ENDING, LONGEST_BUNDLES, parseJsonLines } from "../sigstore/bundles.ts";
import { difference, type Provenance, repositoryOf, Unproven, type Wanted } from "../sigstore/provenance.ts";
import { type Image, type ImageRecord, writeProvenance } from "./image.ts";

/** What is attested: a file, or an image in a registry. */
export interface Subject {
  /** Its name in messages. */
  name: string;
  /** Its verified digests, each as `sha256:…`: an attestation of one of them is enough. */
  digests: string[];
  /** Looks for its attestations, one place after the other. */
  bundles(): AsyncIterable<unknown>;
}

/** What stands for `{branch}` and `{tag}` in the ref; anything if absent. */
export interface RefNames {
  branch?: string;
  tag?: string;
}

/**
 * Proves who built an image.
 *
 * @param subjects Its parts: all of them must be attested.
 * @param isKnown The user was told already that it has no attestation.
 * @returns Who built it; `null` if there is no attestation, of which it warns; `undefined` if the profile names nobody.
 * @throws {HotbootError} if an attestation is wrong, or there is none and the profile requires one.
 */
export async function prove(
  { profile, report }: Emulator,
  subjects: Subject[],
  names: RefNames,
  { isKnown = false }: { isKnown?: boolean } = {},
): Promise<Provenance | null | undefined> {
  const { attestation } = profile.image;
  if (!attestation) return undefined;
  const { readRoots, provenanceIn } = await import("../sigstore/verify.ts"); // large, and seldom needed
  const wanted = wantedBy(attestation, names);
  const roots = await readRoots(attestation.trustedRoot);
  let proven: Provenance | null = null;
  for (const { name, digests, bundles } of subjects) {
    let [found, wrong]: [Provenance?, string?] = [];
    for await (const bundle of bundles()) {
      try {
        found = provenanceIn(bundle, digests, wanted, roots);
      } catch (error) {
        if (!(error instanceof Unproven)) throw error;
        wrong ??= error.message;
      }
      if (found) break;
    }
    if (!found && wrong !== undefined) {
      throw new WrongContent(
        `${name} is not used, because its attestation is wrong: ${wrong}; pull another, or correct image.attestation in the profile`,
      );
    }
    if (!found && attestation.required) {
      throw new WrongContent(
        `${name} is not used, because it has no attestation, and the profile requires one (image.attestation): pull another, or ask its publisher to attest it`,
      );
    }
    if (!found) {
      if (!isKnown) {
        report.warn(
          `${name} has no attestation, so nothing shows that ${attestation.workflow} built it: set image.attestation.required in the profile to refuse such an image`,
        );
      }
      return null;
    }
    proven ??= found;
  }
  if (proven) report.step(`built by ${proven.workflow}, as its attestation shows`);
  return proven;
}

/**
 * Requires of the image that is there what the profile wants. One that hotboot did not put there can have its attestations
 * beside it.
 *
 * @throws {HotbootError} if it is not what the profile wants.
 */
export async function requireProven(emulator: Emulator, image: Image): Promise<void> {
  const { attestation } = emulator.profile.image;
  const { origin, provenance } = image.record;
  if (!attestation || origin.kind === "build" || isProven(image.record, attestation)) return;
  if (origin.kind === "adopted") {
    const subjects = (Object.keys(image.paths) as ImagePart[]).map((part): Subject => {
      const path = image.paths[part]!;
      const digests = [`sha256:${image.record.files[part]!.sha256}`];
      return { name: path, digests, bundles: () => besides(path) };
    });
    return await proveAgain(emulator, image, subjects, {}, false);
  }
  if (!attestation.required && !provenance) return;
  throw new HotbootError(
    `the image of '${emulator.profile.name}' was pulled without a proof that ${attestation.workflow} built it, which the profile wants (image.attestation): type 'hotboot pull', which looks for it`,
  );
}

/**
 * Proves an image that is in place, unless its record shows already what the profile wants, and records the result.
 *
 * @param isOwner The caller holds the image's lock.
 * @throws {HotbootError} as {@linkcode prove}.
 */
export async function proveAgain(
  emulator: Emulator,
  image: Image,
  subjects: Subject[],
  names: RefNames,
  isOwner = true,
): Promise<void> {
  const { attestation } = emulator.profile.image;
  if (!attestation || isProven(image.record, attestation, names)) return;
  const found = await prove(emulator, subjects, names, { isKnown: image.record.provenance === null });
  await writeProvenance(emulator, image, found ?? null, isOwner);
}

function isProven({ provenance }: ImageRecord, attestation: AttestationSource, names: RefNames = {}): boolean {
  return !!provenance && difference(provenance, wantedBy(attestation, names)) === undefined;
}

/** The attestations in the file beside another. */
async function* besides(path: string): AsyncIterable<unknown> {
  const beside = `${path}${BUNDLE_ENDING}`;
  const size = await Deno.stat(beside).then(({ size }) => size, () => undefined);
  if (size === undefined) return;
  if (size > LONGEST_BUNDLES) {
    throw new HotbootError(`${beside} has ${size} bytes, which no attestations have: correct or remove it`);
  }
  yield* parseJsonLines(await Deno.readTextFile(beside), beside);
}

function wantedBy(
  { workflow, repository, ref = "refs/heads/{branch}", issuer = "https://token.actions.githubusercontent.com" }:
    AttestationSource,
  names: RefNames,
): Wanted {
  const known = (text: string, name: keyof RefNames) => text.replaceAll(`{${name}}`, (all) => names[name] ?? all);
  const shown = known(known(ref, "branch"), "tag");
  const parts = shown.split(/(\{branch\}|\{tag\})/);
  const pattern = parts.map((part, index) => index % 2 ? ".+" : part.replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&")).join(
    "",
  );
  return {
    workflow,
    repository: repository ?? repositoryOf(workflow),
    ref: { pattern: new RegExp(`^${pattern}$`), shown },
    issuer,
  };
}
