/** Extracts one file from a zip archive on disk, in constant memory. */

import { type FileEntry, ZipReader } from "@zip.js/zip.js/lib/zip-core-reader.js";
import { HotbootError, messageOf } from "../base/error.ts";
import { readAt } from "../base/io.ts";
import { Turns } from "../base/turns.ts";
import { WrongContent } from "./options.ts";
import { requireFreeSpace } from "./free_space.ts";

const BLOCK = 512 * 1024;
/** What to do about an archive with other content. */
const ASK = "try again, or ask who publishes it";

/**
 * Writes the file called `name`, in whichever directory of the archive, to `path`: the archive has no say in the place.
 *
 * @returns Its size in bytes.
 * @throws {WrongContent} if the archive has no such file, or is damaged.
 * @throws {HotbootError} if there is no space for the file. After any error nothing is left of it.
 */
export async function unzipOne(archive: string, name: string, path: string, signal?: AbortSignal): Promise<number> {
  using file = await Deno.open(archive);
  const { size } = await file.stat();
  const reader = new ZipReader(new RandomAccess(file, size), { useWebWorkers: false, checkSignature: true });
  try {
    const entries = await reader.getEntries();
    const isIt = ({ filename, directory }: { filename: string; directory: boolean }) =>
      !directory && filename.split("/").at(-1) === name;
    const [entry, ...more] = entries.filter(isIt);
    if (!entry) throw new WrongContent(`${fileName(archive)} contains no ${name}: ${ASK}`);
    if (more.length > 0) throw new WrongContent(`${fileName(archive)} contains several files called ${name}: ${ASK}`);
    await requireFreeSpace(path.replace(/[^/]*$/, "") || ".", entry.uncompressedSize, name);
    const output = await Deno.open(path, { write: true, createNew: true, mode: 0o600 });
    await (entry as FileEntry).getData(output.writable, signal && { signal }); // of the size that the archive tells
    return entry.uncompressedSize;
  } catch (error) {
    await Deno.remove(path).catch(() => {});
    signal?.throwIfAborted();
    if (error instanceof HotbootError) throw error;
    throw new WrongContent(`${fileName(archive)} is not a valid zip archive (${messageOf(error)}): ${ASK}`);
  } finally {
    await reader.close();
  }
}

function fileName(path: string): string {
  return path.split("/").at(-1)!;
}

/** An open file, with zip.js's interface. */
class RandomAccess {
  readonly size: number;
  #file: Deno.FsFile;
  #turns = new Turns();

  constructor(file: Deno.FsFile, size: number) {
    this.#file = file;
    this.size = size;
  }

  get readable(): ReadableStream<Uint8Array> {
    return this.createReadable();
  }

  createReadable({ offset = 0, size = this.size - offset }: { offset?: number; size?: number } = {}) {
    const end = offset + size;
    let at = offset;
    return new ReadableStream<Uint8Array>({
      pull: async (controller) => {
        const bytes = await this.readUint8Array(at, Math.min(BLOCK, end - at));
        at += bytes.length;
        if (bytes.length > 0) controller.enqueue(bytes);
        if (at >= end || bytes.length === 0) controller.close();
      },
    });
  }

  /** Reads take turns, because the file has only one position. */
  readUint8Array(index: number, length: number): Promise<Uint8Array> {
    return this.#turns.run(async () => {
      const bytes = new Uint8Array(Math.max(0, Math.min(length, this.size - index)));
      if (await readAt(this.#file, index, bytes) < bytes.length) {
        throw new HotbootError("the archive became shorter: try again");
      }
      return bytes;
    });
  }
}
