/**
 * A snapshot as one file: a tar archive with the manifest first, then the files that it lists, compressed with zstd.
 * Common tools can read it: `zstd -dc FILE | tar -t`. It is written and read in one pass and in constant memory.
 */

import { createHash } from "node:crypto"; // Web Crypto cannot hash a stream
import { HotbootError, messageOf } from "../base/error.ts";
import { pieces, type Source } from "../base/io.ts";
import { writeSparse } from "../zstd/sparse.ts";
import { type Cargo, oddCargo, SHA256 } from "./cargo.ts";
import type { Fingerprint } from "./fingerprint.ts";
import { ENGINE_FILES, malformed, type Manifest } from "./manifest.ts";
import { tarEnd, tarHeader, tarPadding, type TarReader, unsound } from "./tar.ts";

const MANIFEST = "manifest.json";
const LONGEST_MANIFEST = 1024 * 1024;
const CHUNK = 1024 * 1024;
/** More pages than a fingerprint can have sampled. */
const MOST_PAGES = 1024;

/** A manifest whose files all have digests, and what else is in its archive. */
export type SealedManifest = Manifest & { files: Record<string, { sha256: string }>; archive?: Cargo };

/** Called with how many more bytes of the snapshot's files are done. */
export type OnBytes = (count: number) => void;

/** A file that is being written to an archive. */
export interface Member {
  name: string;
  size: number;
  /** SHA-256 in hex; none: the receiver knows by something else whether it is right. */
  sha256?: string;
  /** Its bytes. The next piece may overwrite the last one. */
  content(): AsyncIterable<Uint8Array>;
}

/** The sum of its files' sizes, in bytes. */
export function contentSize({ files }: Manifest): number {
  return Object.values(files).reduce((sum, { size }) => sum + size, 0);
}

/** A snapshot's files, all open, so that nobody can remove them meanwhile. */
export async function fileMembers(files: OpenFiles, directory: string, manifest: SealedManifest): Promise<Member[]> {
  const members: Member[] = [];
  for (const [name, { size, sha256 }] of Object.entries(manifest.files)) {
    const file = await files.open(`${directory}/${name}`);
    members.push({ name, size, sha256, content: () => pieces(file, CHUNK) });
  }
  return members;
}

/**
 * The archive of a manifest and the files that go with it, uncompressed. The receiver owns each chunk.
 *
 * @throws {HotbootError} if a file does not match its digest.
 */
export async function* archiveChunks(
  manifest: SealedManifest,
  members: Member[],
  onBytes: OnBytes = () => {},
): AsyncGenerator<Uint8Array> {
  const { unsyncedSinceBoot: _, ...portable } = manifest;
  const text = new TextEncoder().encode(JSON.stringify(portable, null, 2) + "\n");
  const mtime = Math.floor(Date.parse(manifest.created) / 1000) || 0;
  let written = 0;
  const counted = (bytes: Uint8Array) => {
    written += bytes.length;
    return bytes;
  };
  yield counted(tarHeader({ name: MANIFEST, size: text.length }, mtime));
  yield counted(text);
  yield counted(new Uint8Array(tarPadding(text.length)));
  for (const { name, size, sha256, content } of members) {
    yield counted(tarHeader({ name, size }, mtime));
    const hash = createHash("sha256");
    let left = size;
    for await (const piece of content()) {
      const part = piece.slice(0, left);
      hash.update(part);
      left -= part.length;
      onBytes(part.length);
      yield counted(part);
      if (left === 0) break;
    }
    if (left > 0) throw new HotbootError(`its file '${name}' became shorter: try again when nothing else writes to it`);
    yield counted(new Uint8Array(tarPadding(size)));
    if (sha256 !== undefined && hash.digest("hex") !== sha256) {
      throw new HotbootError(`its file '${name}' differs from what was captured: export another`);
    }
  }
  yield tarEnd(written);
}

/** Files that are open until all of them are closed. */
export class OpenFiles implements Disposable {
  #files: Deno.FsFile[] = [];

  /** Opens one for reading. */
  async open(path: string): Promise<Deno.FsFile> {
    const file = await Deno.open(path);
    this.#files.push(file);
    return file;
  }

  [Symbol.dispose](): void {
    for (const file of this.#files) file.close();
  }
}

/**
 * Reads the manifest, which comes first in an archive, and checks everything in it that decides what is written where.
 *
 * @throws {HotbootError} if hotboot cannot have written it.
 */
export async function readArchivedManifest(tar: TarReader): Promise<SealedManifest> {
  const member = await tar.next();
  if (member?.name !== MANIFEST) throw unsound(`it begins with ${member ? `'${member.name}'` : "nothing"}`);
  if (member.size > LONGEST_MANIFEST) throw unsound("its manifest is too long");
  const bytes = new Uint8Array(member.size);
  let used = 0;
  for await (const piece of pieces(tar)) {
    bytes.set(piece, used);
    used += piece.length;
  }
  let manifest: Manifest;
  try {
    manifest = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw unsound("its manifest is not JSON");
  }
  const fault = malformed(manifest);
  if (fault) throw unsound(`its manifest ${fault}`);
  const odd = oddity(manifest as SealedManifest);
  if (odd) throw unsound(`its manifest has ${odd}`);
  return manifest as SealedManifest;
}

/** What only a forger would have written into a manifest, and what later code would fail on; `undefined` if nothing. */
function oddity(manifest: SealedManifest): string | undefined {
  const { created, identity, guest, files, engine, cache, archive, checkpoint } = manifest;
  if (Number.isNaN(Date.parse(created))) return "no date";
  if (Object.values(identity).some((value) => typeof value !== "string")) {
    return "an identity with other values than strings";
  }
  if (!isGuestState(guest)) return "no state of the guest";
  if (cache !== undefined && !isFingerprint(cache)) return "no valid description of its cache";
  const names = ENGINE_FILES[engine];
  const missing = names.find((name) => !Object.hasOwn(files, name));
  if (missing !== undefined) return `no file '${missing}'`;
  for (const [name, file] of Object.entries(files)) {
    if (!names.includes(name)) return `a file called '${name}'`;
    if (!isFingerprint(file)) return `no valid description of '${name}'`;
    if (typeof file.sha256 !== "string" || !SHA256.test(file.sha256)) return `no digest for '${name}'`;
  }
  return oddCargo(archive, files, checkpoint);
}

function isFingerprint(value: Fingerprint | null): boolean {
  const { size, sample, pages = [] } = value ?? {};
  return Number.isSafeInteger(size) && size! >= 0 && typeof sample === "string" && SHA256.test(sample) &&
    Array.isArray(pages) && pages.length <= MOST_PAGES &&
    pages.every((page) => Number.isSafeInteger(page) && page >= 0);
}

function isGuestState(guest: Manifest["guest"]): boolean {
  const { clock, clockOffsetMs, stoppedAt, reseeds, frozen, notFrozen, peers = [] } = guest;
  const areTexts = (list: unknown, ...fields: string[]) =>
    Array.isArray(list) && list.every((each) => fields.every((field) => typeof each?.[field] === "string"));
  return ["shift", "date", "agent", "nothing"].includes(clock) && Number.isFinite(clockOffsetMs) &&
    Number.isFinite(stoppedAt) && typeof reseeds === "boolean" && areTexts(frozen, "unit", "group", "thaw") &&
    areTexts(notFrozen, "unit", "why") &&
    Array.isArray(peers) && peers.every((port) => Number.isInteger(port) && port >= 0 && port <= 0xffff);
}

/** What a file in an archive must be, and who takes it instead of a file of its name. */
export interface Expected {
  size: number;
  sha256?: string;
  /** Reads all of its bytes. */
  take?(content: Source): Promise<void>;
}

/**
 * Writes the files after the manifest into an empty directory, without their zeros, and reads to the archive's end.
 *
 * @throws {HotbootError} if they are not the files that the manifest lists, or differ in size or content.
 */
export async function unpackFiles(
  tar: TarReader,
  { files }: { files: Record<string, Expected> },
  directory: string,
  onBytes: OnBytes = () => {},
): Promise<void> {
  const missing = new Set(Object.keys(files));
  for (let member; (member = await tar.next()) !== undefined;) {
    const { name, size } = member;
    if (!missing.delete(name)) throw unsound(`its manifest does not list '${name}', or it contains that file twice`);
    const { size: expected, sha256, take } = files[name];
    if (size !== expected) throw unsound(`its file '${name}' has ${size} bytes instead of ${expected}`);
    if (take) {
      await take(tar);
      if (await tar.read(new Uint8Array(1)) !== null) throw unsound(`its file '${name}' is longer than its content`);
    } else if (await unpackOne(tar, `${directory}/${name}`, size, onBytes) !== sha256) {
      throw unsound(`its file '${name}' differs from what was captured`);
    }
  }
  const [first] = missing;
  if (first !== undefined) throw unsound(`its file '${first}' is missing`);
}

/** Writes a file and returns the SHA-256 of what was read, in hex. */
async function unpackOne(tar: TarReader, path: string, size: number, onBytes: OnBytes): Promise<string> {
  using file = await Deno.open(path, { write: true, createNew: true, mode: 0o600 });
  const hash = createHash("sha256");
  let offset = 0;
  for await (const part of pieces(tar, CHUNK)) {
    hash.update(part);
    writeSparse(file, part, offset);
    offset += part.length;
    onBytes(part.length);
  }
  await file.truncate(size).catch((error) => {
    throw new HotbootError(`${path} cannot be made ${size} bytes long (${messageOf(error)}): use another disk`);
  });
  return hash.digest("hex");
}
