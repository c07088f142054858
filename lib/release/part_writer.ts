/** Writes the bytes of one answer to their place in the file, in large pieces, while more are coming. */

import { HotbootError, messageOf } from "../base/error.ts";
import { writeAll } from "../base/io.ts";
import type { FileDigest } from "./digest.ts";
import type { PartFile } from "./part_file.ts";

/** How much to write at once; less once connections break. */
const BUFFER = 4 * 1024 * 1024;
const CAREFUL_BUFFER = 64 * 1024;
/** Data is written after this time at the latest. */
const FLUSH_MS = 1000;

/** What a writer writes to. */
export interface WriterTarget {
  part: PartFile;
  /** Gets the bytes, too. */
  digest: FileDigest;
  /** The file's name in messages. */
  name: string;
}

/**
 * Two buffers: while one is hashed and written, more data fills the other. Each is large, because a file takes few large
 * writes at half the cost of many small ones.
 */
export class PartWriter {
  #target: WriterTarget;
  #file: Deno.FsFile;
  #at: number;
  #buffer: ArrayBuffer;
  #spare: ArrayBuffer;
  #used = 0;
  #flushed = performance.now();
  #written: Promise<void> = Promise.resolve();

  private constructor(target: WriterTarget, file: Deno.FsFile, at: number, size: number) {
    this.#target = target;
    this.#file = file;
    this.#at = at;
    [this.#buffer, this.#spare] = [new ArrayBuffer(size), new ArrayBuffer(size)];
  }

  /**
   * Writes from the offset `at` on.
   *
   * @param isCareful For small pieces: what has been read but not written is lost with a connection.
   */
  static async open(target: WriterTarget, at: number, isCareful: boolean): Promise<PartWriter> {
    const file = await Deno.open(target.part.path, { write: true });
    await file.seek(at, Deno.SeekMode.Start);
    return new PartWriter(target, file, at, isCareful ? CAREFUL_BUFFER : BUFFER);
  }

  /** Where to read to. A reader takes the buffer away: {@linkcode giveBack} it before anything else. */
  get room(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#buffer, this.#used);
  }

  /** @param room Any view of the buffer that the reader had. */
  giveBack(room: Uint8Array<ArrayBuffer>): void {
    this.#buffer = room.buffer;
  }

  /** Takes the first `count` bytes of the room. @param isUrgent Whether to write them at once. */
  async add(count: number, isUrgent: boolean): Promise<void> {
    this.#used += count;
    const isDue = this.#used === this.#buffer.byteLength || performance.now() - this.#flushed > FLUSH_MS;
    if (isUrgent || isDue) await this.#flush();
  }

  /** Forgets what has not been written, and its buffer, which was lost with the connection. @returns How many bytes. */
  drop(): number {
    const dropped = this.#used;
    this.#used = 0;
    return dropped;
  }

  /** Writes the rest. @throws {HotbootError} if anything could not be written. */
  async close(): Promise<void> {
    try {
      if (this.#used > 0) await this.#flush();
      await this.#written;
    } finally {
      this.#file.close();
    }
  }

  async #flush(): Promise<void> {
    await this.#written;
    const bytes = new Uint8Array(this.#buffer, 0, this.#used);
    const start = this.#at;
    this.#at += bytes.length;
    this.#written = this.#write(start, bytes);
    this.#written.catch(() => {}); // awaited before the next one
    this.#target.digest.add(start, bytes);
    [this.#buffer, this.#spare, this.#used, this.#flushed] = [this.#spare, this.#buffer, 0, performance.now()];
  }

  async #write(start: number, bytes: Uint8Array): Promise<void> {
    const { part, name } = this.#target;
    try {
      await writeAll(this.#file, bytes);
      await part.add({ start, end: start + bytes.length });
    } catch (error) {
      throw cannotWrite(name, error);
    }
  }
}

/** The error of a download that the disk does not take. */
export function cannotWrite(name: string, error: unknown): HotbootError {
  return new HotbootError(
    `${name} cannot be written (${messageOf(error)}): free some space, then try again: the download continues`,
  );
}
