/**
 * Images whose profile names the workflow that must have built them. The attestations are of a Sigstore instance of the
 * tests' own, and come from a server that behaves like GitHub, from Debian's registry, and from files.
 */

import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { sha256 } from "../../lib/base/hash.ts";
import { obtainImage } from "../../lib/image/obtain.ts";
import { openEmulator } from "../../lib/instance/emulator.ts";
import { indexName } from "../../lib/oci/asset_index.ts";
import { encode, INDEX, MANIFEST } from "../../lib/oci/manifest.ts";
import { parseReference } from "../../lib/oci/reference.ts";
import { Registry } from "../../lib/oci/registry.ts";
import { Unproven, type Wanted } from "../../lib/sigstore/provenance.ts";
import { provenanceIn, readRoots, type Roots } from "../../lib/sigstore/verify.ts";
import { withDirectory } from "../unit/temporary.ts";
import { type Attested, Sigstore } from "./sigstore.ts";
import { REPOSITORY, TOKEN } from "./github_server.ts";
import { assertCode, type Run } from "./program.ts";
import { ARCH } from "./qemu.ts";
import { disk, MIB, PullHome } from "./pull_home.ts";
import { FaultyProxy, RegistryServer } from "./registry_server.ts";
import { tool } from "./snapshots.ts";

const NAME = `emulator-${ARCH}.qcow2`;
const WORKFLOW = `${REPOSITORY}/.github/workflows/build.yaml`;
const TAG = "emulator-dev-latest";
const BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json";
const sigstore = await Sigstore.start();

/** A home whose profile names the workflow, and trusts the tests' own instance. */
async function makeHome(attestation: Record<string, unknown> = {}): Promise<PullHome> {
  const home = await PullHome.make();
  await Deno.writeTextFile(`${home.directory}/root.json`, JSON.stringify(sigstore.trustedRoot));
  await want(home, attestation);
  return home;
}

/** Requires that a command fails, and that this is its last line. */
async function requireRefusal(run: Promise<Run>, why: RegExp): Promise<void> {
  const done = await run;
  assertCode(done, 1);
  assertMatch(done.stderr.trimEnd().split("\n").at(-1)!, why);
}

/** What `start` says, before it starts anything. */
async function startRefuses(home: PullHome, why: RegExp): Promise<void> {
  const { PATH } = home.env;
  home.env.PATH = Deno.env.get("PATH")!; // with QEMU
  await requireRefusal(home.run("start"), why);
  home.env.PATH = PATH;
}

/** Changes what the profile wants. */
async function want(home: PullHome, attestation: Record<string, unknown>, image: object = {}): Promise<void> {
  const profile = JSON.parse(await Deno.readTextFile(home.profile));
  const wanted = { workflow: WORKFLOW, trustedRoot: "root.json", ...attestation };
  profile.image = { ...profile.image, ...image, attestation: wanted };
  await Deno.writeTextFile(home.profile, JSON.stringify(profile));
}

async function digestOf(bytes: Uint8Array): Promise<string> {
  return `sha256:${await sha256(bytes)}`;
}

Deno.test("provenance: a release is pulled if the workflow that the profile names has built it", async (t) => {
  await using home = await makeHome();
  const { github } = home;
  let mark = 0;
  /** Another release, and what attests it. */
  const release = async (attested?: Partial<Attested>, options: { isStored?: boolean } = {}) => {
    const bytes = disk(MIB, ++mark);
    github.release(TAG, [{ name: NAME, bytes }]);
    const digest = await digestOf(bytes);
    if (attested) github.attest(digest, await sigstore.attest({ digest, ...attested }), options);
    github.storage.seen.length = 0;
    return bytes;
  };
  const refuses = async (why: RegExp, ...args: string[]) => {
    const before = await home.image();
    github.storage.seen.length = 0;
    await requireRefusal(home.pull(...args), why);
    assertEquals(await home.image(), before);
    assertEquals(github.storage.seen.filter(({ path }) => path.includes("/releases/")), [], "nothing was downloaded");
  };

  await t.step("without an attestation it is said, once", async () => {
    await release();
    assertMatch(
      (await home.pull()).stderr,
      /warning: emulator-.* has no attestation, so nothing shows that acme\/emulator/,
    );
    const again = await home.pull();
    assertMatch(again.stdout, /up to date/);
    assertEquals(again.stderr, "");
  });
  await t.step("and refused, if the profile requires one: also where the image is there already", async () => {
    await want(home, { required: true });
    const refusal = /emulator-.* is not used, because it has no attestation, and the profile requires one/;
    await refuses(refusal);
    await startRefuses(home, /was pulled without a proof that acme\/emulator.* type 'hotboot pull/);
    await release();
    await refuses(refusal);
  });
  await t.step("an attested one is pulled, and its origin shown", async () => {
    const bytes = await release({});
    const run = await home.pull("--json");
    assertCode(run, 0);
    assertMatch(
      run.stderr,
      /built by acme\/emulator\/\.github\/workflows\/build\.yaml@refs\/heads\/dev, as its attestation/,
    );
    assertEquals(await home.image(), bytes);
    assertEquals(JSON.parse(run.stdout).provenance, {
      repository: REPOSITORY,
      ref: "refs/heads/dev",
      commit: "0123456789abcdef0123456789abcdef01234567",
      workflow: `${WORKFLOW}@refs/heads/dev`,
      run: `https://github.com/${REPOSITORY}/actions/runs/7/attempts/1`,
      issuer: "https://token.actions.githubusercontent.com",
    });
    assertMatch(
      (await home.run("status")).stdout,
      /built by acme\/emulator.*build\.yaml@refs\/heads\/dev, https:\/\/github/,
    );
    github.seen.length = 0;
    assertEquals((await home.pull()).stderr, "");
    assert(!github.seen.some(({ path }) => path.includes("attestations")), "it was looked for again");
  });
  await t.step("an attestation can be in the storage, packed, which gets no token", async () => {
    home.env.GITHUB_ENTERPRISE_TOKEN = TOKEN;
    const bytes = await release({}, { isStored: true });
    assertCode(await home.pull(), 0);
    assertEquals(await home.image(), bytes);
    const stored = github.storage.seen.filter(({ path }) => path.startsWith("/attestations/"));
    assertEquals(stored.map(({ headers }) => headers.get("authorization")), [null]);
    home.env.GITHUB_ENTERPRISE_TOKEN = "";
  });
  await t.step("or in the release itself", async () => {
    const bytes = disk(MIB, ++mark);
    const bundle = await sigstore.attest({ digest: await digestOf(bytes) });
    const beside = { name: `${NAME}.sigstore.json`, bytes: new TextEncoder().encode(JSON.stringify(bundle)) };
    github.release(TAG, [{ name: NAME, bytes }, beside]);
    assertCode(await home.pull(), 0);
    assertEquals(await home.image(), bytes);
  });
  await t.step("one of somebody else is refused, even if none is required", async () => {
    await want(home, { required: false });
    const wrong: [Partial<Attested>, RegExp][] = [
      [{ repository: "stranger/emulator" }, /it was built by stranger\/emulator.*, and not acme\/emulator/],
      [{ workflow: `${REPOSITORY}/.github/workflows/other.yml@refs/heads/dev` }, /it was built by .*other\.yml/],
      [
        { ref: "refs/pull/5/merge" },
        /built by .*@refs\/pull\/5\/merge, and not|built from refs\/pull\/5\/merge, and not/,
      ],
      [{ issuer: "https://issuer.test" }, /confirmed by https:\/\/issuer\.test, and not/],
      [{ digest: `sha256:${"0".repeat(64)}` }, /it is about sha256:0000/],
    ];
    for (const [attested, why] of wrong) {
      await release(attested);
      await refuses(new RegExp(`is not used, because its attestation is wrong: .*(${why.source})`));
    }
    const bytes = await release();
    const digest = await digestOf(bytes);
    github.attest(digest, await (await Sigstore.start()).attest({ digest }));
    await refuses(/its signature does not hold/);
    // Among several, one that is right is enough.
    github.attest(digest, await sigstore.attest({ digest }));
    assertCode(await home.pull(), 0);
  });
  await t.step("without a digest of GitHub's, what was downloaded is not used either", async () => {
    github.withoutDigests = true;
    await release({ repository: "stranger/emulator" });
    const before = await home.image();
    await requireRefusal(home.pull(), /its attestation is wrong/);
    assertEquals(await home.image(), before);
    const left = await Array.fromAsync(Deno.readDir(`${home.home}/images`), ({ name }) => name);
    assertEquals(left.sort(), [`pulled-${ARCH}.json`, `pulled-${ARCH}.qcow2`]);
    await release({});
    assertCode(await home.pull(), 0);
    github.withoutDigests = false;
  });
  await t.step("the ref can name the tag, and the branch", async () => {
    await want(home, { ref: "refs/tags/{tag}", required: true });
    const bytes = disk(MIB, ++mark);
    github.release("v1.2", [{ name: NAME, bytes }]);
    const digest = await digestOf(bytes);
    github.attest(digest, await sigstore.attest({ digest, ref: "refs/tags/v1.3" }));
    await refuses(/built from refs\/tags\/v1\.3, and not refs\/tags\/v1\.2;/, "--tag", "v1.2");
    github.attest(digest, await sigstore.attest({ digest, ref: "refs/tags/v1.2" }));
    assertCode(await home.pull("--tag", "v1.2"), 0);
  });
  await t.step("in a run's archive, the image's own file is attested", async () => {
    home.env.GITHUB_ENTERPRISE_TOKEN = TOKEN;
    await want(home, { ref: undefined, required: true });
    const bytes = disk(MIB, ++mark);
    await Deno.writeFile(`${home.directory}/${NAME}`, bytes);
    await tool(`zip -q -j ${home.directory}/run.zip ${home.directory}/${NAME}`);
    github.run(7, [{ name: `qemu-emulator-${ARCH}`, bytes: await Deno.readFile(`${home.directory}/run.zip`) }]);
    const before = await home.image();
    await requireRefusal(home.pull("--run", "7"), /has no attestation, and the profile requires one/);
    assertEquals(await home.image(), before);
    const digest = await digestOf(bytes);
    github.attest(digest, await sigstore.attest({ digest }));
    assertCode(await home.pull("--run", "7"), 0);
    assertEquals(await home.image(), bytes);
    home.env.GITHUB_ENTERPRISE_TOKEN = "";
  });
  await t.step("a profile that asks for nothing is told nothing", async () => {
    const profile = JSON.parse(await Deno.readTextFile(home.profile));
    delete profile.image.attestation;
    await Deno.writeTextFile(home.profile, JSON.stringify(profile));
    await release();
    github.seen.length = 0;
    const run = await home.pull();
    assertCode(run, 0);
    assert(!run.stderr.includes("attest"), run.stderr);
    assert(!github.seen.some(({ path }) => path.includes("attestations")));
  });
});

Deno.test("provenance: of a release with an index of chunks, the index is attested", async () => {
  await using home = await makeHome({ required: true });
  const { github } = home;
  const [from, published] = [`${home.directory}/from`, `${home.directory}/published`];
  await Deno.mkdir(`${from}/images`, { recursive: true, mode: 0o700 });
  await tool(`qemu-img create -q -f qcow2 ${from}/images/pulled-${ARCH}.qcow2 8M`);
  assertCode(await home.run("push", "--assets", published, "--home", from), 0);
  const names = await Array.fromAsync(Deno.readDir(published), ({ name }) => name);
  const assets = await Promise.all(
    names.map(async (name) => ({ name, bytes: await Deno.readFile(`${published}/${name}`) })),
  );
  const attest = async (wanted: string, attested: Partial<Attested> = {}) => {
    const digest = await digestOf(assets.find(({ name }) => name === wanted)!.bytes);
    github.attest(digest, await sigstore.attest({ digest, ...attested }));
  };
  const index = indexName(NAME);

  github.release(TAG, assets.filter(({ name }) => name !== NAME));
  await requireRefusal(home.pull(), /hotboot-index\.json is not used, because it has no attestation/);
  // The image as a whole is attested, and its chunks are not.
  github.release(TAG, assets);
  await attest(NAME);
  const whole = await home.pull("--json");
  assertCode(whole, 0);
  assertMatch(whole.stderr, /the whole image is downloaded, because \S+hotboot-index\.json is not used/);
  assertEquals(JSON.parse(whole.stdout).origin.index, undefined);
  await attest(index, { repository: "stranger/emulator" });
  await Deno.remove(home.home, { recursive: true });
  assertMatch((await home.pull()).stderr, /the whole image is downloaded, because .*its attestation is wrong/);
  await attest(index);
  const chunks = JSON.parse((await home.pull("--json", "--force")).stdout);
  assertEquals(`sha256:${chunks.origin.index}`, await digestOf(assets.find(({ name }) => name === index)!.bytes));
  assertEquals(chunks.provenance.workflow, `${WORKFLOW}@refs/heads/dev`);
  // Whoever wants another builder later is told the truth about the index that was used.
  await want(home, { required: true, ref: "refs/heads/other" });
  await requireRefusal(home.pull(), /hotboot-index\.json is not used, because its attestation is wrong/);
});

Deno.test("provenance: an image that hotboot did not put there can have its attestation beside it", async () => {
  await using home = await makeHome({ required: true });
  const path = `${home.home}/images/pulled-${ARCH}.qcow2`;
  await Deno.mkdir(`${home.home}/images`, { recursive: true, mode: 0o700 });
  await Deno.chmod(home.home, 0o700);
  const bytes = disk(MIB, 1);
  await Deno.writeFile(path, bytes);
  await startRefuses(home, /pulled-.*\.qcow2 is not used, because it has no attestation/);
  const beside = `${path}.sigstore.json`;
  await Deno.writeTextFile(beside, JSON.stringify(await sigstore.attest({ digest: await digestOf(disk(MIB, 2)) })));
  await startRefuses(home, /its attestation is wrong: it is about sha256:/);
  await Deno.writeTextFile(beside, "{");
  await startRefuses(home, /pulled-.*\.sigstore\.json is not JSON, nor JSON on each line/);
  await Deno.writeTextFile(beside, JSON.stringify(await sigstore.attest({ digest: await digestOf(bytes) })));
  home.github.seen.length = 0;
  const emulator = await openEmulator({ profile: home.profile, home: home.home });
  assertEquals((await obtainImage(emulator)).record.provenance?.workflow, `${WORKFLOW}@refs/heads/dev`);
  await Deno.remove(beside); // it was looked at, and is not needed any more
  assertEquals((await obtainImage(emulator)).record.origin.kind, "adopted");
  assertEquals(home.github.seen, []);
  await want(home, { required: true, workflow: WORKFLOW.replace("build", "other") });
  const other = await openEmulator({ profile: home.profile, home: home.home });
  await assertRejects(() => obtainImage(other), Error, "has no attestation");
});

Deno.test("provenance: an image in a registry has its attestation attached to it", async (t) => {
  await using registry = await RegistryServer.start();
  await using proxy = new FaultyProxy(registry.host);
  await using home = await makeHome();
  const oci = `oci://${proxy.host}/team/emulator:dev`;
  await want(home, { ref: "refs/heads/dev", required: true }, { oci });
  await Deno.mkdir(`${home.directory}/from/images`, { recursive: true, mode: 0o700 });
  await tool(`qemu-img create -q -f qcow2 ${home.directory}/from/images/pulled-${ARCH}.qcow2 8M`);
  const from = (verb: string, ...args: string[]) => home.run(verb, ...args, "--home", `${home.directory}/from`);
  const pushed = await from("push", "--json");
  assertCode(pushed, 0);
  const { digest, version } = JSON.parse(pushed.stdout);
  const repository = new Registry(parseReference(oci), { writes: true });
  const subject = await repository.manifest();
  assertEquals(subject?.digest, digest);

  /** Attaches a bundle as OCI's specification says, and gives its entry. */
  const attach = async (bundle: unknown, to: string, artifactType = BUNDLE, listed = artifactType) => {
    const upload = async (mediaType: string, bytes: Uint8Array<ArrayBuffer>) => {
      const descriptor = { mediaType, digest: await digestOf(bytes), size: bytes.length };
      await repository.upload(descriptor, bytes);
      return descriptor;
    };
    const text = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
    const manifest = text({
      schemaVersion: 2,
      mediaType: MANIFEST,
      artifactType,
      config: await upload("application/vnd.oci.empty.v1+json", text({})),
      layers: [await upload(artifactType, text(bundle))],
      subject: { mediaType: INDEX, digest: to, size: subject!.bytes.length },
    });
    const digest = await digestOf(manifest);
    const entry = { mediaType: MANIFEST, digest, size: manifest.length, artifactType: listed };
    await repository.putManifest(entry.digest, { ...entry, bytes: manifest });
    return entry;
  };
  const list = (entries: object[]) => encode({ schemaVersion: 2, mediaType: INDEX, manifests: entries as [] });
  /** What a registry without the referrers' list has instead. */
  const tag = async (of: string, ...entries: object[]) => {
    const bytes = list(entries);
    await repository.putManifest(of.replace(":", "-"), { mediaType: INDEX, digest: await digestOf(bytes), bytes });
  };
  const sbom = await attach({ no: "bundle" }, digest, "application/spdx+json");
  const wrong = await attach(await sigstore.attest({ digest, repository: "stranger/emulator" }), digest);
  // As cosign 3.1 lists it, which was seen to.
  const right = await attach(await sigstore.attest({ digest }), digest, BUNDLE, "application/vnd.oci.empty.v1+json");

  await t.step("without one it is refused, and nothing of it fetched", async () => {
    await tag(digest, sbom);
    proxy.seen.length = 0;
    await requireRefusal(
      home.pull(),
      /oci:.*:dev is not used, because it has no attestation, and the profile requires/,
    );
    assertEquals(proxy.blobs.count, 0);
  });
  await t.step("a wrong one is refused", async () => {
    await tag(digest, sbom, wrong);
    await requireRefusal(home.pull(), /its attestation is wrong: it was built by stranger\/emulator/);
  });
  await t.step("a right one, listed under the digest as a tag, is enough", async () => {
    await tag(digest, sbom, wrong, right);
    const run = await home.pull("--json");
    assertCode(run, 0);
    assertEquals(JSON.parse(run.stdout).provenance.workflow, `${WORKFLOW}@refs/heads/dev`);
  });
  await t.step("also one of the architecture's own manifest, listed by the registry itself", async () => {
    const own = await attach(await sigstore.attest({ digest: version }), version);
    await tag(digest, sbom);
    proxy.disturb = (request) => {
      const which = new URL(request.url).pathname.match(/\/referrers\/(.+)$/)?.[1];
      if (which === undefined) return undefined;
      const bytes = list(which === version ? [sbom, own] : []);
      return new Response(bytes, { headers: { "content-type": INDEX } });
    };
    const run = await home.pull("--force", "--json");
    assertCode(run, 0);
    assertEquals(JSON.parse(run.stdout).provenance.ref, "refs/heads/dev");
    proxy.disturb = undefined;
  });
});

Deno.test("provenance: an attestation shows something only to who trusts its Sigstore instance", async () => {
  const [own, other, late] = await Promise.all([
    sigstore,
    Sigstore.start(),
    Sigstore.start({ certified: new Date(2020, 1) }),
  ]);
  const digest = `sha256:${"ab".repeat(32)}`;
  const who: Wanted = {
    repository: REPOSITORY,
    workflow: WORKFLOW,
    ref: { pattern: /^refs\/heads\/dev$/, shown: "" },
    issuer: "https://token.actions.githubusercontent.com",
  };
  await withDirectory(async (directory) => {
    const root = async (...instances: Sigstore[]) => {
      const path = `${directory}/root.json`;
      await Deno.writeTextFile(path, instances.map((each) => JSON.stringify(each.trustedRoot)).join("\n"));
      return await readRoots(path);
    };
    const bundle = await own.attest({ digest });
    assertEquals(provenanceIn(bundle, ["sha256:0", digest], who, await root(own))?.repository, REPOSITORY);
    assertEquals(provenanceIn(bundle, [digest], who, await root(other, own))?.commit.length, 40);
    const refuse = (given: unknown, trusted: Roots, why: RegExp) =>
      assertMatch(assertThrows(() => provenanceIn(given, [digest], who, trusted), Unproven).message, why);
    refuse(bundle, await root(other), /signature does not hold.* or is of another Sigstore instance/);
    refuse(bundle, await readRoots(), /signature does not hold/);
    // Its certificate had been over for long when the log got the entry.
    refuse(await late.attest({ digest }), await root(late), /signature does not hold/);
    refuse(await own.attest({ digest, repository: "stranger/emulator" }), await root(own), /it was built by stranger/);

    const closed = await Sigstore.start({ isPrivate: true });
    const stamped = await closed.attest({ digest });
    assertEquals(provenanceIn(stamped, [digest], who, await root(own, closed))?.ref, "refs/heads/dev");
    refuse(stamped, await root(await Sigstore.start({ isPrivate: true })), /signature does not hold/);
    refuse(stamped, await root(own), /signature does not hold/);
    const unstamped = structuredClone(stamped) as { verificationMaterial: { timestampVerificationData?: unknown } };
    delete unstamped.verificationMaterial.timestampVerificationData;
    refuse(unstamped, await root(closed), /expected 1 timestamps, got 0/);
    const older = await Sigstore.start({ isPrivate: true, certified: new Date(2020, 1) });
    refuse(await older.attest({ digest }), await root(older), /signature does not hold/);

    const shared = "acme/workflows/.github/workflows/image.yml@refs/tags/v1";
    const reused = await own.attest({ digest, workflow: shared });
    refuse(reused, await root(own), /built by acme\/workflows/);
    assertEquals(provenanceIn(reused, [digest], { ...who, workflow: shared }, await root(own))?.workflow, shared);
    refuse(
      await own.attest({ digest, workflow: shared.replace("v1", "v2") }),
      await root(own),
      /built by acme\/workflows/,
    );

    const sbom = await own.attest({ digest, predicateType: "https://spdx.dev/Document/v2.3" });
    assertEquals(provenanceIn(sbom, [digest], who, await root(own)), undefined);
  });
});
