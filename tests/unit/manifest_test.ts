import { assert, assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import { fingerprint, matches } from "../../lib/snapshot/fingerprint.ts";
import { bootTime } from "../../lib/base/boot_time.ts";
import {
  difference,
  type Identity,
  type Manifest,
  readManifest,
  SNAPSHOT_FILES,
  wrongContent,
  wrongSize,
} from "../../lib/snapshot/manifest.ts";
import { commitSnapshot, newestSnapshot, prepareSnapshot, syncSnapshot } from "../../lib/snapshot/store.ts";
import { GUEST } from "./checkpoints.ts";
import { withDirectory } from "./temporary.ts";

const IDENTITY: Identity = { "QEMU version": "7.2.22", "memory": "512 MiB" };
const RAM_BYTES = 4 << 20;

/** A snapshot with made-up content. */
async function captured(directory: string, options?: { sync: boolean }) {
  const prepared = await prepareSnapshot(directory, RAM_BYTES);
  await Deno.writeTextFile(`${prepared}/${SNAPSHOT_FILES.state}`, "state");
  await Deno.writeTextFile(`${prepared}/${SNAPSHOT_FILES.disk}`, "disk");
  return await commitSnapshot(prepared, { engine: "instant", identity: IDENTITY, guest: GUEST }, options);
}

function manifest(changes: Partial<Manifest> = {}): Manifest {
  return {
    format: 2,
    id: "x",
    engine: "instant",
    created: "",
    guest: GUEST,
    identity: IDENTITY,
    files: {},
    ...changes,
  };
}

Deno.test("manifest: every difference is named, with the old and the new value", () => {
  assertEquals(difference(manifest(), IDENTITY), undefined);
  assertEquals(
    difference(manifest(), { ...IDENTITY, "memory": "1024 MiB" }),
    "the memory was 512 MiB and is 1024 MiB",
  );
  assertEquals(difference(manifest(), { ...IDENTITY, "TPM": "yes" }), "the TPM was not recorded and is yes");
  const { memory: _, ...less } = IDENTITY;
  assertEquals(difference(manifest(), less), "the memory was 512 MiB and is none");
});

Deno.test("manifest: what only a program can read is named in words", () => {
  const identity = {
    "QEMU version": "7.2.22",
    "accelerator": "tcg",
    "CPU's features": "b700b700b700",
    "config disk": "a".repeat(64),
  };
  const was = manifest({ identity });
  const say = (changes: Identity) => difference(was, { ...identity, ...changes });
  assertEquals(say({ "QEMU version": "10.0.8" }), undefined); // it is tried
  const features = { "CPU's features": "7a907a907a90" };
  assertEquals(
    say({ ...features, "QEMU version": "10.0.8" }),
    "QEMU 10.0.8 emulates another CPU than QEMU 7.2.22 did",
  );
  assertEquals(say(features), "this build of QEMU 7.2.22 emulates another CPU than that of then");
  const hardware = manifest({ identity: { ...identity, accelerator: "kvm" } });
  assertEquals(
    difference(hardware, { ...hardware.identity, ...features }),
    "the host's CPU offers the guest other features than then",
  );
  assertEquals(
    say({ "config disk": "b".repeat(64) }),
    "the config disk is not the same as then (the profile's 'config', a file that it names, or a variable in it has changed)",
  );
});

Deno.test("manifest: for long lists, only the differences are named", () => {
  const devices = Array.from({ length: 20 }, (_, at) => `-device dev-${at},bus=pcie.0`);
  const layout = devices.join(" ");
  const was = manifest({ identity: { layout } });
  const is = [...devices.slice(1), "-device new"].join(" ");
  assertEquals(
    difference(was, { layout: is }),
    "the layout differs: without -device dev-0,bus=pcie.0, with -device new",
  );
  assertEquals(difference(was, { layout: devices.toReversed().join(" ") }), "the layout has another order");
});

Deno.test("manifest: files that a host crash may have lost are not trusted after the next boot", () => {
  assertEquals(difference(manifest({ unsyncedSinceBoot: bootTime() }), IDENTITY), undefined);
  assertMatch(difference(manifest({ unsyncedSinceBoot: bootTime() - 3_600_000 }), IDENTITY)!, /host went down/);
});

Deno.test("manifest: an unreadable manifest gives a reason", async () => {
  await withDirectory(async (directory) => {
    const path = `${directory}/manifest.json`;
    await assertRejects(() => readManifest(directory), Error, "manifest.json is missing");
    for (
      const [text, why] of [
        ["{", "damaged"],
        ["null", "format undefined"],
        ['{"format": 1}', "has format 1, but this hotboot reads format 2"],
        ['{"format": 2, "id": "x"}', "lacks the engine"],
        [JSON.stringify({ ...manifest(), identity: null }), "lacks the engine"],
        [JSON.stringify(manifest()), "belongs to x"],
      ]
    ) {
      await Deno.writeTextFile(path, text);
      await assertRejects(() => readManifest(directory), Error, why);
    }
  });
});

Deno.test("snapshot: it is put in place complete, readable by its owner only, and found again", async () => {
  await withDirectory(async (directory) => {
    assertEquals(await newestSnapshot(`${directory}/none`), undefined);
    const snapshot = await captured(directory);
    assertEquals(await Array.fromAsync(Deno.readDir(directory), ({ name }) => name), [snapshot.manifest.id]);
    assertEquals((await Deno.stat(`${snapshot.directory}/ram`)).size, RAM_BYTES);
    assertEquals((await Deno.stat(`${snapshot.directory}/ram`)).mode! & 0o777, 0o600);
    assertEquals(await newestSnapshot(directory), snapshot);

    await syncSnapshot(snapshot);
    assertEquals((await newestSnapshot(directory))?.manifest.unsyncedSinceBoot, undefined);
    const flushed = await captured(directory, { sync: true });
    assertEquals((await newestSnapshot(directory))?.manifest, flushed.manifest);
    assertEquals(flushed.manifest.unsyncedSinceBoot, undefined);
    assertEquals(await wrongSize(snapshot.directory, snapshot.manifest), undefined);
    assertEquals(await wrongContent(snapshot.directory, snapshot.manifest), undefined);
  });
});

Deno.test("snapshot: the last one captured is the newest, whatever the clock says; other files are ignored", async () => {
  await withDirectory(async (directory) => {
    const first = await captured(directory);
    await Deno.rename(first.directory, `${directory}/29991231T235959Z-abcd`);
    const { manifest: { id } } = await captured(directory);
    await Deno.mkdir(`${directory}/lost+found`);
    await Deno.mkdir(`${directory}/zzz`);
    assertEquals((await newestSnapshot(directory))?.manifest.id, id);
    assertMatch(id, /^30000101T000000Z-/);
  });
});

Deno.test("snapshot: an unfinished one is not found", async () => {
  await withDirectory(async (directory) => {
    await prepareSnapshot(directory, RAM_BYTES);
    assertEquals(await newestSnapshot(directory), undefined);
  });
});

Deno.test("fingerprint: a truncated, an emptied and a changed file differ", async () => {
  await withDirectory(async (directory) => {
    const path = `${directory}/file`;
    for (const size of [0, 1, 4096, 1 << 20, (1 << 20) + 1, 5 << 20]) {
      const bytes = new Uint8Array(size);
      for (let at = 0; at < size; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
      bytes.fill(7, 0, 1); // not zero, unlike the last one below
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
      assertEquals(await matches(path, original), false);
    }
  });
});

Deno.test("fingerprint: in a file of mostly zeros, the other pages are sampled", async () => {
  await withDirectory(async (directory) => {
    const path = `${directory}/file`;
    const size = 64 << 20;
    const file = await Deno.open(path, { write: true, create: true });
    await file.truncate(size);
    for (let page = 0; page < size / 4096; page += 64) {
      await file.seek(page * 4096, Deno.SeekMode.Start);
      await file.write(crypto.getRandomValues(new Uint8Array(64)));
    }
    file.close();
    const { pages, ...rest } = await fingerprint(path);
    assert(pages!.filter((page) => page % 64 === 0).length > 90, pages!.join());
    assert(await matches(path, { pages, ...rest }));
  });
});
