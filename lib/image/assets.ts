/** Writes an image as the files of a release. */

import { ensureDir } from "@std/fs/ensure-dir";
import { HotbootError } from "../base/error.ts";
import { removeIfThere } from "../base/files.ts";
import { encodeAssetIndex, indexName, packName } from "../oci/asset_index.ts";
import { describe } from "../oci/describe.ts";
import { writeFlatDisk } from "../oci/flat_disk.ts";
import { writePacks } from "../oci/write_packs.ts";
import type { Emulator } from "../instance/emulator.ts";
import type { ImagePart } from "../instance/machine.ts";
import { isFlat } from "./chunks.ts";
import { type Image, readImage } from "./image.ts";
import { openStore, temporaryPath } from "./store.ts";

/** What was written. */
export interface AssetsResult {
  /** The directory. */
  directory: string;
  /** The names of the files in it: the image's own, then the packs, and last their index. */
  files: string[];
  /** How many bytes the image's chunks have in the packs. */
  size: number;
}

/**
 * Writes the image that is there as the files of a GitHub release, under the names in the profile's `image.release`: the image
 * itself, packs with its chunks, and an index of these. With the index {@linkcode pull} fetches only the chunks that are not
 * on the user's machine; the image itself is for hotboots that know no index, and may be left out.
 *
 * Needs read and write permission for the home and the directory, and sys permission for `statfs`.
 *
 * @param emulator The emulator, from {@linkcode openEmulator}.
 * @param directory Where to write; it is made if it is missing. Files of the same names are replaced.
 * @returns The files' names.
 * @throws {HotbootError} if there is no image, or the profile names no release, or one without the image's parts.
 * @throws The reason of the emulator's signal, if it aborts.
 *
 * @example
 * ```ts
 * import { build, openEmulator, writeAssets } from "@hotboot/hotboot";
 *
 * const emulator = await openEmulator({ profile: "./shop.json" });
 * await build(emulator);
 * const { files } = await writeAssets(emulator, "published");
 * console.log(files); // for: gh release upload TAG published/*
 * ```
 */
export async function writeAssets(emulator: Emulator, directory: string): Promise<AssetsResult> {
  const { arch, profile, report, signal } = emulator;
  using _lock = await openStore(emulator);
  const image = await readImage(emulator, { isOwner: true });
  if (!image) throw new HotbootError(`there is no image of '${profile.name}' to push: 'hotboot build' makes it`);
  const names = namesOf(emulator, image);
  const disk = names.disk!;

  await ensureDir(directory);
  const aside = `${directory}/.hotboot-${crypto.randomUUID()}`; // on the same disk: what is there is whole
  const scratch = temporaryPath(emulator);
  try {
    for (const path of [aside, scratch]) await Deno.mkdir(path, { mode: 0o700 });
    const { origin, created, files: recorded } = image.record;
    let flat: string = image.paths.disk;
    if (!isFlat(origin)) {
      report.step("read the image");
      flat = `${scratch}/disk`;
      await writeFlatDisk(image.paths.disk, flat, {
        signal,
        onProgress: (done, total) => report.progress("disk", done, total),
      });
    }
    const files = { ...image.paths, disk: flat };
    const { description, local } = await describe({ profile: profile.name, arch, created, files }, signal);
    report.step(`write the files of a release to ${directory}`);
    const { packs, frames } = await writePacks(local, {
      directory: aside,
      disk,
      signal,
      onProgress: (done, total) => report.progress("chunks", done, total),
    });
    const { size, sha256 } = recorded.disk;
    const index = encodeAssetIndex({ description, whole: { size, sha256 }, packs, frames });
    await Deno.writeFile(`${aside}/${indexName(disk)}`, index);
    for (const [part, name] of Object.entries(names)) {
      await Deno.copyFile(image.paths[part as ImagePart]!, `${aside}/${name}`);
      await Deno.chmod(`${aside}/${name}`, 0o644);
    }
    const all = [...Object.values(names), ...packs.map(({ name }) => name), indexName(disk)];
    await removeIfThere(`${directory}/${indexName(disk)}`); // it comes last
    for (const name of all) await Deno.rename(`${aside}/${name}`, `${directory}/${name}`);
    await removeOlderPacks(directory, disk, packs.length);
    return { directory, files: all, size: frames.reduce((sum, frame) => sum + frame.size, 0) };
  } finally {
    for (const path of [aside, scratch]) await removeIfThere(path).catch(() => {});
  }
}

/** The names of the image's parts in the release. @throws {HotbootError} if the profile does not name these parts. */
function namesOf({ profile, arch }: Emulator, { paths }: Image): Partial<Record<ImagePart, string>> {
  const { release } = profile.image;
  if (!release) {
    throw new HotbootError(
      `profile '${profile.name}' names no release, so its files have no names: add image.release to it`,
    );
  }
  const [there, named] = [paths, release.assets].map((parts) => Object.keys(parts).toSorted().join(", "));
  if (there !== named) {
    throw new HotbootError(
      `the image of '${profile.name}' has ${there}, and the profile's release ${named}: correct image.release.assets`,
    );
  }
  return Object.fromEntries(
    Object.entries(release.assets).map(([part, pattern]) => [part, pattern.replaceAll("{arch}", arch)]),
  );
}

/** An earlier image may have had more. */
async function removeOlderPacks(directory: string, disk: string, count: number): Promise<void> {
  for await (const { name } of Deno.readDir(directory)) {
    const number = Number(name.match(/^(.*)-(\d+)$/)?.[2]);
    if (name === packName(disk, number) && number > count) await Deno.remove(`${directory}/${name}`);
  }
}
