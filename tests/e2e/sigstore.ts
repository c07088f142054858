/**
 * A Sigstore instance of the tests' own, with certificate authority and logs, and what a workflow of GitHub Actions would have
 * it sign. The signatures, proofs and certificates are of the same form as Sigstore's, and are made by its own developers'
 * program. It cannot show whom Sigstore's real authority gives a certificate: `tests/unit/sigstore/` has attestations of the
 * real one.
 */

import { type Bundle, bundleToJSON, toDSSEBundle } from "@sigstore/bundle";
import core from "@sigstore/core";
import mock from "@sigstore/mock";
import { HashAlgorithm, PublicKeyDetails, TrustedRoot } from "@sigstore/protobuf-specs";
import { createHash, generateKeyPairSync, sign } from "node:crypto";
import { Buffer } from "node:buffer";

const GITHUB = "https://github.com/";
const FULCIO = "1.3.6.1.4.1.57264.1.";
const IN_TOTO = "application/vnd.in-toto+json";
const REKOR = "https://rekor.test";

/** What a workflow tells Sigstore about itself, and what it says about a file. */
export interface Attested {
  /** `sha256:…`. */
  digest: string;
  repository?: string;
  workflow?: string;
  ref?: string;
  issuer?: string;
  predicateType?: string;
}

/** What an instance is like. */
export interface SigstoreOptions {
  /** When it gives certificates, if not at the time of its logs and its clock, which is now. */
  certified?: Date;
  /** It has no logs, and only signs the time, as GitHub's own for private repositories. */
  isPrivate?: boolean;
}

/** An instance. */
export class Sigstore {
  private constructor(
    readonly ca: Awaited<ReturnType<typeof mock.initializeCA>>,
    readonly ctlog: Awaited<ReturnType<typeof mock.initializeCTLog>>,
    readonly tlog: Awaited<ReturnType<typeof mock.initializeTLog>>,
    readonly tsa: Awaited<ReturnType<typeof mock.initializeTSA>>,
    readonly isPrivate: boolean,
  ) {}

  static async start({ certified, isPrivate = false }: SigstoreOptions = {}): Promise<Sigstore> {
    const keys = keyPair();
    const ctlog = await mock.initializeCTLog(keys, certified);
    const ca = await mock.initializeCA(keys, isPrivate ? undefined : ctlog, certified);
    const tlog = await mock.initializeTLog(REKOR, keys);
    const tsa = await mock.initializeTSA(keyPair());
    // Whole seconds, as Sigstore's own gives. The readers take milliseconds of three digits only, and DER omits trailing zeros.
    Object.assign(tsa, { getCurrentTime: () => new Date(Math.floor(Date.now() / 1000) * 1000) });
    return new Sigstore(ca, ctlog, tlog, tsa, isPrivate);
  }

  /** What others need to trust it, as `image.attestation.trustedRoot` has it. */
  get trustedRoot(): unknown {
    const validFor = { start: new Date(0), end: undefined };
    const log = (baseUrl: string, key: Buffer, id: Uint8Array) => ({
      baseUrl,
      hashAlgorithm: HashAlgorithm.SHA2_256,
      publicKey: { rawBytes: key, keyDetails: PublicKeyDetails.PKIX_ECDSA_P256_SHA_256, validFor },
      logId: { keyId: Buffer.from(id) },
      checkpointKeyId: undefined,
      operator: "",
    });
    const authority = (uri: string, ...chain: unknown[]) => ({
      subject: undefined,
      uri,
      certChain: { certificates: chain.map((each) => ({ rawBytes: Buffer.from(each as Uint8Array) })) },
      validFor,
      operator: "",
    });
    const { ca, tlog, ctlog, tsa, isPrivate } = this;
    return TrustedRoot.toJSON({
      mediaType: "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
      certificateAuthorities: [authority("https://fulcio.test", ca.rootCertificate)],
      tlogs: isPrivate ? [] : [log(REKOR, tlog.publicKey, createHash("sha256").update(tlog.publicKey).digest())],
      ctlogs: isPrivate ? [] : [log("https://ct.test", ctlog.publicKey, ctlog.logID as Uint8Array)],
      timestampAuthorities: isPrivate ? [authority("https://tsa.test", tsa.intCertificate, tsa.rootCertificate)] : [],
    });
  }

  /** A bundle as `actions/attest-build-provenance` would have stored it. */
  async attest(attested: Attested): Promise<unknown> {
    const { repository = "acme/emulator", ref = "refs/heads/dev", digest } = attested;
    const { workflow = `${repository}/.github/workflows/build.yaml@${ref}` } = attested;
    const [algorithm, hex] = digest.split(":");
    const statement = {
      _type: "https://in-toto.io/Statement/v1",
      subject: [{ name: "emulator", digest: { [algorithm]: hex } }],
      predicateType: attested.predicateType ?? "https://slsa.dev/provenance/v1",
      predicate: { runDetails: { builder: { id: GITHUB + workflow } } },
    };
    const { publicKey, privateKey } = keyPair();
    const certificate = await this.ca.issueCertificate({
      publicKey: Buffer.from(publicKey.export({ format: "der", type: "spki" })),
      subjectAltName: GITHUB + workflow,
      extensions: Object.entries({
        8: attested.issuer ?? "https://token.actions.githubusercontent.com",
        9: GITHUB + workflow,
        12: GITHUB + repository,
        13: "0123456789abcdef0123456789abcdef01234567",
        14: ref,
        21: `${GITHUB}${repository}/actions/runs/7/attempts/1`,
      }).map(([number, value]) => ({ oid: FULCIO + number, value })),
    });
    const payload = Buffer.from(JSON.stringify(statement));
    const signature = sign("sha256", core.dsse.preAuthEncoding(IN_TOTO, payload), privateKey);
    const bundle = toDSSEBundle({
      artifact: payload,
      artifactType: IN_TOTO,
      signature,
      certificate: Buffer.from(certificate as Uint8Array),
    });
    if (this.isPrivate) await this.#stamp(bundle, signature);
    else await this.#record(bundle, payload, signature, core.pem.fromDER(Buffer.from(certificate as Uint8Array)));
    return bundleToJSON(bundle);
  }

  /** Has the time signed. */
  async #stamp(bundle: Bundle, signature: Buffer): Promise<void> {
    const stamp = await this.tsa.timestamp({
      artifactHash: createHash("sha256").update(signature).digest(),
      hashAlgorithmOID: "2.16.840.1.101.3.4.2.1",
      policyOID: "1.3.6.1.4.1.57264.2",
      nonce: 1,
    });
    const rfc3161Timestamps = [{ signedTimestamp: Buffer.from(stamp as Uint8Array) }];
    bundle.verificationMaterial.timestampVerificationData = { rfc3161Timestamps };
  }

  /** Enters it in the log. */
  async #record(bundle: Bundle, payload: Buffer, signature: Buffer, verifier: string): Promise<void> {
    const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
    const body = {
      apiVersion: "0.0.1",
      kind: "dsse",
      spec: {
        payloadHash: { algorithm: "sha256", value: sha256(payload) },
        envelopeHash: { algorithm: "sha256", value: sha256(payload) },
        signatures: [{ signature: signature.toString("base64"), verifier: btoa(verifier) }],
      },
    };
    const [entry] = Object.values<Entry>(await this.tlog.log(body));
    const { inclusionProof, signedEntryTimestamp } = entry.verification;
    bundle.verificationMaterial.tlogEntries.push({
      logIndex: String(entry.logIndex),
      logId: { keyId: Buffer.from(entry.logID, "hex") },
      kindVersion: { kind: body.kind, version: body.apiVersion },
      integratedTime: String(entry.integratedTime),
      inclusionPromise: { signedEntryTimestamp: Buffer.from(signedEntryTimestamp, "base64") },
      inclusionProof: {
        logIndex: String(inclusionProof.logIndex),
        treeSize: String(inclusionProof.treeSize),
        rootHash: Buffer.from(inclusionProof.rootHash, "hex"),
        hashes: [],
        checkpoint: { envelope: inclusionProof.checkpoint },
      },
      canonicalizedBody: Buffer.from(entry.body, "base64"),
    });
  }
}

/** What the log answers. Source: Rekor's API, `LogEntry`. */
interface Entry {
  body: string;
  integratedTime: number;
  logID: string;
  logIndex: number;
  verification: {
    signedEntryTimestamp: string;
    inclusionProof: { logIndex: number; treeSize: number; rootHash: string; checkpoint: string };
  };
}

function keyPair() {
  return generateKeyPairSync("ec", { namedCurve: "P-256" });
}
