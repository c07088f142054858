/**
 * An image as KubeVirt takes it: a container image with the disk in `/disk`, owned by the user that runs its QEMU. A kernel
 * and an initrd are in `/boot`, for `kernelBoot`.
 *
 * Source: KubeVirt's user guide, "Disks and Volumes": "containerDisk", and "Boot from external source: Kernel boot".
 */

import { sha256File } from "../base/hash.ts";
import { pieces, writeAll } from "../base/io.ts";
import { tarEnd, tarHeader, tarPadding } from "../snapshot/tar.ts";
import { type Descriptor, type Made, MANIFEST, type Manifest, type Part } from "./manifest.ts";
import type { Registry } from "./registry.ts";
import { sendBytes } from "./send.ts";

const CONFIG = "application/vnd.oci.image.config.v1+json";
const LAYER = "application/vnd.oci.image.layer.v1.tar";
/** The user of QEMU in KubeVirt's containers. */
const QEMU_USER = 107;
const PLACES: Record<Part, string> = { disk: "disk/disk.qcow2", kernel: "boot/kernel", initrd: "boot/initrd" };

/** Sends it, unless it is there, and gives its manifest. */
export async function containerDisk(
  registry: Registry,
  { files, path }: { files: Partial<Record<Part, string>>; path: string },
  { profile, arch, created }: Made,
  signal: AbortSignal,
): Promise<Manifest> {
  await writeLayer(files, path, Math.floor(Date.parse(created) / 1000), signal);
  const digest = `sha256:${await sha256File(path, signal)}`;
  const layer: Descriptor = { mediaType: LAYER, digest, size: (await Deno.stat(path)).size };
  if (!await registry.has(digest)) await registry.upload(layer, path);
  const config = {
    created,
    architecture: arch,
    os: "linux",
    config: {},
    rootfs: { type: "layers", diff_ids: [digest] },
    history: [{ created, created_by: `hotboot push --container-disk (${profile})` }],
  };
  const bytes = new TextEncoder().encode(JSON.stringify(config));
  return {
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: await sendBytes(registry, CONFIG, bytes, "config"),
    layers: [layer],
    annotations: { "org.opencontainers.image.created": created },
  };
}

/** Writes the layer: the same bytes for the same files. */
async function writeLayer(
  files: Partial<Record<Part, string>>,
  path: string,
  mtime: number,
  signal: AbortSignal,
): Promise<void> {
  using layer = await Deno.open(path, { write: true, createNew: true, mode: 0o600 });
  const owner = QEMU_USER;
  const made = new Set<string>();
  let written = 0;
  const add = async (bytes: Uint8Array) => {
    signal.throwIfAborted();
    await writeAll(layer, bytes);
    written += bytes.length;
  };
  for (const [part, source] of Object.entries(files)) {
    const name = PLACES[part as Part];
    const directory = name.replace(/[^/]*$/, "");
    if (!made.has(directory)) {
      await add(tarHeader({ name: directory, size: 0, mode: 0o555, owner, isDirectory: true }, mtime));
    }
    made.add(directory);
    const { size } = await Deno.stat(source);
    await add(tarHeader({ name, size, mode: 0o440, owner }, mtime));
    using file = await Deno.open(source);
    for await (const piece of pieces(file)) await add(piece);
    await add(new Uint8Array(tarPadding(size)));
  }
  await add(tarEnd(written));
}
