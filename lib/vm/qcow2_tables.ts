/**
 * Which clusters a qcow2 file has, by its tables on the disk, not by what QEMU still has to write.
 *
 * Source: QEMU's documentation, "The QCOW2 image format" (docs/interop/qcow2.rst, "Cluster mapping").
 */

import { readAt } from "../base/io.ts";
import { MAGIC } from "./qcow2.ts";

/** The bits of a first-level entry that are the offset of a second-level table. */
const OFFSET = 0x00ff_ffff_ffff_fe00n;
/** Of the incompatible features: entries of 16 bytes, for parts of clusters. */
const EXTENDED_L2 = 1 << 4;

/** Whether a disk's tables map every cluster that those of the others map. False if they cannot be compared. */
export async function mapsAll(disk: string, others: string[]): Promise<boolean> {
  using file = await Deno.open(disk);
  const tables = await Tables.read(file);
  for (const path of others) {
    using other = await Deno.open(path);
    const theirs = await Tables.read(other);
    if (!tables || !theirs || tables.clusterBits !== theirs.clusterBits) return false;
    for (let index = 0; index < theirs.length; index++) {
      const wanted = await theirs.entries(index);
      if (!wanted) continue;
      const found = await tables.entries(index);
      if (!found || wanted.some((entry, at) => entry !== 0n && found[at] === 0n)) return false;
    }
  }
  return true;
}

/** Whether a disk has no content of its own, so that all that it shows is below it. False if that cannot be told. */
export async function isEmptyOverlay(path: string): Promise<boolean> {
  using file = await Deno.open(path);
  return (await Tables.read(file))?.isEmpty ?? false;
}

class Tables {
  #file: Deno.FsFile;
  #first: DataView;
  #head: DataView;

  private constructor(file: Deno.FsFile, first: DataView, head: DataView) {
    this.#file = file;
    this.#first = first;
    this.#head = head;
  }

  static async read(file: Deno.FsFile): Promise<Tables | undefined> {
    const head = new DataView(new ArrayBuffer(80));
    await readAt(file, 0, new Uint8Array(head.buffer));
    if (head.getUint32(0) !== MAGIC) return;
    const clusterBits = head.getUint32(20);
    const hasExtended = head.getUint32(4) >= 3 && (head.getUint32(76) & EXTENDED_L2) !== 0;
    const [bytes, offset] = [head.getUint32(36) * 8, Number(head.getBigUint64(40))];
    if (clusterBits < 9 || clusterBits > 21 || hasExtended || offset + bytes > (await file.stat()).size) return;
    const first = new DataView(new ArrayBuffer(bytes));
    await readAt(file, offset, new Uint8Array(first.buffer));
    return new Tables(file, first, head);
  }

  get clusterBits(): number {
    return this.#head.getUint32(20);
  }

  /** Whether there is nothing in it, and no snapshot of QEMU's own. */
  get isEmpty(): boolean {
    return this.length > 0 && this.#head.getUint32(60) === 0 &&
      new Uint8Array(this.#first.buffer).every((byte) => byte === 0);
  }

  /** How many second-level tables there may be. */
  get length(): number {
    return this.#first.byteLength / 8;
  }

  /** The entries of one of them, in the file's byte order; `undefined` if it is not there. */
  async entries(index: number): Promise<BigUint64Array | undefined> {
    const offset = index < this.length ? Number(this.#first.getBigUint64(index * 8) & OFFSET) : 0;
    if (offset === 0) return undefined;
    const entries = new BigUint64Array(2 ** this.clusterBits / 8);
    await readAt(this.#file, offset, new Uint8Array(entries.buffer));
    return entries;
  }
}
