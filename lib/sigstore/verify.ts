/**
 * Checks provenance: which workflow of GitHub Actions built a file, as it has signed itself with a certificate of Sigstore's.
 *
 * Source: SLSA 1.0, "Provenance"; in-toto Attestation Framework 1.0, "Statement"; Sigstore's "Bundle format" and "Client
 * specification"; Fulcio's "OID information".
 */

import "./crypto.ts";
import { Buffer } from "node:buffer";
import core from "@sigstore/core";
import { type Bundle, bundleFromJSON, isBundleWithDsseEnvelope } from "@sigstore/bundle";
import { TrustedRoot } from "@sigstore/protobuf-specs";
import { type Signer, toSignedEntity, toTrustMaterial, Verifier } from "@sigstore/verify";
import { HotbootError, messageOf } from "../base/error.ts";
import { parseJsonLines } from "./bundles.ts";
import { difference, type Provenance, Unproven, type Wanted } from "./provenance.ts";
import publicGood from "./trusted_root.json" with { type: "json" };

/** The certificate authorities, logs and clocks of the Sigstore instances that are trusted. */
export type Roots = TrustedRoot[];

const GITHUB = "https://github.com/";
const IN_TOTO = "application/vnd.in-toto+json";
const PREDICATE = /^https:\/\/slsa\.dev\/provenance\/v(0\.2|1)$/;
/** The parts of the certificate that say who signed, below Fulcio's own number. */
const FULCIO = "1.3.6.1.4.1.57264.1.";
const PARTS = { issuer: 8, repository: 12, commit: 13, ref: 14, run: 21 };

/**
 * The roots that a file names, or Sigstore's public instance, which `dev/trusted_root.ts` has taken from `@sigstore/tuf` 5.0.1.
 *
 * @throws {HotbootError} if the file has none.
 */
export async function readRoots(path?: string): Promise<Roots> {
  if (path === undefined) return [TrustedRoot.fromJSON(publicGood)];
  const text = await Deno.readTextFile(path).catch((error) => {
    throw new HotbootError(`image.attestation.trustedRoot: ${path} cannot be read (${messageOf(error)}): correct it`);
  });
  try {
    const roots = parseJsonLines(text, path).map((each) => TrustedRoot.fromJSON(each));
    for (const root of roots) toTrustMaterial(root);
    if (roots.every(({ certificateAuthorities }) => certificateAuthorities.length > 0)) return roots;
  } catch {
    // below
  }
  throw new HotbootError(
    `image.attestation.trustedRoot: ${path} is no trusted root of Sigstore's: write it with 'gh attestation trusted-root'`,
  );
}

/**
 * Who built a file, by one of its attestations.
 *
 * @param bundle The attestation: a parsed Sigstore bundle.
 * @param digests The file's own digests, each as `sha256:…`: one of them must be attested.
 * @returns `undefined` if it attests something else than how the file was built.
 * @throws {Unproven} with the reason, if it does not show that it was built as is wanted.
 */
export function provenanceIn(
  bundle: unknown,
  digests: string[],
  wanted: Wanted,
  roots: Roots,
): Provenance | undefined {
  const parsed = readBundle(bundle);
  const statement = statementIn(parsed);
  if (!statement || !PREDICATE.test(String(statement.predicateType))) return undefined;
  const provenance = signerOf(verifySignature(parsed, roots));
  const why = difference(provenance, wanted);
  if (why !== undefined) throw new Unproven(why);
  const subjects = subjectsOf(statement);
  if (!subjects.some((subject) => digests.includes(subject))) {
    throw new Unproven(`it is about ${subjects[0] ?? "nothing"}, and not about ${digests.join(" or ")}`);
  }
  return provenance;
}

function readBundle(value: unknown): Bundle {
  try {
    return bundleFromJSON(value);
  } catch (error) {
    throw new Unproven(`it is no Sigstore bundle (${messageOf(error)})`);
  }
}

interface Statement {
  predicateType?: unknown;
  subject?: unknown;
}

/** What is attested, if it is that at all. */
function statementIn({ content }: Bundle): Statement | undefined {
  if (content.$case !== "dsseEnvelope") return undefined;
  const { payloadType, payload } = content.dsseEnvelope;
  if (payloadType !== IN_TOTO) return undefined;
  try {
    const statement = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload));
    return typeof statement === "object" && statement !== null ? statement : undefined;
  } catch {
    throw new Unproven("it is not JSON");
  }
}

function subjectsOf({ subject }: Statement): string[] {
  if (!Array.isArray(subject)) return [];
  return subject.flatMap((each) => Object.entries(each?.digest ?? {}).map(([algorithm, hex]) => `${algorithm}:${hex}`));
}

/**
 * @throws {Unproven} if no root's instance has given the certificate, and has seen the signature while that was valid: in
 * its log, or by its clock if it has no log.
 */
function verifySignature(bundle: Bundle, roots: Roots): Signer {
  if (!isBundleWithDsseEnvelope(bundle)) throw new Unproven("it is not signed as attestations are");
  let reason = "";
  for (const root of roots) {
    const verifier = new Verifier(toTrustMaterial(root), {
      ctlogThreshold: root.ctlogs.length > 0 ? 1 : 0,
      tlogThreshold: root.tlogs.length > 0 ? 1 : 0,
      timestampThreshold: 1,
    });
    try {
      return verifier.verify(toSignedEntity(bundle));
    } catch (error) {
      reason ||= messageOf(error);
    }
  }
  throw new Unproven(
    `its signature does not hold (${reason}), or is of another Sigstore instance than those in image.attestation.trustedRoot`,
  );
}

/** Who signed, as the certificate says. */
function signerOf({ identity }: Signer): Provenance {
  const part = (number: number): string => {
    const found = identity?.oids?.find(({ oid }) => oid?.id.join(".") === `${FULCIO}${number}`);
    return found ? core.ASN1Obj.parseBuffer(Buffer.from(found.value)).value.toString() : "";
  };
  const plain = (address: string) => address.startsWith(GITHUB) ? address.slice(GITHUB.length) : address;
  return {
    repository: plain(part(PARTS.repository)),
    ref: part(PARTS.ref),
    commit: part(PARTS.commit),
    workflow: plain(identity?.subjectAlternativeName ?? ""),
    run: part(PARTS.run),
    issuer: part(PARTS.issuer),
  };
}
