/** A partial download and its state, kept from one run to the next. */

import { syncFile, writeWhole } from "../base/files.ts";
import { Turns } from "../base/turns.ts";

/** A range of bytes: from `start` to before `end`. */
export interface Range {
  start: number;
  end: number;
}

/** The state file beside it. */
interface PartState {
  /** Identifies the download: only the same one may continue. */
  key: string;
  /** The whole file's size. */
  size: number;
  /** Identifies the version for the server: a strong ETag, or the date of the last change. */
  validator?: string;
  /** The ranges in the file, in order and without overlaps. */
  done: Range[];
}

/** The state is saved after this time or so many bytes, and a slow disk makes the download wait after so many more. */
const SAVE_INTERVAL_MS = 1000;
const SAVE_INTERVAL_BYTES = 64 * 1024 * 1024;
const MOST_UNSAVED = 4 * SAVE_INTERVAL_BYTES;

/** The bytes of one file at `PATH`, with `PATH.json` beside it. */
export class PartFile {
  /** The file's path. */
  readonly path: string;
  #state: PartState;
  #saved = performance.now();
  /** Bytes that have come since the last save began. */
  #unsaved = 0;
  #turns = new Turns();
  /** A save in the background. */
  #saving?: Promise<void>;
  #failure?: { error: unknown };

  private constructor(path: string, state: PartState) {
    this.path = path;
    this.#state = state;
  }

  /** Continues with an existing part of the same file, or starts over. @param key Identifies its content. */
  static async open(path: string, key: string): Promise<PartFile> {
    const fresh = { key, size: -1, done: [] };
    try {
      const state: PartState = JSON.parse(await Deno.readTextFile(`${path}.json`));
      const { size, isFile } = await Deno.lstat(path);
      const end = state.done.at(-1)?.end ?? 0;
      if (isFile && state.key === key && end <= size && isOrdered(state.done, state.size)) {
        return new PartFile(path, state);
      }
    } catch {
      // missing or damaged: it only saves time
    }
    return new PartFile(path, fresh);
  }

  /** The whole file's size, or -1 while it is unknown. */
  get size(): number {
    return this.#state.size;
  }

  /** Identifies the version for the server. */
  get validator(): string | undefined {
    return this.#state.validator;
  }

  /** How many bytes have come. */
  get received(): number {
    return this.#state.done.reduce((sum, { start, end }) => sum + end - start, 0);
  }

  /** How many have come without a gap from the start. */
  get contiguous(): number {
    const [first] = this.#state.done;
    return first?.start === 0 ? first.end : 0;
  }

  /** The missing ranges. */
  get missing(): Range[] {
    const gaps: Range[] = [];
    let at = 0;
    for (const { start, end } of this.#state.done) {
      if (start > at) gaps.push({ start: at, end: start });
      at = end;
    }
    if (at < this.#state.size) gaps.push({ start: at, end: this.#state.size });
    return gaps;
  }

  /** Forgets everything, and makes an empty file for `size` bytes of this version. */
  async reset(size: number, validator?: string): Promise<void> {
    this.#state = { key: this.#state.key, size, ...(validator && { validator }), done: [] };
    this.#forget();
    await Deno.remove(`${this.path}.json`).catch(() => {});
    await Deno.remove(this.path).catch(() => {});
    await Deno.writeFile(this.path, new Uint8Array(), { createNew: true, mode: 0o600 });
    await this.save();
  }

  /**
   * Records that the file has these bytes now; saves the state now and then, while more are written.
   *
   * @throws The error of an earlier save.
   */
  async add(range: Range): Promise<void> {
    const merged: Range[] = [];
    for (const each of [...this.#state.done, range].sort((a, b) => a.start - b.start)) {
      const last = merged.at(-1);
      if (last && each.start <= last.end) last.end = Math.max(last.end, each.end);
      else merged.push({ ...each });
    }
    this.#state.done = merged;
    this.#unsaved += range.end - range.start;
    const isDue = this.#unsaved >= SAVE_INTERVAL_BYTES || performance.now() - this.#saved > SAVE_INTERVAL_MS;
    if (isDue) this.#saving ??= this.save().catch(() => {}).finally(() => this.#saving = undefined); // the error is kept
    if (this.#unsaved >= MOST_UNSAVED) await this.#saving;
    if (this.#failure) throw this.#failure.error;
  }

  /** Sets the size of a file whose size was unknown: what has come is all. */
  async end(size: number): Promise<void> {
    this.#state.size = size;
    await this.save();
  }

  /**
   * Writes the state file, once the bytes that it tells of are on the disk: it is true even if the power fails. Most of the
   * file is on the disk before its last bytes come, so whoever needs all of it there waits for little.
   *
   * @throws Its error, or that of an earlier one.
   */
  async save(): Promise<void> {
    await this.#turns.run(async () => {
      if (this.#failure) throw this.#failure.error;
      const text = JSON.stringify(this.#state);
      const hasNew = this.#unsaved > 0;
      [this.#saved, this.#unsaved] = [performance.now(), 0];
      try {
        if (hasNew) await syncFile(this.path);
        await writeWhole(`${this.path}.json`, text);
      } catch (error) {
        this.#failure = { error };
        throw error;
      }
    });
  }

  /** Removes both files, and forgets everything. */
  async remove(): Promise<void> {
    await this.#saving;
    this.#state = { key: this.#state.key, size: -1, done: [] };
    this.#forget();
    for (const path of [`${this.path}.json`, this.path]) await Deno.remove(path).catch(() => {});
  }

  #forget(): void {
    [this.#unsaved, this.#failure] = [0, undefined];
  }
}

function isOrdered(ranges: Range[], size: number): boolean {
  let at = 0;
  return Array.isArray(ranges) && ranges.every(({ start, end }) => {
    const fits = Number.isSafeInteger(start) && Number.isSafeInteger(end) && at <= start && start < end && end <= size;
    at = end;
    return fits;
  });
}
