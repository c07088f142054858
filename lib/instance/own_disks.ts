/** Whether a disk and what is below it are hotboot's, and nothing else of the host's. */

import { dirname } from "@std/path/dirname";
import { resolve } from "@std/path/resolve";
import { HotbootError } from "../base/error.ts";
import { readQcow2Header } from "../vm/qcow2.ts";
import type { Emulator } from "./emulator.ts";
import { LAYER_PREFIX } from "./home.ts";

/** Deeper than any chain of checkpoints that QEMU opens in reasonable time. */
const MAX_DEPTH = 1000;

/**
 * Checks all disks that QEMU will open, before each start. A disk can name any file of the host as what is below it or as where
 * its data is, and the guest would read or write that file. So only a layer, a snapshot, a checkpoint or a spare of this
 * home may be below, and the image at the bottom.
 *
 * Source: QEMU's documentation, "The QCOW2 image format": backing file, external data file, encryption method; and "Disk image
 * file format notes": a name with a colon before the first slash is a protocol's.
 *
 * @param disk The instance's own.
 * @param image The image's.
 * @throws {HotbootError} if one of them is missing, is no qcow2 disk, or refers to another file.
 */
export async function requireOwnDisks({ home }: Pick<Emulator, "home">, disk: string, image: string): Promise<void> {
  const refused = (path: string, why: string) =>
    new HotbootError(
      `${path} ${why}: hotboot makes no such disk, and does not open it; 'hotboot reset' makes a new one`,
    );
  const places = await placesOf(home, image);
  let path = disk;
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    const { backingFile, needsOthers, hasExternalData, isEncrypted } = await readQcow2Header(path);
    if (hasExternalData) throw refused(path, "has its data in another file");
    if (isEncrypted) throw refused(path, "is encrypted");
    if (path === image) {
      if (needsOthers) throw refused(path, "is the image, and on top of another disk");
      return;
    }
    if (backingFile === undefined) throw refused(path, "is on top of no disk, or of one whose name cannot be read");
    const below = await findBelow(places, path, backingFile);
    if (below === undefined) throw refused(path, `is on top of ${backingFile}`);
    path = below;
  }
  throw refused(disk, "has disks below it in a circle");
}

/** Where disks may be: a path without links, that path as hotboot has it, and what may follow it. */
interface Place {
  real: string;
  path: string;
  rest: RegExp;
}

async function placesOf({ root, instances }: Emulator["home"], image: string): Promise<Place[]> {
  const saved = ["snapshots", "checkpoints", "spares"].map((name) => `${root}/${name}`);
  const places: [string, RegExp][] = [
    [image, /^$/],
    [instances, LAYER],
    ...saved.map((path): [string, RegExp] => [path, SAVED]),
  ];
  return await Promise.all(places.map(async ([path, rest]) => ({ real: await realPath(path), path, rest })));
}

const LAYER = new RegExp(`^/${LAYER_PREFIX.replace(".", "\\.")}[0-9a-f-]{36}/disk\\.qcow2$`);
const SAVED = /^\/[^/]+\/[^/]+\/disk\.qcow2$/;

/** The path of the disk that the name in another's header means, if it is in one of the places. Links lead nowhere else. */
async function findBelow(places: Place[], path: string, name: string): Promise<string | undefined> {
  if (/^[^/]*:/.test(name) || /(?:^|\/)(?!\.\.?\/)[^/]+\/(?:.*\/)?\.\.\//.test(name)) return undefined;
  const real = await realPath(resolve(await realPath(dirname(path)), name));
  for (const place of places) {
    const rest = real.slice(place.real.length);
    if (real.startsWith(place.real) && place.rest.test(rest)) return place.path + rest;
  }
}

/** Of what is missing, the path as it is. */
function realPath(path: string): Promise<string> {
  return Deno.realPath(path).catch(() => path);
}
