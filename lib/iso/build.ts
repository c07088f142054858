/** A small image in memory: the quick way to a config disk. */

import { IsoError } from "./entry.ts";
import { SECTOR } from "./ecma119.ts";
import { layOut } from "./layout.ts";
import { TreeBuilder } from "./tree.ts";

/** A file of {@linkcode buildIso}. */
export interface IsoFile {
  /** Its name; there are no directories. */
  name: string;
  /** What is in it. */
  data: Uint8Array;
}

const LABEL_BYTES = 32;

/**
 * A whole image in memory, with ISO 9660 and Joliet names: files in the root directory, which is one sector. Use `createIso`
 * for directories, POSIX attributes or large files.
 *
 * Needs no permissions.
 *
 * @param volumeId The volume identifier; cut after 32 bytes.
 * @param files The files, in any order.
 * @param date The image's date and the files'; the same input and date give the same bytes.
 * @returns The image, a multiple of 2048 bytes.
 * @throws {IsoError} with the file that cannot be stored, or if there are too many for the root directory.
 *
 * @example
 * ```ts
 * import { buildIso, readIso } from "@hotboot/hotboot";
 * import { assertEquals } from "@std/assert";
 *
 * const data = new TextEncoder().encode("PORT=8102\n");
 * using image = await readIso(buildIso("STACKCFG", [{ name: "runtime.env", data }]));
 * const [{ path, size }] = await Array.fromAsync(image.entries());
 * assertEquals([image.label, path, size], ["STACKCFG", "runtime.env", 10]);
 * ```
 */
export function buildIso(volumeId: string, files: IsoFile[], date: Date = new Date()): Uint8Array {
  let label = volumeId;
  while (new TextEncoder().encode(label).length > LABEL_BYTES) label = label.slice(0, -1);
  const options = { label, rockRidge: false, date };
  const tree = new TreeBuilder(options);
  for (const { name, data } of files) {
    if (name.includes("/")) {
      throw new IsoError(
        `'${name}': a name cannot contain '/', and there are no directories here: choose another name`,
      );
    }
    tree.add({ kind: "file", path: name, content: data }, data.length);
  }
  const layout = layOut(tree.finish(), options);
  if (layout.rootSize > SECTOR) {
    throw new IsoError(`Root directory exceeds one sector (${SECTOR} bytes): use fewer files or shorter names`);
  }

  const image = new Uint8Array(layout.sectors * SECTOR);
  let at = 0;
  for (const piece of layout.head()) {
    image.set(piece, at);
    at += piece.length;
  }
  for (const { extent, content } of layout.files) image.set(content as Uint8Array, extent * SECTOR);
  return image;
}
