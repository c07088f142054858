/** The pieces that a file is compressed or decompressed in: each is independent, so that several cores can do it. */

import { compressBound, type Engine, type ZstdEngineName } from "./engine.ts";
import { openEngine } from "./open_engine.ts";
import {
  frameEnd,
  type FrameHeader,
  frameLength,
  readHeader,
  tooLarge,
  truncated,
  wrongSize,
  ZstdError,
} from "./frame.ts";
import { isZero, PAGE, writeSparse } from "./sparse.ts";

/**
 * The content of each frame that is made, in bytes: many of the window of level 1, so that it costs next to nothing
 * that a frame knows none before it; few enough to have several at a time.
 */
export const FRAME = 2 * 1024 * 1024;
/** The longest content that is decompressed as a whole. */
const LONGEST_CONTENT = 8 * 1024 * 1024;
/** What is read of a frame at once, as its length is not known. */
const STEP = 256 * 1024;

/** What a worker is told first. */
export interface Setup {
  engine?: ZstdEngineName;
  /** The file to read. */
  from: string;
  /** The file to write to, where a worker does that. */
  to?: string;
}

/** To make a frame of a piece of the file. */
export interface CompressJob {
  kind: "compress";
  offset: number;
  length: number;
  level: number;
}

/** To put a frame's content to its place, and that of small ones behind it. */
export interface DecompressJob {
  kind: "decompress";
  /** Where the first frame begins. */
  offset: number;
  /** Where its content goes. */
  to: number;
  /** How many bytes that may be. */
  limit: number;
}

/** To put bytes to their place. */
export interface WriteJob {
  kind: "write";
  /** They are handed over, and come back. */
  bytes: Uint8Array<ArrayBuffer>;
  to: number;
}

/** What there is to do. */
export type Job = CompressJob | DecompressJob | WriteJob;

/** Where a job's frames end, known before their content is. */
export interface Extent {
  /** The place after them. */
  next: number;
  /** How many bytes they become; `undefined` when the first is too long, or does not say, and nothing more is done of it. */
  size?: number;
}

/** A frame in the input. */
interface FoundFrame {
  header: FrameHeader;
  start: number;
  end: number;
}

/** Does one job after the other. */
export class Jobs implements Disposable {
  #engine: Engine;
  #source: Deno.FsFile;
  #target?: Deno.FsFile;
  #input = new Uint8Array(STEP);
  /** The frame that zeros of this length are: most of a VM's memory may be that. */
  #zeros?: { length: number; level: number; frame: Uint8Array };
  /** The last frame whose content was zeros. */
  #hole?: Uint8Array;

  private constructor(engine: Engine, source: Deno.FsFile, target?: Deno.FsFile) {
    this.#engine = engine;
    this.#source = source;
    this.#target = target;
  }

  /** Loads the engine and opens the files. */
  static async open({ engine, from, to }: Setup): Promise<Jobs> {
    const opened = await openEngine(engine);
    const source = Deno.openSync(from);
    try {
      return new Jobs(opened, source, to === undefined ? undefined : Deno.openSync(to, { write: true }));
    } catch (error) {
      source.close();
      throw error;
    }
  }

  /** Makes a frame. */
  compress({ offset, length, level }: CompressJob): Uint8Array<ArrayBuffer> {
    this.#room(length, 0);
    this.#source.seekSync(offset, Deno.SeekMode.Start);
    if (this.#read(0, length) < length) {
      throw new ZstdError("it changed while it was read: try again when it no longer changes");
    }
    const bytes = this.#input.subarray(0, length);
    if (!isZero(bytes)) return this.#engine.compress(bytes, level);
    if (this.#zeros?.length !== length || this.#zeros.level !== level) {
      this.#zeros = { length, level, frame: this.#engine.compress(bytes, level) };
    }
    return this.#zeros.frame.slice();
  }

  /**
   * Writes the content of a frame, and of those behind it that were read with it: there may be a million of some bytes each.
   *
   * @param onExtent Told where they end, as soon as that is known.
   */
  decompress({ offset, to, limit }: DecompressJob, onExtent: (extent: Extent) => void): void {
    this.#source.seekSync(offset, Deno.SeekMode.Start);
    let have = this.#read(0, STEP);
    const header = readHeader(this.#input.subarray(0, have), offset === 0);
    if (!header) throw truncated();
    const { contentSize, skip } = header;
    if (skip !== undefined) return onExtent({ next: offset + header.length + skip, size: 0 });
    if (contentSize !== undefined && contentSize > limit) throw tooLarge(limit);
    if (contentSize === undefined || contentSize > LONGEST_CONTENT) return onExtent({ next: offset });
    const longest = compressBound(contentSize) + STEP;
    const walk = frameEnd(header, () => this.#input);
    let step = walk.next();
    for (; !step.done; step = walk.next()) {
      if (step.value > longest) return onExtent({ next: offset }); // in many small blocks: allowed, and rare
      while (have < step.value) {
        this.#room(have + STEP, have);
        const got = this.#read(have, STEP);
        if (got === 0) throw truncated();
        have += got;
      }
    }
    const frames: FoundFrame[] = [{ header, start: 0, end: step.value }];
    let size = contentSize;
    for (let end = step.value;;) {
      const next = frameAt(this.#input.subarray(0, have), end);
      if (!next || size + next.header.contentSize! > Math.min(limit, LONGEST_CONTENT)) break;
      frames.push(next);
      end = next.end;
      size += next.header.contentSize!;
    }
    onExtent({ next: offset + frames.at(-1)!.end, size });
    this.#put(frames, size, to);
  }

  /** Writes bytes, and gives them back. */
  write({ bytes, to }: WriteJob): Uint8Array<ArrayBuffer> {
    writeSparse(this.#target!, bytes, to);
    return bytes;
  }

  /** Decompresses frames, and writes their content: that of several small ones at once. */
  #put(frames: FoundFrame[], size: number, to: number): void {
    let together: Uint8Array | undefined;
    let at = 0;
    for (const { header: { contentSize }, start, end } of frames) {
      const frame = this.#input.subarray(start, end);
      if (!this.#hole || !areEqual(this.#hole, frame)) {
        const content = this.#engine.decompress(frame, contentSize!);
        if (content.length !== contentSize) throw wrongSize();
        if (content.length >= PAGE && isZero(content)) {
          if (frame.length < STEP) this.#hole = frame.slice();
        } else if (frames.length === 1) {
          writeSparse(this.#target!, content, to);
        } else {
          together ??= new Uint8Array(size);
          together.set(content, at);
        }
      }
      at += contentSize!;
    }
    if (together) writeSparse(this.#target!, together, to);
  }

  /** Makes the input hold so many bytes, and keeps the first ones. */
  #room(size: number, keep: number): void {
    if (size <= this.#input.length) return;
    const larger = new Uint8Array(Math.max(size, 2 * keep));
    larger.set(this.#input.subarray(0, keep));
    this.#input = larger;
  }

  /** Reads up to so many bytes into this place of the input, fewer at the file's end. */
  #read(at: number, count: number): number {
    let got = 0;
    while (got < count) {
      const more = this.#source.readSync(this.#input.subarray(at + got, at + count));
      if (more === null) break;
      got += more;
    }
    return got;
  }

  [Symbol.dispose]() {
    this.#source.close();
    this.#target?.close();
  }
}

/** The frame at this place of the bytes, if all of it is there, and says how long its content is. */
function frameAt(bytes: Uint8Array, start: number): FoundFrame | undefined {
  try {
    const rest = bytes.subarray(start);
    const header = rest.length > 0 ? readHeader(rest, false) : undefined;
    if (header?.contentSize === undefined) return undefined;
    const length = frameLength(header, rest);
    return length === undefined ? undefined : { header, start, end: start + length };
  } catch (error) {
    if (error instanceof ZstdError) return undefined; // whoever begins with it will meet it
    throw error;
  }
}

function areEqual(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return false;
  return true;
}
