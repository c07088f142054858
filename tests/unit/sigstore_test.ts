/**
 * Attestations: real ones, which GitHub Actions made of packages of npm's, and one that cosign made. Others are in
 * `tests/e2e/provenance_test.ts`: the library that makes them needs a newer Deno than 2.6.
 */

import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { decodeBase64, encodeBase64 } from "@std/encoding/base64";
import { snappyCompress } from "hysnappy";
import { HotbootError } from "../../lib/base/error.ts";
import { INDEX, MANIFEST } from "../../lib/oci/manifest.ts";
import { parseReference } from "../../lib/oci/reference.ts";
import { bundlesOf } from "../../lib/oci/referrers.ts";
import { Registry } from "../../lib/oci/registry.ts";
import { unpackSnappy } from "../../lib/release/snappy.ts";
import { parseJsonLines } from "../../lib/sigstore/bundles.ts";
import { Unproven, type Wanted } from "../../lib/sigstore/provenance.ts";
import { provenanceIn, readRoots } from "../../lib/sigstore/verify.ts";
import { withDirectory } from "./temporary.ts";

/**
 * What Debian's package golang-github-sigstore-sigstore-go-dev 1.3.0-1 has of the real attestations of npm's packages
 * sigstore 2.0.0 (SLSA 1) and 1.3.0 (SLSA 0.2). The digests are those of their archives: `npm view sigstore@2.0.0 dist.integrity`.
 */
const REAL = {
  "2.0.0":
    "46d4e2f74c4877316640000a6fdf8a8b59f1e0847667973e9859f774dd31b8f1e0937813b777fb66a2ac67d50540fe34640966eee9fc2ccca387082b4c85cd3c",
  "1.3.0":
    "76176ffa33808b54602c7c35de5c6e9a4deb96066dba6533f50ac234f4f1f4c6b3527515dc17c06fbe2860030f410eee69ea20079bd3a2c6f3dcf3b329b10751",
};
const WORKFLOW = "sigstore/sigstore-js/.github/workflows/release.yml";
const ISSUER = "https://token.actions.githubusercontent.com";

type Json = string | number | boolean | null | Json[] | { [name: string]: Json };

async function real(version: keyof typeof REAL): Promise<{ bundle: Json; digests: string[] }> {
  const path = new URL(`sigstore/sigstore-${version}.sigstore.json`, import.meta.url);
  return { bundle: JSON.parse(await Deno.readTextFile(path)), digests: [`sha512:${REAL[version]}`] };
}

function wanted({ ref = "refs/heads/main", ...other }: Partial<Omit<Wanted, "ref">> & { ref?: string } = {}): Wanted {
  const pattern = new RegExp(`^${ref}$`);
  return {
    workflow: WORKFLOW,
    repository: "sigstore/sigstore-js",
    issuer: ISSUER,
    ...other,
    ref: { pattern, shown: ref },
  };
}

const roots = await readRoots();

Deno.test("attestations: a real one shows who built a file", async () => {
  const { bundle, digests } = await real("2.0.0");
  assertEquals(provenanceIn(bundle, digests, wanted(), roots), {
    repository: "sigstore/sigstore-js",
    ref: "refs/heads/main",
    commit: "f0b49a04e5a62250e0f60fb128004a73110fe311",
    workflow: `${WORKFLOW}@refs/heads/main`,
    run: "https://github.com/sigstore/sigstore-js/actions/runs/5904696764/attempts/1",
    issuer: ISSUER,
  });
  const older = await real("1.3.0");
  assertEquals(provenanceIn(older.bundle, older.digests, wanted(), roots)?.workflow, `${WORKFLOW}@refs/heads/main`);
});

Deno.test("attestations: a real one of another file, workflow, repository, branch or issuer is wrong", async () => {
  const { bundle, digests } = await real("2.0.0");
  const cases: [Wanted, string[], RegExp][] = [
    [wanted(), [`sha512:${REAL["1.3.0"]}`], /it is about sha512:46d4e2.*, and not about sha512:76176f/],
    [wanted(), [digests[0].replace("sha512", "sha256")], /it is about sha512:/],
    [wanted(), [], /it is about/],
    [
      wanted({ workflow: WORKFLOW.replace("release", "ci") }),
      digests,
      /release\.yml@refs\/heads\/main, and not .*ci\.yml/,
    ],
    [wanted({ workflow: `${WORKFLOW}@refs/heads/other` }), digests, /and not .*release\.yml@refs\/heads\/other/],
    [wanted({ workflow: `${WORKFLOW}@` }), digests, /it was built by/],
    [wanted({ repository: "sigstore/other" }), digests, /built from sigstore\/sigstore-js, and not sigstore\/other/],
    [wanted({ ref: "refs/heads/mai" }), digests, /built from refs\/heads\/main, and not refs\/heads\/mai$/],
    [wanted({ ref: "heads/main" }), digests, /built from refs\/heads\/main/],
    [wanted({ issuer: `${ISSUER}/acme` }), digests, /confirmed by .*githubusercontent\.com, and not .*\/acme/],
  ];
  for (const [who, which, why] of cases) {
    assertThrows(() => provenanceIn(bundle, which, who, roots), Unproven);
    assertMatch(assertThrows(() => provenanceIn(bundle, which, who, roots), Unproven).message, why);
  }
});

/** All texts in a value, with their places. */
function* textsIn(value: Json, at: string[] = []): Generator<[string[], string]> {
  if (typeof value === "string") yield [at, value];
  if (typeof value !== "object" || value === null) return;
  for (const [name, each] of Object.entries(value)) yield* textsIn(each, [...at, name]);
}

function withText(value: Json, at: string[], text: string): Json {
  const copy = structuredClone(value);
  const last = at.slice(0, -1).reduce((inner, name) => (inner as Record<string, Json>)[name], copy);
  (last as Record<string, Json>)[at.at(-1)!] = text;
  return copy;
}

/** The text with a bit changed in some places: of its bytes, if it is in base64. */
function* damaged(text: string): Generator<string> {
  let bytes: Uint8Array<ArrayBuffer> | undefined;
  try {
    if (text.length > 20) bytes = decodeBase64(text);
  } catch {
    // it is not in base64
  }
  const content = bytes ?? new TextEncoder().encode(text);
  for (const part of [0, 0.3, 0.7, 1]) {
    const changed = content.slice();
    changed[Math.floor(part * (content.length - 1))] ^= 1;
    yield bytes ? encodeBase64(changed) : new TextDecoder().decode(changed);
  }
}

Deno.test("attestations: no part of a real one can be changed", async () => {
  const { bundle, digests } = await real("2.0.0");
  const good = provenanceIn(bundle, digests, wanted(), roots);
  const accepted = new Set<string>();
  let refused = 0;
  for (const [at, text] of textsIn(bundle)) {
    for (const other of damaged(text)) {
      try {
        const found = provenanceIn(withText(bundle, at, other), digests, wanted(), roots);
        if (!found) continue; // it says that it is something else than provenance
        assertEquals(found, good);
        accepted.add(at.join("."));
      } catch (error) {
        assert(error instanceof Unproven, `${at}: ${error}`);
        refused++;
      }
    }
  }
  assertEquals([...accepted].sort(), [
    "dsseEnvelope.signatures.0.keyid", // nobody reads it
    // In this old form the log's signature of the entry counts, and not the proof beside it.
    "verificationMaterial.tlogEntries.0.inclusionProof.rootHash",
    "verificationMaterial.tlogEntries.0.inclusionProof.treeSize",
    "verificationMaterial.x509CertificateChain.certificates.0.rawBytes", // the outermost tag, which says that a list begins
  ]);
  assert(refused > 40, `${refused}`);
});

Deno.test("attestations: without the signature's own parts, nothing is shown", async () => {
  const { bundle, digests } = await real("2.0.0");
  const { verificationMaterial, dsseEnvelope } = bundle as { [name: string]: { [name: string]: Json } };
  const without = (name: string) => ({
    ...bundle as object,
    verificationMaterial: Object.fromEntries(Object.entries(verificationMaterial).filter(([each]) => each !== name)),
  });
  const unsigned = { ...bundle as object, dsseEnvelope: { ...dsseEnvelope, signatures: [] } };
  for (const other of [without("tlogEntries"), without("x509CertificateChain"), unsigned, {}, [], null, "no", 7]) {
    assertThrows(() => provenanceIn(other, digests, wanted(), roots), Unproven);
  }
});

/**
 * What Debian's cosign 3.1.1-2 has left in Debian's registry: `cosign attest --type slsaprovenance1`, with the certificate
 * authority and the log of the tests' own instance. cosign itself verifies it.
 */
Deno.test("attestations: one that cosign has attached to an image is found and checked", async () => {
  const recorded = JSON.parse(await Deno.readTextFile(new URL("sigstore/cosign-3.1.1.json", import.meta.url)));
  const { digest, index, manifest, bundle, trustedRoot } = recorded as Record<string, string>;
  const there = new Map<string, [string, string]>([[`manifests/${digest.replace(":", "-")}`, [INDEX, index]]]);
  there.set(`manifests/${JSON.parse(index).manifests[0].digest}`, [MANIFEST, manifest]);
  there.set(`blobs/${JSON.parse(manifest).layers[0].digest}`, ["application/octet-stream", bundle]);
  await using server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, ({ url }) => {
    const [type, text] = there.get(new URL(url).pathname.replace("/v2/team/emulator/", "")) ?? [];
    return type ? new Response(text, { headers: { "content-type": type } }) : new Response(null, { status: 404 });
  });
  const registry = new Registry(parseReference(`oci://127.0.0.1:${server.addr.port}/team/emulator:dev`));
  const [found, ...others] = await Array.fromAsync(bundlesOf(registry, digest));
  assertEquals(others, []);
  await withDirectory(async (directory) => {
    await Deno.writeTextFile(`${directory}/root.json`, JSON.stringify(trustedRoot));
    const trusted = await readRoots(`${directory}/root.json`);
    const workflow = "acme/emulator/.github/workflows/build.yaml";
    const who = { ...wanted({ ref: "refs/heads/dev" }), workflow, repository: "acme/emulator" };
    assertEquals(provenanceIn(found, [digest], who, trusted)?.workflow, `${workflow}@refs/heads/dev`);
    assertThrows(() => provenanceIn(found, [digest], who, roots), Unproven, "or is of another Sigstore instance");
    assertThrows(() => provenanceIn(found, [digest.replace(/.$/, "x")], who, trusted), Unproven, "it is about sha256:");
  });
});

Deno.test("attestations: a file that is no trusted root is refused", async () => {
  await withDirectory(async (directory) => {
    const path = `${directory}/root.json`;
    await assertRejects(() => readRoots(path), HotbootError, `trustedRoot: ${path} cannot be read`);
    for (
      const text of ["", "{", "{}", "[]", '{"certificateAuthorities":[]}', '{"certificateAuthorities":[{"uri":"x"}]}']
    ) {
      await Deno.writeTextFile(path, text);
      await assertRejects(() => readRoots(path), HotbootError, `trustedRoot: ${path} is no trusted root`);
    }
  });
});

Deno.test("attestations: a file has one, or one on each line", () => {
  assertEquals(parseJsonLines('{\n"a": 1\n}\n', "f"), [{ a: 1 }]);
  assertEquals(parseJsonLines('{"a":1}\n\n{"b":2}\n', "f"), [{ a: 1 }, { b: 2 }]);
  for (const text of ["", "{", '{"a":1}\nno']) {
    assertThrows(() => parseJsonLines(text, "f"), HotbootError, "f is not JSON");
  }
});

Deno.test("snappy: blocks are unpacked, unless they are too long or damaged", () => {
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  // By the format's description: the length, then a literal of 4 bytes, and a copy of 8 from 4 bytes before.
  const block = Uint8Array.of(12, 3 << 2, ...new TextEncoder().encode("snap"), (8 - 4) << 2 | 1, 4);
  assertEquals(text(unpackSnappy(block, 12)), "snapsnapsnap");
  const long = new TextEncoder().encode("attestation ".repeat(30_000));
  assertEquals(unpackSnappy(snappyCompress(long), long.length), long);
  assertThrows(() => unpackSnappy(snappyCompress(long), long.length - 1), Error, "it would have 360000 bytes");
  for (const bad of [[], [0xff, 0xff, 0xff, 0xff, 0xff, 1], [...block.slice(0, 4)], [200, ...block.slice(1)]]) {
    assertThrows(() => unpackSnappy(Uint8Array.from(bad), 1000), Error);
  }
});
