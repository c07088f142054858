/** Disks that refer to other files of the host, as a hostile home or archive may have them. */

import { assertRejects } from "@std/assert";
import { dirname } from "@std/path/dirname";
import { HotbootError } from "../../lib/base/error.ts";
import { Home } from "../../lib/instance/home.ts";
import { requireOwnDisks } from "../../lib/instance/own_disks.ts";
import { createOverlay } from "../../lib/vm/qcow2.ts";
import { withDirectory } from "./temporary.ts";

const LAYER = ".layer-01234567-89ab-cdef-0123-456789abcdef";

/** A home with an image and an instance's disk on a layer, on a snapshot's, on the image. */
async function withDisks(
  work: (
    disks: Record<"image" | "snapshot" | "layer" | "disk" | "host", string>,
    check: () => Promise<void>,
  ) => unknown,
): Promise<void> {
  await withDirectory(async (directory) => {
    const home = new Home(`${directory}/home`);
    const disks = {
      host: `${directory}/host.qcow2`,
      image: `${home.images}/micro-amd64.qcow2`,
      snapshot: `${home.root}/snapshots/micro-amd64/20260101T000000Z-abcd/disk.qcow2`,
      layer: `${home.instances}/${LAYER}/disk.qcow2`,
      disk: `${home.instances}/micro/disk.qcow2`,
    };
    for (const path of Object.values(disks)) await Deno.mkdir(dirname(path), { recursive: true });
    for (const path of [disks.image, disks.host]) await plain(path);
    await createOverlay(disks.snapshot, "../../../images/micro-amd64.qcow2", 1 << 20);
    await createOverlay(disks.layer, "../../snapshots/micro-amd64/20260101T000000Z-abcd/disk.qcow2", 1 << 20);
    await createOverlay(disks.disk, `../${LAYER}/disk.qcow2`, 1 << 20);
    await work(disks, () => requireOwnDisks({ home }, disks.disk, disks.image));
  });
}

/** A disk with nothing below it. */
async function plain(path: string): Promise<void> {
  await createOverlay(path, "x", 1 << 20);
  await patch(path, 8, 0n);
}

/** Writes a number of the header. */
async function patch(path: string, offset: number, value: bigint): Promise<void> {
  const bytes = await Deno.readFile(path);
  new DataView(bytes.buffer).setBigUint64(offset, value);
  await Deno.writeFile(path, bytes);
}

Deno.test("own disks: the image, snapshots and layers of the home may be below, whatever its name", () =>
  withDisks(async ({ disk, layer, snapshot, image }, check) => {
    await check();
    for (
      const below of [layer, snapshot, image, "../../images/micro-amd64.qcow2", "./../../images/micro-amd64.qcow2"]
    ) {
      await createOverlay(disk, below, 1 << 20);
      await check();
    }
    const home = dirname(dirname(image)); // it was made under another name
    await Deno.symlink(home, `${home}-before`);
    await createOverlay(disk, image.replace(home, `${home}-before`), 1 << 20);
    await check();
    await createOverlay(snapshot, image, 1 << 20); // its directory is elsewhere, and has a link in its place
    await Deno.rename(`${home}/snapshots`, `${home}-far`);
    await Deno.symlink(`${home}-far`, `${home}/snapshots`);
    await createOverlay(disk, snapshot, 1 << 20);
    await check();
    await createOverlay(snapshot, "../../../images/micro-amd64.qcow2", 1 << 20); // for QEMU this is beside that elsewhere
    await assertRejects(check, HotbootError, "is on top of ");
  }));

Deno.test("own disks: nothing else of the host is opened", () =>
  withDisks(async ({ disk, layer, snapshot, image, host }, check) => {
    const refuses = (why: string) => assertRejects(check, HotbootError, why);
    for (
      const below of [
        host,
        `../../../host.qcow2`,
        "/etc/passwd",
        `json:{"driver":"qcow2","file.filename":"${host}"}`,
        `nbd:/../../${LAYER}/disk.qcow2`,
        `${dirname(layer)}/other.qcow2`,
        `../other/disk.qcow2`,
        `../../snapshots/../../host.qcow2`,
        image.replace("/images", "/instances/../images"),
      ]
    ) {
      await createOverlay(disk, below, 1 << 20);
      await refuses(`${disk} is on top of ${below}: `);
    }
    await createOverlay(disk, layer, 1 << 20);
    await Deno.remove(layer);
    await refuses("no disk at ");
    await Deno.symlink(host, layer);
    await refuses("is on top of ");
    await Deno.remove(layer);
    await createOverlay(layer, layer, 1 << 20);
    await refuses("in a circle");
    await createOverlay(layer, snapshot, 1 << 20);
    await createOverlay(image, host, 1 << 20);
    await refuses("is the image, and on top of another disk");
    await plain(image);
    for (const path of [disk, layer, snapshot, image]) {
      await check();
      const before = await Deno.readFile(path);
      await patch(path, 72, 1n << 2n); // incompatible features: external data file
      await refuses("has its data in another file");
      await Deno.writeFile(path, before);
      await patch(path, 32, 2n << 32n); // the encryption method: LUKS
      await refuses("is encrypted");
      await Deno.writeFile(path, before);
    }
  }));
