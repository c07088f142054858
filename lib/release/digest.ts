/** SHA-256 of a file while it is written, in any order. */

import { createHash } from "node:crypto"; // Web Crypto cannot hash a stream

const BLOCK = 4 * 1024 * 1024;

/** Hashes from the file's start up to the first gap: bytes in order at once, the rest from the file. */
export class FileDigest {
  #hash = createHash("sha256");
  #position = 0;
  #path: string;
  #reading: Promise<void> = Promise.resolve();
  #isReading = false;

  /** @param path The file, which others write. */
  constructor(path: string) {
    this.#path = path;
  }

  /** Takes bytes that are being written at `offset`, if they come next. */
  add(offset: number, bytes: Uint8Array): void {
    if (this.#isReading || offset !== this.#position) return;
    this.#hash.update(bytes);
    this.#position += bytes.length;
  }

  /** Reads what was written out of order, up to `end`, before which there must be no gap. */
  async catchUp(end: number, signal?: AbortSignal): Promise<void> {
    await this.#reading;
    if (this.#position >= end) return;
    this.#isReading = true;
    this.#reading = this.#read(end, signal).finally(() => this.#isReading = false);
    await this.#reading;
  }

  /** The digest in hex, of everything hashed so far. Nothing can be added afterwards. */
  hex(): string {
    return this.#hash.digest("hex");
  }

  async #read(end: number, signal?: AbortSignal): Promise<void> {
    using file = await Deno.open(this.#path);
    await file.seek(this.#position, Deno.SeekMode.Start);
    const buffer = new Uint8Array(BLOCK);
    while (this.#position < end) {
      signal?.throwIfAborted();
      const read = await file.read(buffer.subarray(0, Math.min(buffer.length, end - this.#position)));
      if (read === null) throw new Deno.errors.UnexpectedEof(`${this.#path} became shorter`);
      this.#hash.update(buffer.subarray(0, read));
      this.#position += read;
    }
  }
}
