/** Disks that instances and checkpoints share: at no moment does one lack what the guest has written. */

import { assertEquals, assertNotEquals } from "@std/assert";
import { exists } from "@std/fs/exists";
import { instancePath } from "../../lib/instance/channels.ts";
import { withInstance } from "../../lib/instance/emulator.ts";
import {
  adoptLayers,
  disksUnderInstance,
  dropMerged,
  layerAtRest,
  layerDisk,
  markMerged,
  ownLayers,
  pushLayer,
  removeDisks,
  removeUnusedLayers,
  settleDisk,
} from "../../lib/instance/layers.ts";
import { createOverlay, readQcow2Header } from "../../lib/vm/qcow2.ts";
import { testEmulator } from "./emulators.ts";
import { withDirectory } from "./temporary.ts";

const SIZE = 1 << 26;

/** An emulator whose instance has a disk on top of an image. */
async function withDisk(directory: string) {
  const emulator = await testEmulator(directory);
  await Deno.mkdir(emulator.home.images, { recursive: true });
  await Deno.mkdir(emulator.home.instance(emulator.instance), { recursive: true });
  const image = `${emulator.home.images}/base.qcow2`;
  await createOverlay(image, "nothing.qcow2", SIZE);
  await createOverlay(instancePath(emulator, "disk"), "../../images/base.qcow2", SIZE);
  return { emulator, image };
}

Deno.test("layers: the file that QEMU writes to keeps its inode, and the last overlay becomes the disk", () =>
  withDirectory(async (directory) => {
    const { emulator } = await withDisk(directory);
    const disk = instancePath(emulator, "disk");
    const { ino } = await Deno.stat(disk);
    const first = await pushLayer(emulator);
    assertEquals([(await Deno.stat(disk)).ino, (await Deno.stat(layerDisk(emulator.home, first.layer))).ino], [
      ino,
      ino,
    ]);
    const second = await pushLayer(emulator);
    assertEquals((await readQcow2Header(second.overlay)).backingFile, `../.layer-${second.layer}/disk.qcow2`);
    assertEquals((await disksUnderInstance(emulator)).map((path) => path.split("/").at(-2)), [
      `.layer-${second.layer}`,
      `.layer-${first.layer}`,
      "images",
      "images", // the image names it, but it does not exist
    ]);
    const { ino: last } = await Deno.stat(second.overlay);
    await settleDisk(emulator);
    assertEquals((await Deno.stat(disk)).ino, last);
    const names = Array.from(Deno.readDirSync(emulator.home.instance(emulator.instance)), ({ name }) => name);
    assertEquals(names, ["disk.qcow2"]);
    await settleDisk(emulator); // there is nothing to do
    assertEquals((await Deno.stat(disk)).ino, last);
  }));

Deno.test("layers: saved again without a write between, an instance at rest has the same layer; after a write, another", () =>
  withDirectory(async (directory) => {
    const { emulator } = await withDisk(directory);
    const layer = await layerAtRest(emulator); // a layer of its own, as it is on top of an image
    assertEquals(await layerAtRest(emulator), layer);
    const disk = await Deno.open(instancePath(emulator, "disk"), { read: true, write: true });
    await disk.seek(3 * 65536, Deno.SeekMode.Start); // where the overlay's first-level table is
    await disk.write(Uint8Array.of(0x80, 0, 0, 0, 0, 4, 0, 0));
    disk.close();
    assertNotEquals(await layerAtRest(emulator), layer);
    assertEquals((await disksUnderInstance(emulator)).filter((path) => path.includes("/.layer-")).length, 2);
  }));

Deno.test("layers: an incomplete layer does not count", () =>
  withDirectory(async (directory) => {
    const { emulator } = await withDisk(directory);
    const disk = instancePath(emulator, "disk");
    const { ino } = await Deno.stat(disk);
    await Deno.writeTextFile(disk.replace(".qcow2", ".1.qcow2.tmp"), "cut short, as by a full disk");
    await settleDisk(emulator);
    assertEquals((await Deno.stat(disk)).ino, ino);
    await pushLayer(emulator);
    await settleDisk(emulator);
    assertEquals((await readQcow2Header(disk)).virtualSize, SIZE);
  }));

Deno.test("layers: layers below an instance's or a checkpoint's disk stay, however deep", () =>
  withDirectory(async (directory) => {
    const { emulator } = await withDisk(directory);
    const [first, second] = [await pushLayer(emulator), await pushLayer(emulator)];
    await settleDisk(emulator);
    const isThere = () => Promise.all([first, second].map(({ layer }) => exists(layerDisk(emulator.home, layer))));
    await removeUnusedLayers(emulator);
    assertEquals(await isThere(), [true, true]);

    const checkpoint = `${emulator.home.checkpoints("demo-amd64")}/20260101T000000Z-0000`;
    await Deno.mkdir(checkpoint, { recursive: true });
    await createOverlay(`${checkpoint}/disk.qcow2`, layerDisk(emulator.home, first.layer), SIZE);
    await removeDisks(emulator);
    await removeUnusedLayers(emulator);
    assertEquals(await isThere(), [true, false]);

    const unknown = await withInstance(emulator, "unknown");
    await Deno.mkdir(emulator.home.instance("unknown"));
    await Deno.writeTextFile(instancePath(unknown, "disk"), "not a disk");
    await Deno.remove(checkpoint, { recursive: true });
    await removeUnusedLayers(emulator);
    assertEquals(await isThere(), [true, false]); // the layer below that disk is unknown
    await removeDisks(unknown);
    await removeUnusedLayers(emulator);
    assertEquals(await isThere(), [false, false]);
  }));

Deno.test("layers: an instance's own are those that nothing else is on top of", () =>
  withDirectory(async (directory) => {
    const { emulator } = await withDisk(directory);
    const { home } = emulator;
    assertEquals((await ownLayers(emulator)).own, []);
    const names: string[] = [];
    for (let count = 0; count < 4; count++) {
      names.unshift((await pushLayer(emulator)).layer);
      if (count === 0) assertEquals((await ownLayers(emulator)).own, []); // there is nothing to merge
    }
    assertEquals((await ownLayers(emulator)).own, names);

    const checkpoint = `${home.checkpoints("demo-amd64")}/20260101T000000Z-0000`;
    await Deno.mkdir(checkpoint, { recursive: true });
    await createOverlay(`${checkpoint}/disk.qcow2`, layerDisk(home, names[2]), SIZE);
    assertEquals((await ownLayers(emulator)).own, names.slice(0, 2));
    const other = await withInstance(emulator, "other");
    await Deno.mkdir(home.instance("other"));
    await createOverlay(instancePath(other, "disk"), `../.layer-${names[0]}/disk.qcow2`, SIZE);
    assertEquals((await ownLayers(emulator)).own, []);
    await removeDisks(other);
    await Deno.writeTextFile(instancePath(other, "disk"), "not a disk"); // it may be on top of any
    assertEquals((await ownLayers(emulator)).own, []);
    await removeDisks(other);
    await Deno.remove(checkpoint, { recursive: true });
    assertEquals((await ownLayers(emulator)).own, names);

    assertEquals((await ownLayers(emulator)).depth, 6);
  }));

Deno.test("layers: one from elsewhere is there once, and made again when others were merged into it", () =>
  withDirectory(async (directory) => {
    const { emulator, image } = await withDisk(directory);
    const adopt = async (name: string) => {
      const [path, top] = ["path", "top"].map((each) => `${directory}/${name}-${each}.qcow2`);
      for (const each of [path, top]) await createOverlay(each, "x".repeat(900), SIZE);
      return await adoptLayers(emulator, top, [{ path, digest: "its content's" }], image);
    };
    const first = (await adopt("first"))!;
    assertEquals(await adopt("second"), first);
    await markMerged(emulator.home, first); // its size and samples may be the same
    assertNotEquals(await adopt("third"), first);
  }));

Deno.test("layers: one that was merged into another goes with all its names, and the others stay", () =>
  withDirectory(async (directory) => {
    const { emulator } = await withDisk(directory);
    const { home } = emulator;
    const [first, second, third] = [await pushLayer(emulator), await pushLayer(emulator), await pushLayer(emulator)];
    const files = () => Array.from(Deno.readDirSync(home.instance(emulator.instance)), ({ name }) => name).sort();
    assertEquals(files(), ["disk.1.qcow2", "disk.2.qcow2", "disk.3.qcow2", "disk.qcow2"]);
    await createOverlay(third.overlay, `../.layer-${first.layer}/disk.qcow2`, SIZE); // as QEMU leaves it
    await dropMerged(emulator, [third.layer, second.layer]);
    assertEquals(files(), ["disk.3.qcow2", "disk.qcow2"]);
    const isThere = [first, second, third].map(({ layer }) => exists(layerDisk(home, layer)));
    assertEquals(await Promise.all(isThere), [true, false, false]);
  }));
