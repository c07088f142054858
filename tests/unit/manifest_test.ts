import { assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import { fingerprint } from "../../lib/snapshot/fingerprint.ts";
import {
  bootTime,
  difference,
  type Identity,
  type Manifest,
  readManifest,
  SNAPSHOT_FILES,
  wrongContent,
  wrongSize,
} from "../../lib/snapshot/manifest.ts";
import { commitSnapshot, newestSnapshot, prepareSnapshot, syncSnapshot } from "../../lib/snapshot/store.ts";

const IDENTITY: Identity = { "QEMU version": "7.2.22", "memory": "512 MiB" };
const RAM_BYTES = 4 << 20;

async function withDirectory(use: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "hotboot-unit-" });
  try {
    await use(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** A snapshot with made-up content. */
async function captured(directory: string) {
  const prepared = await prepareSnapshot(directory, RAM_BYTES);
  await Deno.writeTextFile(`${prepared}/${SNAPSHOT_FILES.state}`, "state");
  await Deno.writeTextFile(`${prepared}/${SNAPSHOT_FILES.disk}`, "disk");
  return await commitSnapshot(prepared, { identity: IDENTITY });
}

function manifest(changes: Partial<Manifest> = {}): Manifest {
  return { format: 1, id: "x", engine: "instant", created: "", identity: IDENTITY, files: {}, ...changes };
}

Deno.test("manifest: every difference is named with what it was and is", () => {
  assertEquals(difference(manifest(), IDENTITY), undefined);
  assertEquals(
    difference(manifest(), { ...IDENTITY, "memory": "1024 MiB" }),
    "the memory was 512 MiB and is 1024 MiB",
  );
  assertEquals(difference(manifest(), { ...IDENTITY, "TPM": "yes" }), "the TPM was not recorded and is yes");
  const { memory: _, ...less } = IDENTITY;
  assertEquals(difference(manifest(), less), "the memory was 512 MiB and is none");
});

Deno.test("manifest: files that the host may have lost in a crash are not trusted after its next boot", () => {
  assertEquals(difference(manifest({ unsyncedSinceBoot: bootTime() }), IDENTITY), undefined);
  assertMatch(difference(manifest({ unsyncedSinceBoot: bootTime() - 3_600_000 }), IDENTITY)!, /host went down/);
});

Deno.test("manifest: what cannot be understood is said", async () => {
  await withDirectory(async (directory) => {
    const path = `${directory}/manifest.json`;
    await assertRejects(() => readManifest(directory), Error, "manifest.json is missing");
    for (
      const [text, why] of [
        ["{", "damaged"],
        ["null", "format undefined"],
        ['{"format": 2}', "has format 2, this hotboot reads format 1"],
        ['{"format": 1, "id": "x"}', "lacks 'engine'"],
      ]
    ) {
      await Deno.writeTextFile(path, text);
      await assertRejects(() => readManifest(directory), Error, why);
    }
  });
});

Deno.test("snapshot: it is put in place whole, for its owner's eyes, and found again", async () => {
  await withDirectory(async (directory) => {
    assertEquals(await newestSnapshot(`${directory}/none`), undefined);
    const snapshot = await captured(directory);
    assertEquals(await Array.fromAsync(Deno.readDir(directory), ({ name }) => name), [snapshot.manifest.id]);
    assertEquals((await Deno.stat(`${snapshot.directory}/ram`)).size, RAM_BYTES);
    assertEquals((await Deno.stat(`${snapshot.directory}/ram`)).mode! & 0o777, 0o600);
    assertEquals(await newestSnapshot(directory), snapshot);

    await syncSnapshot(snapshot);
    assertEquals((await newestSnapshot(directory))?.manifest.unsyncedSinceBoot, undefined);
    assertEquals(await wrongSize(snapshot.directory, snapshot.manifest), undefined);
    assertEquals(await wrongContent(snapshot.directory, snapshot.manifest), undefined);
  });
});

Deno.test("snapshot: what was never finished is not found", async () => {
  await withDirectory(async (directory) => {
    await prepareSnapshot(directory, RAM_BYTES);
    assertEquals(await newestSnapshot(directory), undefined);
  });
});

Deno.test("fingerprint: a short, an emptied and another file differ", async () => {
  await withDirectory(async (directory) => {
    const path = `${directory}/file`;
    for (const size of [0, 1, 4096, 1 << 20, (1 << 20) + 1, 5 << 20]) {
      const bytes = new Uint8Array(size);
      for (let at = 0; at < size; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
      await Deno.writeFile(path, bytes);
      const original = await fingerprint(path);
      assertEquals(original.size, size);
      assertEquals(await fingerprint(path), original);
      if (size === 0) continue;
      bytes[0] ^= 1;
      await Deno.writeFile(path, bytes);
      assertNotEquals(await fingerprint(path), original);
      bytes[0] ^= 1;
      bytes[size - 1] ^= 1; // the last page is always sampled
      await Deno.writeFile(path, bytes);
      assertNotEquals(await fingerprint(path), original);
      await Deno.writeFile(path, new Uint8Array(size));
      assertNotEquals(await fingerprint(path), original);
    }
  });
});
