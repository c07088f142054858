/**
 * The form in which registries have a disk: a qcow2 file that depends on the disk's content alone. The clusters are not
 * compressed and in the order of the disk, without those of zeros, and what describes them comes last. So what has not
 * changed from one build to the next is the same run of bytes in both files, wherever it has moved.
 *
 * Source: QEMU's documentation, "The QCOW2 image format" (docs/interop/qcow2.rst).
 */

import { writeAll } from "../base/io.ts";
import { readQcow2Header } from "../vm/qcow2.ts";
import { isZero } from "../zstd/sparse.ts";
import { clustersOf } from "./qcow2_clusters.ts";

const CLUSTER_BITS = 16;
const CLUSTER = 2 ** CLUSTER_BITS;
const PER_TABLE = CLUSTER / 8;
/** How many reference counts of 16 bits a cluster holds. */
const PER_REFCOUNT_BLOCK = CLUSTER / 2;
const HEADER_BYTES = 104;
const COPIED = 1n << 63n;

/**
 * Writes the content of the qcow2 disk at `from` to a new file at `to`, in this form.
 *
 * @param onProgress Told how many of the disk's bytes are done.
 * @throws {HotbootError} if it is not a disk of its own, or one that hotboot cannot read.
 */
export async function writeFlatDisk(
  from: string,
  to: string,
  { signal, onProgress = () => {} }: { signal?: AbortSignal; onProgress?: (done: number, total: number) => void } = {},
): Promise<void> {
  const { virtualSize } = await readQcow2Header(from);
  using file = await Deno.open(to, { write: true, createNew: true, mode: 0o600 });
  await writeAll(file, new Uint8Array(CLUSTER)); // the header, at the end
  /** For each cluster of the disk that has content: which of the file's it is. */
  const places = new Map<number, number>();
  const buffer = new Uint8Array(CLUSTER);
  let [index, used] = [-1, 1];
  const flush = async () => {
    if (index < 0 || isZero(buffer)) return;
    places.set(index, used++);
    await writeAll(file, buffer);
  };
  for await (const { at, bytes } of clustersOf(from)) {
    signal?.throwIfAborted();
    const end = Math.min(at + bytes.length, virtualSize);
    for (let from = at; from < end;) {
      const which = Math.floor(from / CLUSTER);
      const until = Math.min(end, (which + 1) * CLUSTER);
      if (which !== index) {
        await flush();
        buffer.fill(0);
        index = which;
      }
      buffer.set(bytes.subarray(from - at, until - at), from % CLUSTER);
      from = until;
    }
    onProgress(end, virtualSize);
  }
  await flush();
  await writeTables(file, virtualSize, places, used);
  onProgress(virtualSize, virtualSize);
}

/** Writes what describes the clusters, and then the header. @param used How many clusters the file has. */
async function writeTables(
  file: Deno.FsFile,
  virtualSize: number,
  places: Map<number, number>,
  used: number,
): Promise<void> {
  const tables = new Map<number, BigUint64Array>();
  for (const [index, place] of places) {
    const which = Math.floor(index / PER_TABLE);
    if (!tables.has(which)) tables.set(which, new BigUint64Array(PER_TABLE));
    tables.get(which)![index % PER_TABLE] = BigInt(place * CLUSTER) | COPIED;
  }
  const entries = Math.max(1, Math.ceil(virtualSize / (PER_TABLE * CLUSTER)));
  const first = new BigUint64Array(Math.ceil(entries / PER_TABLE) * PER_TABLE);
  for (const [which, table] of tables) {
    first[which] = BigInt(used++ * CLUSTER) | COPIED;
    await writeAll(file, bigEndian(table));
  }
  const firstAt = used * CLUSTER;
  await writeAll(file, bigEndian(first));
  used += first.length / PER_TABLE;

  // The counts count themselves.
  let [blocks, tableClusters, total] = [0, 0, used];
  for (let before = -1; before !== total;) {
    before = total;
    blocks = Math.ceil(total / PER_REFCOUNT_BLOCK);
    tableClusters = Math.ceil(blocks / PER_TABLE);
    total = used + blocks + tableClusters;
  }
  const counts = new Uint8Array(blocks * CLUSTER);
  for (let cluster = 0; cluster < total; cluster++) counts[2 * cluster + 1] = 1;
  const ofCounts = new BigUint64Array(tableClusters * PER_TABLE);
  for (let block = 0; block < blocks; block++) ofCounts[block] = BigInt((used + block) * CLUSTER);
  await writeAll(file, counts);
  await writeAll(file, bigEndian(ofCounts));

  const header = new DataView(new ArrayBuffer(HEADER_BYTES));
  header.setUint32(0, 0x514649fb); // "QFI" and 0xfb
  header.setUint32(4, 3);
  header.setUint32(20, CLUSTER_BITS);
  header.setBigUint64(24, BigInt(virtualSize));
  header.setUint32(36, entries);
  header.setBigUint64(40, BigInt(firstAt));
  header.setBigUint64(48, BigInt((used + blocks) * CLUSTER));
  header.setUint32(56, tableClusters);
  header.setUint32(96, 4); // reference counts of 2^4 bits
  header.setUint32(100, HEADER_BYTES);
  await file.seek(0, Deno.SeekMode.Start);
  await writeAll(file, new Uint8Array(header.buffer));
}

function bigEndian(values: BigUint64Array): Uint8Array {
  const view = new DataView(new ArrayBuffer(values.length * 8));
  values.forEach((value, at) => view.setBigUint64(at * 8, value));
  return new Uint8Array(view.buffer);
}
