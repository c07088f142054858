/** Bytes that are read in their order, looked at before they are taken. */

/** Where they come from. */
export interface Source {
  /** Fills some of `into` and gives how much; `null` at the end. */
  read(into: Uint8Array): Promise<number | null>;
}

const CAPACITY = 1024 * 1024;

/** A window on a source, of a mebibyte at the most. */
export class Input {
  /** How many bytes have been taken. */
  taken = 0;
  #source: Source;
  #buffer = new Uint8Array(CAPACITY);
  #start = 0;
  #end = 0;

  constructor(source: Source) {
    this.#source = source;
  }

  /** What can be looked at now. It is there until the next `need`. */
  get bytes(): Uint8Array {
    return this.#buffer.subarray(this.#start, this.#end);
  }

  /**
   * Reads until so many bytes can be looked at.
   *
   * @returns Whether there are as many.
   */
  async need(count: number): Promise<boolean> {
    if (this.#start + count > CAPACITY) {
      this.#buffer.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    while (this.#end - this.#start < count) {
      const got = await this.#source.read(this.#buffer.subarray(this.#end));
      if (got === null) return false;
      this.#end += got;
    }
    return true;
  }

  /** Takes bytes that were looked at. */
  take(count: number): void {
    this.#start += count;
    this.taken += count;
  }

  /** Takes bytes that nobody looks at. @returns Whether there were as many. */
  async skip(count: number): Promise<boolean> {
    for (let left = count; left > 0;) {
      if (!await this.need(1)) return false;
      const part = Math.min(left, this.bytes.length);
      this.take(part);
      left -= part;
    }
    return true;
  }
}
