/** Pulling from a registry that is disturbed: schedules from seeds. HOTBOOT_TEST_SOAK=full runs 200 of them. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { HotbootError } from "../../lib/base/error.ts";
import { sha256 } from "../../lib/base/hash.ts";
import { readAt } from "../../lib/base/io.ts";
import { assemble } from "../../lib/oci/assemble.ts";
import { blobsOf } from "../../lib/oci/chunk_sources.ts";
import { findImage } from "../../lib/oci/find.ts";
import { writeFlatDisk } from "../../lib/oci/flat_disk.ts";
import { type Description, encode, INDEX } from "../../lib/oci/manifest.ts";
import { pushImage } from "../../lib/oci/push.ts";
import { parseReference } from "../../lib/oci/reference.ts";
import { Registry } from "../../lib/oci/registry.ts";
import type { Arch } from "../../lib/vm/arch.ts";
import { random } from "../unit/random.ts";
import { rounds } from "./pace.ts";
import { type Disturb, FaultyProxy, RegistryServer } from "./registry_server.ts";
import { tool } from "./snapshots.ts";

const MIB = 2 ** 20;
const [USER, PASSWORD] = ["team", "secret"];
const FAULTS = ["cut", "stall", "wrong", "swapped", "truncated", "expired", "busy", "failing"] as const;
type Fault = typeof FAULTS[number];

Deno.test("oci: a disturbed pull ends with the right bytes or a clear error, and the next one fetches only what is missing", async () => {
  await using registry = await RegistryServer.start(async (directory) => {
    await Deno.writeTextFile(`${directory}/htpasswd`, await tool(`htpasswd -nbB ${USER} ${PASSWORD}`));
    return `auth: {htpasswd: {realm: tests, path: ${directory}/htpasswd}}\n`;
  });
  await using proxy = new FaultyProxy(registry.host);
  const directory = await Deno.makeTempDir({ prefix: "hotboot-oci-" });
  try {
    const { disk, description } = await publish(proxy.host, directory);
    const seen = new Set<string>();
    for (let seed = 1; seed <= rounds(16, 200); seed++) {
      const place = `${directory}/${seed}`;
      await Deno.mkdir(place);
      proxy.disturb = schedule(seed, registry, seen);
      const first = await pull(proxy.host, place, 300).catch((error) => error);
      proxy.disturb = undefined;
      if (first instanceof Error) {
        assert(first instanceof HotbootError, `seed ${seed}: ${first.stack}`);
        assert(!/\n/.test(first.message) && !first.message.includes(PASSWORD), `seed ${seed}: ${first.message}`);
      } else {
        assertEquals(await Deno.readFile(`${place}/disk`), disk, `seed ${seed}`);
      }
      const missing = await missingIn(place, description);
      if (!(first instanceof Error)) assertEquals(missing, 0);
      proxy.seen.length = 0;
      await pull(proxy.host, place);
      assertEquals(await Deno.readFile(`${place}/disk`), disk, `seed ${seed}`);
      assertEquals(proxy.blobs.count, missing + 1, `seed ${seed}: the description, and what was missing`);
      await Deno.remove(place, { recursive: true });
    }
    assertEquals([...seen].sort(), [...FAULTS].sort(), "a kind of fault was never tried");
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("oci: two that push to one tag at the same time keep each other's image, or one says that it has lost", async () => {
  await using registry = await RegistryServer.start();
  await using proxy = new FaultyProxy(registry.host);
  const directory = await Deno.makeTempDir({ prefix: "hotboot-oci-" });
  try {
    const push = async (arch: Arch, tag: string, mark: number) => {
      const path = `${directory}/${arch}-${mark}`;
      await Deno.writeFile(path, new Uint8Array(4096).fill(mark));
      await pushImage(
        { profile: "noise", arch, created: "2026-01-01T00:00:00.000Z", files: { disk: path } },
        { registry: open(proxy.host, { tag }), signal: new AbortController().signal, onProgress: () => {} },
      );
    };
    /** The first replaces what the tag names when the second already has, of which it knows nothing. */
    const bothAtOnce = async (tag: string, ...pushes: [Arch, number][]) => {
      const second = Promise.withResolvers<void>();
      let puts = 0;
      proxy.disturb = async (request, forward) => {
        if (request.method !== "PUT" || !request.url.endsWith(`/manifests/${tag}`)) return undefined;
        const isFirst = ++puts === 1;
        if (isFirst) await second.promise;
        const answer = await forward();
        if (!isFirst) second.resolve();
        return answer;
      };
      const results = await Promise.allSettled(pushes.map(([arch, mark]) => push(arch, tag, mark)));
      proxy.disturb = undefined;
      return results.flatMap((result) => result.status === "rejected" ? [String(result.reason.message)] : []);
    };
    assertEquals(await bothAtOnce("two", ["amd64", 1], ["arm64", 2]), []);
    for (const arch of ["amd64", "arm64"] as const) {
      assertEquals((await (await findImage(open(proxy.host, { tag: "two" }), arch)).describe()).arch, arch);
    }
    // What somebody else has put there while the chunks were sent is not replaced.
    const other = encode({ schemaVersion: 2, mediaType: INDEX, manifests: [] });
    await open(proxy.host, { tag: "other" }).putManifest("other", { mediaType: INDEX, digest: "", bytes: other });
    await assertRejects(() => push("amd64", "other", 5), HotbootError, "is there, and no image of hotboot's");
    const [lost, ...others] = await bothAtOnce("one", ["amd64", 3], ["amd64", 4]);
    assertEquals(others, []);
    assertMatch(lost, /another push has put an image for amd64 under .*:one at the same time: push again/);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

/** Pushes a disk of noise; gives its form in the registry. */
async function publish(host: string, directory: string): Promise<{ disk: Uint8Array; description: Description }> {
  const next = random(7);
  const words = Uint32Array.from({ length: 8 * MIB / 4 }, () => next() * 2 ** 32);
  words.copyWithin(6 * MIB / 4, 0, MIB / 4); // some of it twice
  await Deno.writeFile(`${directory}/raw`, new Uint8Array(words.buffer));
  await tool(`cd ${directory} && qemu-img convert -c -O qcow2 raw disk.qcow2`);
  await writeFlatDisk(`${directory}/disk.qcow2`, `${directory}/flat`);
  const registry = open(host);
  await pushImage(
    { profile: "noise", arch: "amd64", created: "2026-01-01T00:00:00.000Z", files: { disk: `${directory}/flat` } },
    { registry, signal: new AbortController().signal, onProgress: () => {} },
  );
  const description = await (await findImage(registry, "amd64")).describe();
  assert(description.chunks.length > 8, String(description.chunks.length));
  return { disk: await Deno.readFile(`${directory}/flat`), description };
}

/** @param answerMs How long to wait for an answer: only where some never come, and no longer than that takes. */
function open(host: string, { answerMs = 60_000, tag = "v1" } = {}): Registry {
  const login = { username: USER, secret: PASSWORD, hosts: [host] };
  return new Registry(parseReference(`oci://${host}/noise:${tag}`), {
    login,
    retry: { attempts: 3, baseMs: 1, answerMs },
  });
}

async function pull(host: string, directory: string, answerMs?: number): Promise<number> {
  const registry = open(host, { answerMs });
  const { manifest: { layers }, describe } = await findImage(registry, "amd64");
  const { moved } = await assemble({
    description: await describe(),
    from: blobsOf(registry, layers),
    directory,
    sources: [],
    signal: new AbortController().signal,
    onProgress: () => {},
  });
  return moved;
}

/** How many chunks have not their content at each of their places. */
async function missingIn(directory: string, { files: { disk }, chunks }: Description): Promise<number> {
  const right = new Map<number, boolean>();
  using file = await Deno.open(`${directory}/disk`, { read: true, write: true, create: true });
  let offset = 0;
  for (const index of disk.chunks) {
    const bytes = new Uint8Array(chunks[index].length);
    await readAt(file, offset, bytes);
    offset += bytes.length;
    // One right place is enough: from there it is copied.
    right.set(index, right.get(index) === true || await sha256(bytes) === chunks[index].sha256);
  }
  return right.values().filter((isRight) => !isRight).toArray().length;
}

/** What happens to which request: now and then something, and in some schedules the same to one blob again and again. */
function schedule(seed: number, registry: RegistryServer, seen: Set<string>): Disturb {
  const next = random(seed);
  const pick = <T>(list: readonly T[]) => list[Math.floor(next() * list.length)];
  const often = next() < 0.5 ? 0.15 : 0.5;
  const lasting = next() < 0.4 ? pick(FAULTS) : undefined;
  let victim: string | undefined;
  const blobs: string[] = [];
  return async (request, forward) => {
    const blob = request.url.match(/\/blobs\/(sha256:[0-9a-f]+)$/)?.[1];
    const isRefused = request.headers.get("authorization") === null;
    if (isRefused) return undefined; // the registry itself refuses it
    if (blob && lasting && next() < 0.3) victim ??= blob;
    const isVictim = blob !== undefined && blob === victim;
    const fault = isVictim ? lasting! : next() < often ? pick(FAULTS) : undefined;
    const earlier = blobs.filter((each) => each !== blob);
    if (blob) blobs.push(blob);
    if (fault === undefined) return undefined;
    if (fault === "swapped" && (!blob || earlier.length === 0)) return undefined;
    seen.add(fault);
    return await disturbed(fault, forward, () => Deno.readFile(registry.blobPath(pick(earlier))));
  };
}

async function disturbed(
  fault: Fault,
  forward: () => Promise<Response>,
  other: () => Promise<Uint8Array<ArrayBuffer>>,
): Promise<Response> {
  if (fault === "stall") {
    return await new Promise<Response>((resolve) => setTimeout(() => resolve(new Response()), 2000));
  }
  if (fault === "busy") return new Response(null, { status: 429, headers: { "retry-after": "0" } });
  if (fault === "failing") return new Response("<html>", { status: 500 });
  if (fault === "expired") {
    return new Response(null, { status: 401, headers: { "www-authenticate": 'Basic realm="tests"' } });
  }
  const answer = await forward();
  const { status } = answer;
  const bytes = new Uint8Array(await answer.arrayBuffer());
  const headers = { "content-type": answer.headers.get("content-type") ?? "" };
  if (fault === "swapped") return new Response(await other(), { status, headers });
  if (fault === "wrong") bytes[bytes.length >> 1] ^= 1;
  if (fault !== "cut") return new Response(fault === "truncated" ? bytes.slice(0, -7) : bytes, { status, headers });
  const half = bytes.slice(0, bytes.length >> 1);
  const body = new ReadableStream({
    start(controller) {
      controller.enqueue(half);
      setTimeout(() => controller.error(new Error("cut")), 5);
    },
  });
  return new Response(body, { status, headers });
}
