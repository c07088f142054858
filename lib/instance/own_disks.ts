/** Whether a disk and what is below it are hotboot's, and nothing else of the host's. */

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
  const [root, instances, bottom] = await Promise.all([home.root, home.instances, image].map(realPath));
  let [path, real] = [disk, await realPath(disk)];
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    const { backingFile, needsOthers, hasExternalData, isEncrypted } = await readQcow2Header(path);
    if (hasExternalData) throw refused(path, "has its data in another file");
    if (isEncrypted) throw refused(path, "is encrypted");
    if (real === bottom) {
      if (needsOthers) throw refused(path, "is the image, and on top of another disk");
      return;
    }
    if (backingFile === undefined) throw refused(path, "is on top of no disk, or of one whose name cannot be read");
    const below = resolve(path, "..", backingFile);
    real = await realPath(below); // so links lead nowhere else
    if (/^[^/]*:/.test(backingFile) || (real !== bottom && !isSaved(root, instances, real))) {
      throw refused(path, `is on top of ${backingFile}`);
    }
    path = below;
  }
  throw refused(disk, "has disks below it in a circle");
}

/** Whether the path is that of a layer's disk, or of one that was saved. */
function isSaved(root: string, instances: string, path: string): boolean {
  const layer = `${instances}/${LAYER_PREFIX}`;
  if (path.startsWith(layer)) return /^[0-9a-f-]{36}\/disk\.qcow2$/.test(path.slice(layer.length));
  return path.startsWith(`${root}/`) &&
    /^(snapshots|checkpoints|spares)\/[^/]+\/[^/]+\/disk\.qcow2$/.test(path.slice(root.length + 1));
}

/** Of what is missing, the path as it is. */
function realPath(path: string): Promise<string> {
  return Deno.realPath(path).catch(() => path);
}
