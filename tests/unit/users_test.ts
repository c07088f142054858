/** Which instances use an image or a snapshot, and so keep it from being removed or replaced. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { exists } from "@std/fs/exists";
import { HotbootError } from "../../lib/base/error.ts";
import { sha256File } from "../../lib/base/hash.ts";
import { sleep } from "../../lib/base/wait.ts";
import { findId } from "../../lib/emulator/snapshots.ts";
import {
  hasUnknownImage,
  type Image,
  imagePath,
  imageRecordPath,
  placingPath,
  readImage,
} from "../../lib/image/image.ts";
import { openStore, putInPlace, temporaryPath } from "../../lib/image/store.ts";
import { instancePath } from "../../lib/instance/channels.ts";
import type { Emulator } from "../../lib/instance/emulator.ts";
import { privateDirectory } from "../../lib/instance/home.ts";
import { IMAGE_DISK } from "../../lib/instance/identity.ts";
import { writeRecord } from "../../lib/instance/record.ts";
import { requireUnused, usersOfSnapshots } from "../../lib/instance/users.ts";
import { createOverlay } from "../../lib/vm/qcow2.ts";
import { testEmulator, testRecord } from "./emulators.ts";
import { withDirectory } from "./temporary.ts";

const SNAPSHOT = "20260101T000000Z-abcd";

/** Puts an image with unique content in place, and returns the digest of its disk. */
async function putImage(emulator: Emulator, size: number): Promise<string> {
  using _lock = await openStore(emulator);
  return await place(emulator, size);
}

/** The same, for who holds the image's lock. */
async function place(emulator: Emulator, size: number): Promise<string> {
  const path = temporaryPath(emulator);
  await createOverlay(path, "x", size);
  const origin = { kind: "build", recipe: String(size) } as const;
  const { record } = await putInPlace(emulator, { disk: { path, sha256: await sha256File(path) } }, origin);
  return record.files.disk.sha256;
}

async function writeInstance(emulator: Emulator, instance: string, ...changes: Parameters<typeof testRecord>) {
  const one = { ...emulator, instance };
  await privateDirectory(one.home.instance(instance));
  await writeRecord(one, testRecord(...changes));
  return one;
}

Deno.test("image: what a command that was killed has put in place by halves is nobody's; a disk of the user's own is the user's", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    await putImage(emulator, 65_536);
    assertEquals(await exists(placingPath(emulator)), false);
    await Deno.remove(imageRecordPath(emulator)); // as a power cut would, before the new one is written
    await Deno.writeTextFile(placingPath(emulator), "");
    assertEquals([await hasUnknownImage(emulator), await readImage(emulator)], [false, undefined]);
    (await openStore(emulator))[Symbol.dispose]();
    const left = [imagePath(emulator, "disk"), placingPath(emulator)].map((path) => exists(path));
    assertEquals(await Promise.all(left), [false, false]);
    const digest = await putImage(emulator, 131_072);
    await Deno.writeTextFile(placingPath(emulator), ""); // killed right after the description
    (await openStore(emulator))[Symbol.dispose]();
    assertEquals((await readImage(emulator))?.record.files.disk.sha256, digest);
    await Deno.remove(imageRecordPath(emulator));
    assertEquals(await hasUnknownImage(emulator), true);
  });
});

Deno.test("image: a command that is killed before it has replaced anything leaves the earlier one", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const digest = await putImage(emulator, 65_536);
    await Deno.rename(imageRecordPath(emulator), placingPath(emulator));
    (await openStore(emulator))[Symbol.dispose]();
    assertEquals((await readImage(emulator))?.record.files.disk.sha256, digest);
    assertEquals(await exists(placingPath(emulator)), false);

    await Deno.rename(imageRecordPath(emulator), placingPath(emulator));
    await Deno.copyFile(imagePath(emulator, "disk"), imagePath(emulator, "kernel")); // of the new one
    (await openStore(emulator))[Symbol.dispose]();
    assertEquals([await readImage(emulator), await exists(imagePath(emulator, "disk"))], [undefined, false]);
  });
});

Deno.test("image: whoever reads it while another command replaces it waits, and gets the new one", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    await putImage(emulator, 65_536);
    const reading: Promise<Image | undefined>[] = [];
    let fresh: string;
    {
      using _lock = await openStore(emulator);
      await Deno.rename(imageRecordPath(emulator), placingPath(emulator)); // halfway
      reading.push(readImage(emulator), readImage(emulator, { look: "only" }));
      await sleep(100); // who does not wait has read it by now
      fresh = await place(emulator, 131_072);
    }
    const digests = (await Promise.all(reading)).map((image) => image?.record.files.disk.sha256);
    assertEquals(digests, [fresh, fresh]);
  });
});

Deno.test("users: running, suspended, shut-down and crashed instances use their snapshot and their image", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const image = { [IMAGE_DISK]: "digest" };
    const at = "2026-01-01T00:00:00.000Z";
    await writeInstance(emulator, "a", { snapshot: SNAPSHOT, identity: image });
    const ended = { how: "shut down", at } as const;
    await writeInstance(emulator, "b", { snapshot: SNAPSHOT, phase: "stopped", ended });
    await writeInstance(emulator, "c", { snapshot: SNAPSHOT, phase: "starting", isDiskKept: false, identity: image });
    assertEquals((await usersOfSnapshots(emulator)).get(SNAPSHOT), [
      { instance: "a", state: "crashed" },
      { instance: "b", state: "shut down" },
    ]);
    const error = await assertRejects(() => requireUnused(emulator, "digest"), HotbootError);
    assertMatch(error.message, /instance 'a' is crashed and uses the current image/);
    await requireUnused(emulator, "other");
    await requireUnused(emulator, undefined);
  });
});

Deno.test("users: a damaged instance's disk says which snapshot it uses", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const one = await writeInstance(emulator, "a", { snapshot: SNAPSHOT });
    await createOverlay(instancePath(one, "disk"), `../../snapshots/demo-amd64/${SNAPSHOT}/disk.qcow2`, 1 << 20);
    await Deno.writeTextFile(instancePath(one, "record"), "");
    assertEquals((await usersOfSnapshots(emulator)).get(SNAPSHOT), [{ instance: "a", state: "damaged" }]);
    await assertRejects(() => requireUnused(emulator, "any"), HotbootError, "instance 'a' is damaged");
  });
});

Deno.test("image store: an image that came into use meanwhile is not replaced", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const digest = await putImage(emulator, 1 << 20);
    await writeInstance(emulator, "a", { identity: { [IMAGE_DISK]: digest } });
    await assertRejects(() => putImage(emulator, 2 << 20), HotbootError, "uses the current image");
    assertEquals((await readImage(emulator))?.record.files.disk.sha256, digest);
    await Deno.remove(emulator.home.instance("a"), { recursive: true });
    assert(await putImage(emulator, 2 << 20) !== digest);
  });
});

Deno.test("image store: a correction does not overwrite a newer description", async () => {
  await withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    await putImage(emulator, 1 << 20);
    const path = imagePath(emulator, "disk");
    const before = await Deno.readTextFile(imageRecordPath(emulator));
    await Deno.utime(path, new Date(), new Date());
    {
      using _lock = await openStore(emulator); // another command replaces the image
      await readImage(emulator);
      assertEquals(await Deno.readTextFile(imageRecordPath(emulator)), before);
    }
    await readImage(emulator);
    assert(await Deno.readTextFile(imageRecordPath(emulator)) !== before);
  });
});

Deno.test("snapshots: a prefix of an id finds it, and an empty one does not", () => {
  assertEquals(findId([SNAPSHOT], "2026", "demo"), SNAPSHOT);
  assertEquals(findId(["a", SNAPSHOT], undefined, "demo"), SNAPSHOT);
  for (const prefix of ["", "b"]) {
    try {
      findId([SNAPSHOT], prefix, "demo");
    } catch (error) {
      assert(error instanceof HotbootError);
      continue;
    }
    throw new Error(`'${prefix}' was found`);
  }
});
