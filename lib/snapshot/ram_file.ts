/** A guest's RAM as a file: each page at its own address, and holes where there is nothing but zeros. */

import { writeAll } from "../base/io.ts";

/** QEMU's unit of RAM in a migration stream, on amd64 and arm64 alike: TARGET_PAGE_SIZE. */
export const PAGE = 4096;
/** Neighbours are written together, up to so many bytes. */
const MOST_TOGETHER = 1 << 20;
/** What is shorter is written at once: handing it over would take longer. */
const SHORT = 1 << 18;
const ZEROS = new Uint8Array(PAGE);

/** Collects pages. What is not written is a hole. */
export class RamFile implements Disposable {
  /** The file's size in bytes: that of the RAM. */
  readonly size: number;
  #file: Deno.FsFile;
  #together = new Uint8Array(MOST_TOGETHER);
  #start = 0;
  #length = 0;
  /** A bit for each page that has been written. */
  #written: Uint8Array;

  private constructor(file: Deno.FsFile, size: number) {
    this.#file = file;
    this.size = size;
    this.#written = new Uint8Array(Math.ceil(size / PAGE / 8));
  }

  /** Makes a new file of `size` bytes, all of which are a hole. Throws when there is one. */
  static async create(path: string, size: number): Promise<RamFile> {
    const file = await Deno.open(path, { write: true, createNew: true, mode: 0o600 });
    try {
      await file.truncate(size);
      return new RamFile(file, size);
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /**
   * Takes a page, which is copied.
   *
   * @returns What is to be waited for before the next one, if anything is.
   */
  put(address: number, page: Uint8Array): Promise<void> | undefined {
    const isNext = address === this.#start + this.#length && this.#length < MOST_TOGETHER;
    const written = isNext ? undefined : this.flush();
    if (written) return written.then(() => this.#append(address, page));
    this.#append(address, page);
  }

  #append(address: number, page: Uint8Array): void {
    if (this.#length === 0) this.#start = address;
    this.#together.set(page, this.#length);
    this.#length += PAGE;
    const number = address / PAGE;
    this.#written[number >> 3] |= 1 << (number & 7);
  }

  /** Takes a page of zeros, which is only written where there is something else. */
  putZeros(address: number): Promise<void> | undefined {
    const number = address / PAGE;
    if (this.#written[number >> 3] & (1 << (number & 7))) return this.put(address, ZEROS);
  }

  /** Writes what has been collected. */
  flush(): Promise<void> | undefined {
    if (this.#length === 0) return;
    const bytes = this.#together.subarray(0, this.#length);
    this.#length = 0;
    this.#file.seekSync(this.#start, Deno.SeekMode.Start);
    if (bytes.length >= SHORT) return writeAll(this.#file, bytes);
    for (let at = 0; at < bytes.length;) at += this.#file.writeSync(bytes.subarray(at));
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}
