/** What is written to a file, as it comes. */

import { readAt } from "./io.ts";

/** The most to read at once: a guest may print without end. The next call has the rest. */
const MOST_BYTES = 1 << 20;

/** A file to which another program writes. */
export class GrowingFile {
  #path: string;
  #position = 0;

  /** @param path The file; it may not exist yet. */
  constructor(path: string) {
    this.#path = path;
  }

  /** What has been written since the last call. A file that was cut goes on at its new end. */
  async newBytes(): Promise<Uint8Array> {
    try {
      using file = await Deno.open(this.#path);
      const { size } = await file.stat();
      this.#position = Math.min(this.#position, size);
      const bytes = new Uint8Array(Math.min(size - this.#position, MOST_BYTES));
      const got = await readAt(file, this.#position, bytes);
      this.#position += got;
      return bytes.subarray(0, got);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return new Uint8Array();
      throw error;
    }
  }
}
