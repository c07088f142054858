/** Reads bytes in order, and lets the caller look at them before taking them. */

/** The source. */
export interface Source {
  /** Fills part of `into` and returns how much; `null` at the end. */
  read(into: Uint8Array): Promise<number | null>;
}

const CAPACITY = 3 * 1024 * 1024;

/** A window on a source, of at most 3 MiB. */
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

  /** What can be looked at now. Valid until the next `need`. */
  get bytes(): Uint8Array {
    return this.#buffer.subarray(this.#start, this.#end);
  }

  /**
   * Reads until this many bytes can be looked at.
   *
   * @returns Whether there are that many.
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

  /** Takes bytes without looking at them. @returns Whether there were that many. */
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
