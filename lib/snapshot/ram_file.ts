/** A guest's RAM as a file: each page at its own address, and holes for zeros. */

import { writeAll } from "../base/io.ts";

/** QEMU's unit of RAM in a migration stream, on amd64 and arm64 alike: TARGET_PAGE_SIZE. */
export const PAGE = 4096;
/** Adjacent pages are written together, up to this many bytes. */
const MOST_TOGETHER = 1 << 20;
/** Shorter pieces are written synchronously: an asynchronous write would take longer. */
const SHORT = 1 << 18;
const ZEROS = new Uint8Array(PAGE);

/** Collects pages. Whatever is not written is a hole. */
export class RamFile implements Disposable {
  /** The file's size in bytes, which is the RAM's. */
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

  /** Creates a file of `size` bytes, all of them a hole. Throws if the file exists. */
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
   * Takes a page, and copies it.
   *
   * @returns A promise to wait for before the next page, if any.
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

  /** Takes a page of zeros, and writes it only over other content. */
  putZeros(address: number): Promise<void> | undefined {
    const number = address / PAGE;
    if (this.#written[number >> 3] & (1 << (number & 7))) return this.put(address, ZEROS);
  }

  /** Writes the collected pages. */
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
