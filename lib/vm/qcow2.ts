/**
 * qcow2 overlays: an empty disk over a backing file takes four clusters, so no other program is needed to make one.
 *
 * Source: QEMU's documentation, "The QCOW2 image format" (docs/interop/qcow2.rst).
 */

import { HotbootError } from "../base/error.ts";
import { pieces, readAt, readFull, writeAll } from "../base/io.ts";

export const MAGIC = 0x514649fb; // "QFI" and 0xfb
const CLUSTER_BITS = 16; // QEMU's default: 64 KiB
const CLUSTER = 1 << CLUSTER_BITS;
const HEADER_BYTES = 104;
const BACKING_FORMAT_EXTENSION = 0xe2792aca;
/** What one entry of the first-level table maps: a cluster of 8-byte second-level entries, each a cluster. */
const L1_ENTRY_BYTES = (CLUSTER / 8) * CLUSTER;

/** What of a file is read for its header: the first cluster, or as much of it as headers need. */
const HEAD_BYTES = CLUSTER;

/** Of the incompatible features: the data is in another file. */
const EXTERNAL_DATA = 1 << 2;

/** What a qcow2 file's header says. */
export interface Qcow2Header {
  /** The size that the guest sees, in bytes. */
  virtualSize: number;
  /** The backing file's name as written there, relative to this file's directory; none: a disk of its own. */
  backingFile?: string;
  /** True when some of its content is in other files, which its header names. */
  needsOthers: boolean;
  /** True when its data is in another file, and only what says where in this one. */
  hasExternalData: boolean;
  /** True when its data is encrypted. */
  isEncrypted: boolean;
}

/**
 * Reads a qcow2 file's header.
 *
 * @throws {HotbootError} if the file is missing or is not a qcow2 file.
 */
export async function readQcow2Header(path: string): Promise<Qcow2Header> {
  const head = new Uint8Array(4096);
  try {
    using file = await Deno.open(path);
    await readFull(file, head);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new HotbootError(`no disk at ${path}`);
    throw error;
  }
  const view = new DataView(head.buffer);
  if (view.getUint32(0) !== MAGIC || view.getUint32(4) < 2) {
    throw new HotbootError(`${path} is not a qcow2 disk (version 2 or 3): it is damaged or has another format`);
  }
  const offset = Number(view.getBigUint64(8));
  const length = view.getUint32(16);
  const hasExternalData = view.getUint32(4) >= 3 && (view.getUint32(76) & EXTERNAL_DATA) !== 0;
  return {
    virtualSize: Number(view.getBigUint64(24)),
    needsOthers: offset > 0 || hasExternalData,
    hasExternalData,
    isEncrypted: view.getUint32(32) !== 0,
    ...(offset > 0 && offset + length <= head.length && {
      backingFile: new TextDecoder().decode(head.subarray(offset, offset + length)),
    }),
  };
}

/**
 * Makes an empty overlay at `path`, readable and writable by its owner alone; an existing file is replaced.
 *
 * @param backingFile The qcow2 file below it, relative to the directory of `path` (so that both can be moved
 * together) or absolute.
 * @param virtualSize The size that the guest sees, in bytes: the backing file's.
 */
export async function createOverlay(path: string, backingFile: string, virtualSize: number): Promise<void> {
  const l1Entries = Math.ceil(virtualSize / L1_ENTRY_BYTES);
  const l1Clusters = Math.max(1, Math.ceil((l1Entries * 8) / CLUSTER));
  const clusters = 3 + l1Clusters; // header, refcount table, one refcount block, first-level table
  const image = new Uint8Array(clusters * CLUSTER);
  const view = new DataView(image.buffer);

  const name = new TextEncoder().encode(backingFile);
  if (name.length > 1023) {
    throw new HotbootError(
      `the path ${backingFile} is too long for a qcow2 backing file: choose a shorter home with --home`,
    );
  }
  const format = new TextEncoder().encode("qcow2");
  const nameOffset = HEADER_BYTES + 8 + 8 + 8; // one extension (8 bytes and 5, padded to 8), and the end of the list

  view.setUint32(0, MAGIC);
  view.setUint32(4, 3);
  view.setBigUint64(8, BigInt(nameOffset));
  view.setUint32(16, name.length);
  view.setUint32(20, CLUSTER_BITS);
  view.setBigUint64(24, BigInt(virtualSize));
  view.setUint32(36, l1Entries);
  view.setBigUint64(40, BigInt(3 * CLUSTER)); // first-level table
  view.setBigUint64(48, BigInt(CLUSTER)); // refcount table
  view.setUint32(56, 1); // its clusters
  view.setUint32(96, 4); // refcounts of 2^4 bits
  view.setUint32(100, HEADER_BYTES);
  view.setUint32(HEADER_BYTES, BACKING_FORMAT_EXTENSION);
  view.setUint32(HEADER_BYTES + 4, format.length);
  image.set(format, HEADER_BYTES + 8);
  image.set(name, nameOffset);
  view.setBigUint64(CLUSTER, BigInt(2 * CLUSTER)); // the refcount table's only block
  for (let cluster = 0; cluster < clusters; cluster++) view.setUint16(2 * CLUSTER + 2 * cluster, 1);

  await Deno.remove(path).catch(() => {}); // a file that is there keeps its mode, so it goes first
  await Deno.writeFile(path, image, { mode: 0o600, createNew: true });
}

/** What stands before the content of an overlay, as much of it as its header takes. */
interface OverlayHead {
  bytes: Uint8Array;
  /** Where the backing file's name begins, and how long it is. */
  name: { offset: number; length: number };
}

/** @throws {HotbootError} if it is not an overlay on a qcow2 file, or refers to other files too. */
async function readOverlayHead(file: Deno.FsFile, path: string): Promise<OverlayHead> {
  const damaged = (why: string) =>
    new HotbootError(`${path.split("/").at(-1)} is not an overlay made by hotboot: ${why}; get or make it again`);
  const head = new Uint8Array(HEAD_BYTES);
  const got = await readAt(file, 0, head);
  const view = new DataView(head.buffer);
  const version = view.getUint32(4);
  if (view.getUint32(0) !== MAGIC || (version !== 2 && version !== 3)) throw damaged("it is not a qcow2 disk");
  if (version === 3 && view.getUint32(76) & EXTERNAL_DATA) throw damaged("its data is in another file");
  const clusterBits = view.getUint32(20);
  if (clusterBits < 9 || clusterBits > 21) throw damaged("it has an impossible cluster size");

  // The name stands behind the extensions, and nothing behind it in the first cluster.
  const end = Math.min(got, 2 ** clusterBits);
  const [offset, length] = [Number(view.getBigUint64(8)), view.getUint32(16)];
  if (offset === 0) throw damaged("it has no backing file");
  const extensions = readExtensions(view, version === 3 ? view.getUint32(100) : 72, end);
  if (!extensions || offset < extensions.end || offset + length > end) throw damaged("its header is damaged");
  const { format } = extensions;
  if (format !== undefined && format !== "qcow2") throw damaged(`its backing file has the format '${format}'`);
  return { bytes: head.subarray(0, end), name: { offset, length } };
}

/** The head with another name of the backing file. */
function withName({ bytes, name: { offset, length } }: OverlayHead, name: Uint8Array): Uint8Array {
  const head = bytes.slice();
  head.fill(0, offset, offset + length);
  head.set(name, offset);
  new DataView(head.buffer).setUint32(16, name.length);
  return head;
}

/**
 * Bases an overlay on `backingFile`, whatever its header said before, because the file below it has moved.
 *
 * @returns Whether the file was changed.
 * @throws {HotbootError} if it is not an overlay on a qcow2 file, or refers to other files too.
 */
export async function setBackingFile(path: string, backingFile: string): Promise<boolean> {
  using file = await Deno.open(path, { read: true, write: true });
  const head = await readOverlayHead(file, path);
  const { bytes, name: { offset, length } } = head;
  const name = new TextEncoder().encode(backingFile);
  const old = new TextDecoder().decode(bytes.subarray(offset, offset + length));
  if (old === backingFile) return false;
  if (name.length > 1023 || offset + name.length > bytes.length) {
    throw new HotbootError(
      `the path ${backingFile} is too long for a qcow2 backing file: choose a shorter home with --home`,
    );
  }
  await file.seek(0, Deno.SeekMode.Start);
  await writeAll(file, withName(head, name));
  return true;
}

/**
 * An overlay's bytes without the name of its backing file, which differs from home to home. The next piece overwrites the
 * last one.
 *
 * @throws {HotbootError} like {@linkcode setBackingFile}.
 */
export async function* portableOverlay(file: Deno.FsFile, path: string): AsyncGenerator<Uint8Array> {
  const head = withName(await readOverlayHead(file, path), new Uint8Array());
  yield head;
  await file.seek(head.length, Deno.SeekMode.Start);
  yield* pieces(file);
}

/** Where the header's extensions end, and the backing file's format that one of them names; `undefined`: not in it. */
function readExtensions(view: DataView, start: number, end: number): { end: number; format?: string } | undefined {
  let format: string | undefined;
  for (let at = start; at + 8 <= end;) {
    const [type, length] = [view.getUint32(at), view.getUint32(at + 4)];
    at += 8;
    if (type === 0) return { end: at, ...(format !== undefined && { format }) };
    if (type === BACKING_FORMAT_EXTENSION && at + length <= end) {
      format = new TextDecoder().decode(new Uint8Array(view.buffer, at, length));
    }
    at += Math.ceil(length / 8) * 8;
  }
}
