/** Checkpoints: their names, and what those protect whose manifests cannot be read. */

import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { exists } from "@std/fs/exists";
import { pruneSnapshots } from "../../lib/emulator/prune.ts";
import { renameCheckpoint } from "../../lib/emulator/rename.ts";
import { listSnapshots, removeSnapshots } from "../../lib/emulator/snapshots.ts";
import { checkpointsOf, findCheckpoint } from "../../lib/instance/checkpoints.ts";
import type { Emulator } from "../../lib/instance/emulator.ts";
import { dropUnnamed } from "../../lib/instance/forks.ts";
import { layerDisk, removeUnusedLayers } from "../../lib/instance/layers.ts";
import { requireUnused, usersOfSnapshots } from "../../lib/instance/users.ts";
import { createOverlay } from "../../lib/vm/qcow2.ts";
import { diskOn, madeCheckpoint, madeSnapshot } from "./checkpoints.ts";
import { testEmulator } from "./emulators.ts";
import { withDirectory } from "./temporary.ts";

/** A home with a snapshot, and a checkpoint of a session that was resumed from it. */
async function withCheckpoint(directory: string, name?: string) {
  const emulator = await testEmulator(directory);
  await Deno.mkdir(emulator.home.images, { recursive: true });
  const image = `${emulator.home.images}/base.qcow2`;
  await createOverlay(image, "nothing.qcow2", 1 << 26);
  const snapshot = await madeSnapshot(emulator, image);
  const base = snapshot.manifest.id;
  const disk = `${snapshot.directory}/disk.qcow2`;
  return { emulator, snapshot, disk, checkpoint: await madeCheckpoint(emulator, disk, { name, base }) };
}

const names = async (emulator: Emulator) =>
  (await checkpointsOf(emulator)).map(({ manifest }) => manifest.checkpoint.name);

Deno.test("rename: another name for the same checkpoint, and one for one without", () =>
  withDirectory(async (directory) => {
    const { emulator, disk, checkpoint: { manifest: { id }, directory: place } } = await withCheckpoint(
      directory,
      "one",
    );
    assertEquals(await renameCheckpoint(emulator, "one", "two"), { id, name: "two", was: "one" });
    assertEquals(await renameCheckpoint(emulator, id.slice(0, 8), "three"), { id, name: "three", was: "two" });
    assertEquals((await findCheckpoint(emulator, "three")).directory, place);
    assertEquals(await names(emulator), ["three"]);
    await assertRejects(() => renameCheckpoint(emulator, "one", "four"), Error, "no checkpoint 'one'");
    for (const odd of ["", "../x", "20260101", "a b", "x".repeat(65)]) {
      await assertRejects(() => renameCheckpoint(emulator, "three", odd), Error, "cannot be called");
    }
    const other = await madeCheckpoint(emulator, disk);
    await assertRejects(
      () => renameCheckpoint(emulator, other.manifest.id, "three"),
      Error,
      "there is a checkpoint 'three'",
    );
    assertEquals(await names(emulator), ["three", undefined]);

    await renameCheckpoint(emulator, other.manifest.id, "kept");
    await dropUnnamed(emulator, other.manifest.id); // its last instance is gone
    assertEquals(await names(emulator), ["three", "kept"]);
    const unnamed = await madeCheckpoint(emulator, disk);
    await dropUnnamed(emulator, unnamed.manifest.id);
    assertEquals(await names(emulator), ["three", "kept"]);
  }));

Deno.test("unreadable checkpoints: listed, and what is below them stays until they are removed", () =>
  withDirectory(async (directory) => {
    const { emulator, snapshot, checkpoint } = await withCheckpoint(directory, "one");
    const { manifest: { id }, layer } = checkpoint;
    const layerThere = () => exists(layerDisk(emulator.home, layer));
    await Deno.truncate(`${checkpoint.directory}/manifest.json`, 100);

    const listed = (await listSnapshots(emulator)).find((each) => each.id === id)!;
    assertEquals([listed.kind, listed.state, listed.why], ["checkpoint", "damaged", "its manifest.json is damaged"]);
    const user = { checkpoint: id, state: "unreadable" } as const;
    assertEquals((await usersOfSnapshots(emulator)).get(snapshot.manifest.id), [user]);
    const error = await assertRejects(() => removeSnapshots(emulator, { ids: [snapshot.manifest.id] }), Error);
    assertMatch(
      error.message,
      new RegExp(`^snapshot \\S+ stays: checkpoint '${id}', whose manifest .* rm ${id}' drops`),
    );
    await assertRejects(() => requireUnused(emulator, "any"), Error, `checkpoint '${id}' uses the present image`);
    await removeUnusedLayers(emulator);
    assertEquals(await layerThere(), true);

    assertEquals((await removeSnapshots(emulator, { ids: [id] })).removed, [id]);
    assertEquals([await layerThere(), await exists(checkpoint.directory)], [false, false]);
    await requireUnused(emulator, "any");
    assertEquals((await removeSnapshots(emulator, { ids: [snapshot.manifest.id] })).removed, [snapshot.manifest.id]);
  }));

Deno.test("unreadable checkpoints: prune removes those that are damaged, and none that is used or of another version", () =>
  withDirectory(async (directory) => {
    const { emulator, disk, checkpoint } = await withCheckpoint(directory, "one");
    const above = await madeCheckpoint(emulator, `${checkpoint.directory}/disk.qcow2`, {
      base: checkpoint.manifest.id,
    });
    const newer = await madeCheckpoint(emulator, disk, { name: "newer" });
    const lower = `${checkpoint.directory}/manifest.json`;
    await Deno.writeTextFile(`${newer.directory}/manifest.json`, JSON.stringify({ ...newer.manifest, format: 3 }));
    await Deno.remove(lower);
    const pruned = async (dryRun = false) =>
      (await pruneSnapshots(emulator, { dryRun })).removed.map(({ path, why }) => `${path.split("/").at(-1)}: ${why}`);
    assertEquals(await pruned(), []); // the one above uses it
    await Deno.remove(`${above.directory}/manifest.json`);
    const both = [above, checkpoint].map(({ manifest: { id } }) =>
      `${id}: a checkpoint that is damaged: its manifest.json is missing`
    );
    assertEquals([await pruned(true), await pruned(true)], [both, both]);
    assertEquals(await pruned(), both);
    const left = await listSnapshots(emulator);
    assertEquals(left.map(({ kind, state }) => [kind, state]), [["snapshot", left[0].state], [
      "checkpoint",
      "unusable",
    ]]);
    assertMatch(left[1].why!, /has format 3/);
    assertEquals(await exists(layerDisk(emulator.home, newer.layer)), true);
  }));

Deno.test("unreadable checkpoints: if nobody can tell what is below one, nothing goes", () =>
  withDirectory(async (directory) => {
    const { emulator, snapshot, disk, checkpoint } = await withCheckpoint(directory, "one");
    const unused = crypto.randomUUID();
    await diskOn(emulator, layerDisk(emulator.home, unused), disk);
    await Deno.writeTextFile(`${checkpoint.directory}/manifest.json`, "{}");
    await Deno.writeTextFile(`${checkpoint.directory}/disk.qcow2`, "no disk");
    await assertRejects(() => removeSnapshots(emulator, { ids: [snapshot.manifest.id] }), Error, "stays: checkpoint");
    await removeUnusedLayers(emulator);
    assertEquals(await exists(layerDisk(emulator.home, unused)), true);
    await removeSnapshots(emulator, { ids: [checkpoint.manifest.id] });
    assertEquals(await exists(layerDisk(emulator.home, unused)), false);
    await removeSnapshots(emulator, { ids: [snapshot.manifest.id] });
  }));
