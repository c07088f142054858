/** Images that are put together from chunks, and what this machine has of them already. */

import { messageOf } from "../base/error.ts";
import { removeIfThere } from "../base/files.ts";
import { writeFlatDisk } from "../oci/flat_disk.ts";
import type { Description, Part } from "../oci/manifest.ts";
import type { Emulator } from "../instance/emulator.ts";
import type { Image, ImageOrigin } from "./image.ts";
import type { NewFiles } from "./store.ts";

/** Whether an image's disk is in the form that has chunks: see `oci/flat_disk.ts`. */
export function isFlat(origin: ImageOrigin): boolean {
  return origin.kind === "oci" || (origin.kind === "release" && origin.index !== undefined);
}

/** The files of the image that is there, with its disk in that form. It only saves downloads. */
export async function sourcesIn(
  { report, signal }: Emulator,
  { record, paths }: Image,
  directory: string,
): Promise<string[]> {
  const { disk, ...others } = paths;
  const rest = Object.values(others);
  if (isFlat(record.origin)) return [disk, ...rest];
  const flat = `${directory}/before`;
  try {
    await removeIfThere(flat);
    report.step("read the image that is there");
    await writeFlatDisk(disk, flat, { signal });
    return [flat, ...rest];
  } catch (error) {
    signal.throwIfAborted();
    report.detail(`nothing of the earlier disk is used: ${messageOf(error)}`);
    await removeIfThere(flat);
    return rest;
  }
}

/** The files that were put together, as the store takes them. */
export function madeFiles(paths: Map<Part, string>, { files }: Description): NewFiles {
  return Object.fromEntries(
    paths.entries().map(([part, path]) => [part, { path, sha256: files[part]!.sha256 }]),
  ) as NewFiles;
}
