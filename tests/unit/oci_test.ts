/** Images in registries, without one: names, logins, manifests, chunks, and the form of a disk. */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { HotbootError } from "../../lib/base/error.ts";
import { authorizationFor, parseChallenges } from "../../lib/oci/authorization.ts";
import { chunksOf, longestChunk, type Scale, scaleFor } from "../../lib/oci/chunks.ts";
import { writeFlatDisk } from "../../lib/oci/flat_disk.ts";
import {
  CHUNK,
  DESCRIPTION,
  type Description,
  encode,
  INDEX,
  MANIFEST,
  type Manifest,
  parseDescription,
  parseManifest,
} from "../../lib/oci/manifest.ts";
import { formatReference, hostsOf, parseReference } from "../../lib/oci/reference.ts";
import { createOverlay } from "../../lib/vm/qcow2.ts";
import { random } from "./random.ts";
import { withDirectory } from "./temporary.ts";

const DIGEST = `sha256:${"ab".repeat(32)}`;

Deno.test("oci: names of images are read as registries have them", () => {
  const read = (text: string) => {
    const { host, origin, repository, tag, digest } = parseReference(text);
    return [host, origin, repository, tag, digest];
  };
  assertEquals(read("oci://ghcr.io/team/shop:v1"), ["ghcr.io", "https://ghcr.io", "team/shop", "v1", undefined]);
  assertEquals(read("oci://Registry.example.com:5000/a/b__c/d-e"), [
    "Registry.example.com:5000",
    "https://registry.example.com:5000",
    "a/b__c/d-e",
    "latest",
    undefined,
  ]);
  assertEquals(read(`oci://127.0.0.1:5000/shop:v1@${DIGEST}`), [
    "127.0.0.1:5000",
    "http://127.0.0.1:5000",
    "shop",
    "v1",
    DIGEST,
  ]);
  assertEquals(read(`oci://[::1]:5000/shop@${DIGEST}`), ["[::1]:5000", "http://[::1]:5000", "shop", undefined, DIGEST]);
  assertEquals(read("oci://localhost.example.com/shop")[1], "https://localhost.example.com");
  assertEquals(read("oci://docker.io/debian"), [
    "docker.io",
    "https://registry-1.docker.io",
    "library/debian",
    "latest",
    undefined,
  ]);
  for (
    const text of [
      "ghcr.io/team/shop",
      "oci://ghcr.io",
      "oci://ghcr.io/Team/shop",
      "oci://ghcr.io/team//shop",
      "oci://ghcr.io/team/../shop",
      "oci://ghcr.io/team/shop:",
      "oci://ghcr.io/team/shop@sha256:ab",
      "oci://user:password@ghcr.io/team/shop",
      "oci://ghcr.io/team/shop?x=1",
      `oci://ghcr.io/team/shop:${"x".repeat(129)}`,
    ]
  ) {
    assertThrows(() => parseReference(text), HotbootError, "is no image in a registry: write it as oci://HOST", text);
  }
  for (const text of ["oci://ghcr.io/team/shop:v1", `oci://ghcr.io/team/shop:v1@${DIGEST}`]) {
    assertEquals(formatReference(parseReference(text)), text);
  }
  assertEquals(hostsOf(parseReference("oci://ghcr.io/a/b"))[0], "ghcr.io:443");
  assertEquals(hostsOf(parseReference("oci://localhost:5000/a")), ["localhost:5000"]);
});

Deno.test("oci: challenges are read as RFC 9110 writes them", () => {
  const both =
    'Basic realm="a \\"b\\", c", Bearer realm="https://auth.example.com/token",service=x,scope="a:b:pull,push"';
  assertEquals(parseChallenges(both), [
    { scheme: "basic", parameters: { realm: 'a "b", c' } },
    {
      scheme: "bearer",
      parameters: { realm: "https://auth.example.com/token", service: "x", scope: "a:b:pull,push" },
    },
  ]);
  assertEquals(parseChallenges("Negotiate, BASIC Realm = x"), [
    { scheme: "negotiate", parameters: {} },
    { scheme: "basic", parameters: { realm: "x" } },
  ]);
  assertEquals(parseChallenges(""), []);
});

Deno.test("oci: a login goes to no host that it is not for, and nowhere in the clear", async () => {
  const reference = parseReference("oci://registry.example.com/team/shop");
  const login = { username: "a", secret: "secret", hosts: hostsOf(reference) };
  const refusal = (realm: string) =>
    new Response(null, { status: 401, headers: { "www-authenticate": `Bearer realm="${realm}"` } });
  const refuses = async (realm: string, why: string, own = login) => {
    const error = await assertRejects(
      () => authorizationFor(refusal(realm), reference, own, ["repository:team/shop:pull"], {}),
      HotbootError,
      why,
    );
    assert(!error.message.includes("secret"));
  };
  await refuses("https://attacker.example/token", "add it to HOTBOOT_DOWNLOAD_HOSTS");
  await refuses("https://registry.example.com.attacker.example/token", "add it to HOTBOOT_DOWNLOAD_HOSTS");
  await refuses("https://registry.example.com:444/token", "add it to HOTBOOT_DOWNLOAD_HOSTS");
  await refuses("file:///etc/passwd", "names no server that gives tokens");
  const everywhere = { ...login, hosts: ["registry.example.com"] };
  await refuses("http://registry.example.com/token", "because http is not encrypted", everywhere);
  await refuses("http://registry.example.com/token", "because http is not encrypted", {
    ...everywhere,
    username: "<token>",
  });
});

Deno.test("oci: a manifest or description that makes no sense is refused", () => {
  const description: Description = {
    profile: "shop",
    arch: "amd64",
    created: "2026-01-01T00:00:00.000Z",
    files: { disk: { size: 7, sha256: "0".repeat(64), chunks: [0, 1, 0] } },
    chunks: [{ length: 2, sha256: "1".repeat(64) }, { length: 3, sha256: "2".repeat(64) }],
  };
  const layer = { mediaType: CHUNK, digest: DIGEST, size: 20 };
  const manifest: Manifest = {
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: { mediaType: DESCRIPTION, digest: DIGEST, size: 1 },
    layers: [layer, layer],
  };
  assertEquals(parseManifest(encode(manifest), MANIFEST), manifest);
  assertEquals(parseDescription(encode(description), manifest), description);

  const wrong = (change: (copy: Description) => void) => {
    const copy = structuredClone(description);
    change(copy);
    assertThrows(() => parseDescription(encode(copy), manifest), HotbootError, "is damaged", JSON.stringify(copy));
  };
  wrong(({ files }) => files.disk.size = 8);
  wrong(({ files }) => files.disk.chunks = [0, 1, 2]);
  wrong(({ files }) => files.disk.chunks = [-1]);
  wrong(({ files }) => files.disk.sha256 = "x");
  wrong(({ files }) => Object.assign(files, { "../disk": files.disk }));
  wrong(({ files }) => Object.assign(files, { disk: undefined }));
  wrong(({ chunks }) => chunks[0].length = 0);
  wrong(({ chunks }) => chunks[0].length = longestChunk(1) + 1);
  wrong(({ chunks }) => chunks.pop());
  wrong((copy) => copy.scale = 3 as Scale);
  const text = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  const unsound = [{}, [], null, 1, { ...manifest, layers: [{ ...layer, digest: "sha256:x" }] }, {
    ...manifest,
    config: 1,
  }];
  for (const value of unsound) assertThrows(() => parseManifest(text(value), MANIFEST), HotbootError, "is damaged");
  assertThrows(() => parseManifest(encode(manifest), INDEX), HotbootError, "is damaged");
  assertThrows(() => parseManifest(new Uint8Array([0xff]), MANIFEST), HotbootError, "not JSON");
  const huge = { ...manifest, layers: [layer, { ...layer, size: 2 ** 40 }] };
  assertThrows(() => parseDescription(encode(description), huge), HotbootError, "its layers are not its chunks");
});

/** Bytes that do not repeat. */
function noise(size: number, seed: number): Uint8Array<ArrayBuffer> {
  const next = random(seed);
  const words = Uint32Array.from({ length: size / 4 }, () => next() * 2 ** 32);
  return new Uint8Array(words.buffer);
}

Deno.test("oci: chunks make up the file, and what is moved by a block stays in the same chunks", async () => {
  await withDirectory(async (directory) => {
    const block = 4096;
    const before = noise(4000 * block, 1);
    const after = new Uint8Array(before.length + 3 * block + 100);
    after.set(before.subarray(0, 100 * block));
    after.set(noise(3 * block, 2), 100 * block); // three more blocks
    after.set(before.subarray(100 * block), 103 * block);
    const chunks = async (bytes: Uint8Array, scale: Scale = 1) => {
      await Deno.writeFile(`${directory}/file`, bytes);
      let at = 0;
      const found = new Map<string, number>();
      for await (const { offset, bytes: content, sha256 } of chunksOf(`${directory}/file`, scale)) {
        assertEquals([offset, content.length <= longestChunk(scale)], [at, true]);
        at += content.length;
        found.set(sha256, content.length);
      }
      assertEquals(at, bytes.length);
      return found;
    };
    const [old, now] = [await chunks(before), await chunks(after)];
    const isNew = [...now].filter(([sha256]) => !old.has(sha256));
    const moved = isNew.reduce((sum, [, length]) => sum + length, 0);
    assert(old.size > 10 && isNew.length <= 3, `${isNew.length} of ${now.size}`);
    assert(moved <= 2 * longestChunk(1), String(moved));
    assertEquals(await chunks(new Uint8Array()), new Map());
    assertEquals((await chunks(new Uint8Array(10))).size, 1);

    // Of a large image the chunks are longer, so that registries accept their list.
    const GIB = 2 ** 30;
    assertEquals([1, 12, 20, 40, 80, 1000].map((size) => scaleFor(size * GIB, 20_000)), [1, 1, 2, 4, 8, 8]);
    const longer = await chunks(before, 2);
    assert(longer.size < 0.75 * old.size, `${longer.size} instead of ${old.size}`);
  });
});

Deno.test("oci: a disk that refers to other files, or is none, gets no other form", async () => {
  await withDirectory(async (directory) => {
    const [from, to] = [`${directory}/from`, `${directory}/to`];
    await createOverlay(from, "/etc/passwd", 2 ** 20);
    await assertRejects(() => writeFlatDisk(from, to), HotbootError, "in other files");
    await Deno.remove(to).catch(() => {});
    await Deno.writeTextFile(from, "no disk");
    await assertRejects(() => writeFlatDisk(from, to), HotbootError, "not a qcow2 disk");
  });
});

Deno.test("oci: a disk whose tables lead out of its file, or are larger than it, is refused", async () => {
  await withDirectory(async (directory) => {
    const [from, to] = [`${directory}/from`, `${directory}/to`];
    const head = new DataView(new ArrayBuffer(2 * 65536));
    head.setUint32(0, 0x514649fb);
    head.setUint32(4, 2);
    head.setUint32(20, 16);
    head.setBigUint64(24, 1n << 30n);
    head.setUint32(36, 2);
    head.setBigUint64(40, 65536n);
    const refused = async () => {
      await Deno.writeFile(from, new Uint8Array(head.buffer));
      await assertRejects(() => writeFlatDisk(from, to), HotbootError, "it is truncated");
      await Deno.remove(to).catch(() => {});
    };
    head.setBigUint64(65536, (1n << 55n) + 65536n); // the second-level table
    await refused();
    head.setBigUint64(65536, 65536n); // itself: its first entry is a compressed cluster far behind the end
    head.setBigUint64(65536 + 8, 0n);
    head.setUint32(36, 0xffffffff); // a first-level table of 32 GiB
    await refused();
  });
});
