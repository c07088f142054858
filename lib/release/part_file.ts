/** A file that is being downloaded, and what is known of it: kept from one run to the next. */

import { writeWhole } from "../base/files.ts";

/** A stretch of bytes: from `start` to before `end`. */
export interface Range {
  start: number;
  end: number;
}

/** What is written beside the file. */
interface PartState {
  /** What is downloaded: only the same may go on with it. */
  key: string;
  /** The whole file's size. */
  size: number;
  /** By which the server recognises the version: a strong ETag, or the date of the last change. */
  validator?: string;
  /** What is in the file, in order and without overlaps. */
  done: Range[];
}

const SAVE_INTERVAL_MS = 1000;

/** Bytes of one file at `PATH`, with `PATH.json` beside it. */
export class PartFile {
  /** The file's path. */
  readonly path: string;
  #state: PartState;
  #saved = performance.now();
  #saving: Promise<void> = Promise.resolve();

  private constructor(path: string, state: PartState) {
    this.path = path;
    this.#state = state;
  }

  /** Goes on with what there is of the same file, or begins anew. @param key What identifies its content. */
  static async open(path: string, key: string): Promise<PartFile> {
    const fresh = { key, size: -1, done: [] };
    try {
      const state: PartState = JSON.parse(await Deno.readTextFile(`${path}.json`));
      const { size } = await Deno.stat(path);
      const end = state.done.at(-1)?.end ?? 0;
      if (state.key === key && end <= size && isOrdered(state.done, state.size)) return new PartFile(path, state);
    } catch {
      // none, or a damaged one: it is only there to save time
    }
    return new PartFile(path, fresh);
  }

  /** The whole file's size, or -1 while it is unknown. */
  get size(): number {
    return this.#state.size;
  }

  /** By which the server recognises the version. */
  get validator(): string | undefined {
    return this.#state.validator;
  }

  /** How many bytes there are. */
  get received(): number {
    return this.#state.done.reduce((sum, { start, end }) => sum + end - start, 0);
  }

  /** How many there are without a gap from the start. */
  get contiguous(): number {
    const [first] = this.#state.done;
    return first?.start === 0 ? first.end : 0;
  }

  /** What is missing. */
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
    await Deno.remove(`${this.path}.json`).catch(() => {});
    await Deno.remove(this.path).catch(() => {});
    await Deno.writeFile(this.path, new Uint8Array(), { createNew: true, mode: 0o600 });
    await this.save();
  }

  /** Notes that the file has these bytes now. */
  async add(range: Range): Promise<void> {
    const merged: Range[] = [];
    for (const each of [...this.#state.done, range].sort((a, b) => a.start - b.start)) {
      const last = merged.at(-1);
      if (last && each.start <= last.end) last.end = Math.max(last.end, each.end);
      else merged.push({ ...each });
    }
    this.#state.done = merged;
    if (performance.now() - this.#saved > SAVE_INTERVAL_MS) await this.save();
  }

  /** Says how long a file is whose size was not known: what there is now is all. */
  async end(size: number): Promise<void> {
    this.#state.size = size;
    await this.save();
  }

  /** Writes down what there is. */
  async save(): Promise<void> {
    this.#saved = performance.now();
    const text = JSON.stringify(this.#state);
    this.#saving = writeWhole(`${this.path}.json`, text);
    await this.#saving;
  }

  /** Removes all of it, and forgets it. */
  async remove(): Promise<void> {
    await this.#saving.catch(() => {});
    this.#state = { key: this.#state.key, size: -1, done: [] };
    for (const path of [`${this.path}.json`, this.path]) await Deno.remove(path).catch(() => {});
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
