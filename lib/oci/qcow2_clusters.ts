/**
 * Reads the content of a qcow2 disk, cluster by cluster, as the guest sees it.
 *
 * Source: QEMU's documentation, "The QCOW2 image format" (docs/interop/qcow2.rst): "L1/L2 tables", "Compressed Clusters
 * Descriptor".
 */

import { inflateRawSync } from "node:zlib";
import { HotbootError } from "../base/error.ts";
import { readAt } from "../base/io.ts";
import { readQcow2Header } from "../vm/qcow2.ts";
import type { Engine } from "../zstd/engine.ts";
import { openEngine } from "../zstd/open_engine.ts";
import { frameLength, readHeader, truncated } from "../zstd/frame.ts";

const [INCOMPATIBLE_DIRTY, INCOMPATIBLE_COMPRESSION] = [1, 1 << 3];
const OFFSET = (1n << 56n) - (1n << 9n);
const COMPRESSED = 1n << 62n;
const ZERO = 1n;
const SECTOR = 512;

/** A part of the disk that has content. */
export interface Cluster {
  /** Where it is on the disk that the guest sees. */
  at: number;
  /** Its bytes; valid until the next one. The last one may reach beyond the disk's end. */
  bytes: Uint8Array;
}

/**
 * All clusters that have content, in the order of the disk.
 *
 * @throws {HotbootError} if it is not a qcow2 disk of its own, or one that hotboot cannot read.
 */
export async function* clustersOf(path: string): AsyncGenerator<Cluster> {
  const { needsOthers, isEncrypted } = await readQcow2Header(path);
  const unreadable = (why: string) => new HotbootError(`${path} cannot be read: ${why}; build or get the image again`);
  if (needsOthers || isEncrypted) {
    throw unreadable(needsOthers ? "some of its content is in other files" : "it is encrypted");
  }
  using file = await Deno.open(path);
  const head = new Uint8Array(112);
  await readAt(file, 0, head);
  const view = new DataView(head.buffer);
  const isVersion3 = view.getUint32(4) >= 3;
  const incompatible = isVersion3 ? view.getUint32(76) : 0; // the features that matter are in the lower half
  const unknown = isVersion3 && view.getUint32(72) !== 0;
  if (unknown || (incompatible & ~(INCOMPATIBLE_DIRTY | INCOMPATIBLE_COMPRESSION)) !== 0) {
    throw unreadable("it uses features of qcow2 that hotboot does not know, or is damaged");
  }
  const bits = view.getUint32(20);
  if (bits < 9 || bits > 21) throw unreadable("it has an impossible cluster size");
  const size = 2 ** bits;
  const decompress = incompatible & INCOMPATIBLE_COMPRESSION && head[104] === 1
    ? zstd(await openEngine())
    : (data: Uint8Array) => inflateRawSync(data, { maxOutputLength: size });
  const fileSize = await file.seek(0, Deno.SeekMode.End); // stat() would need permission for what a link leads to
  const table = async (offset: number, entries: number) => {
    if (offset + entries * 8 > fileSize) throw unreadable("it is truncated"); // before there is memory for it
    const bytes = new Uint8Array(entries * 8);
    await readAt(file, offset, bytes);
    return new DataView(bytes.buffer);
  };
  const perTable = size / 8;
  const count = view.getUint32(36);
  const first = await table(Number(view.getBigUint64(40)), count);
  const cluster = new Uint8Array(size);
  for (let index = 0; index < count; index++) {
    const offset = Number(first.getBigUint64(index * 8) & OFFSET);
    if (offset === 0) continue;
    const second = await table(offset, perTable);
    for (let entry = 0; entry < perTable; entry++) {
      const at = (index * perTable + entry) * size;
      const value = second.getBigUint64(entry * 8);
      if (value & COMPRESSED) {
        const { offset, length } = compressedPlace(value, bits);
        if (offset >= fileSize) throw unreadable("it is truncated");
        const data = new Uint8Array(length);
        const got = await readAt(file, offset, data); // the last sector may not be there as a whole
        let bytes: Uint8Array;
        try {
          bytes = decompress(data.subarray(0, got), size);
        } catch {
          throw unreadable("a compressed part of it is damaged");
        }
        if (bytes.length !== size) throw unreadable("a compressed part of it is damaged");
        yield { at, bytes };
      } else if ((value & OFFSET) !== 0n && !(value & ZERO)) {
        cluster.fill(0);
        const offset = Number(value & OFFSET);
        if (offset < fileSize) await readAt(file, offset, cluster); // what lies beyond the file's end is zero
        yield { at, bytes: cluster };
      }
    }
  }
}

/** Where the data of a compressed cluster are. */
function compressedPlace(entry: bigint, clusterBits: number): { offset: number; length: number } {
  const split = BigInt(62 - (clusterBits - 8));
  const offset = Number(entry & ((1n << split) - 1n));
  const sectors = Number((entry & (COMPRESSED - 1n)) >> split) + 1;
  return { offset, length: sectors * SECTOR - offset % SECTOR };
}

/** Decompresses one frame, behind which the rest of a sector may follow. */
function zstd(engine: Engine): (data: Uint8Array, size: number) => Uint8Array {
  return (data, size) => {
    const length = frameLength(readHeader(data, true)!, data);
    if (length === undefined) throw truncated();
    return engine.decompress(data.subarray(0, length), size);
  };
}
