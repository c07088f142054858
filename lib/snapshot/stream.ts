/**
 * Splits QEMU's migration stream: RAM's pages go to a file, each at its own address, and everything else to a much smaller
 * stream. A machine that maps that file and loads that stream continues exactly there, whatever the size of its RAM: QEMU
 * does not ask for pages that were not sent.
 *
 * The parts of the stream that hotboot must understand, from QEMU's source:
 *
 *     start of a section     01, be32 its id, u8 length and name, be32 instance, be32 version    migration/savevm.c
 *     part, end of one       02 or 03, be32 its id
 *     footer of one          7e, be32 its id
 *     command                08, be16 which, be16 length, data
 *
 * and within RAM's section items of a be64, whose low 12 bits are flags and the rest is an address:  migration/ram.c
 *
 *     04  the blocks' sizes: the rest is their sum; for each u8 length and name, be64 size
 *     02  a page of one byte's value: a name unless 20, u8 the value
 *     08  a page: a name unless 20, 4096 bytes
 *     10  no more in this part of the section
 *     20  of the same block as the one before; else u8 length and name
 */

import { HotbootError } from "../base/error.ts";
import { readFull, type Source } from "../base/io.ts";
import { PAGE, type RamFile } from "./ram_file.ts";

/** A stream with something unknown. What was made from it so far is unusable. */
export class UnknownStream extends HotbootError {}

/** The name of RAM's block, which is that of its memory backend. */
const RAM_BLOCK = "ram";
const RAM_VERSION = 4;
const START_OF_SECTION = 0x01, PART_OF_SECTION = 0x02, END_OF_SECTION = 0x03, COMMAND = 0x08, FOOTER = 0x7e;
const ZERO_PAGE = 0x02, BLOCK_SIZES = 0x04, WHOLE_PAGE = 0x08, END_OF_PART = 0x10, SAME_BLOCK = 0x20;
/** RAM's section begins within this many bytes. */
const LONGEST_HEAD = 1 << 16;

/** The targets of the two parts. */
export interface Split {
  /** RAM. */
  ram: RamFile;
  /** Everything else. The bytes are overwritten after it returns. */
  rest: (bytes: Uint8Array) => Promise<unknown>;
  /** Called now and then with how many bytes of RAM have come. */
  onProgress?: (bytes: number) => void;
  /** Called once, when so many bytes of RAM have come that are not zeros. Nothing more is read until it has returned. */
  milestone?: { bytes: number; reached: () => Promise<unknown> };
}

/**
 * Splits the stream.
 *
 * @throws {UnknownStream} if hotboot does not understand it.
 */
export async function splitStream(source: Source, split: Split): Promise<void> {
  await new Splitter(new Window(source), split).run();
}

const PROGRESS_BYTES = 1 << 26;

class Splitter {
  #in: Window;
  #ram: RamFile;
  #rest: (bytes: Uint8Array) => Promise<unknown>;
  #onProgress: (bytes: number) => void;
  /** The name of the last item's block. */
  #block: string | undefined;
  #seen = 0;
  #told = 0;
  #milestone: Split["milestone"];
  #untilMilestone: number;

  constructor(window: Window, { ram, rest, onProgress = () => {}, milestone }: Split) {
    this.#in = window;
    this.#ram = ram;
    this.#rest = rest;
    this.#onProgress = onProgress;
    this.#milestone = milestone;
    this.#untilMilestone = milestone?.bytes ?? Infinity;
  }

  async run(): Promise<void> {
    const id = await this.#findRam();
    for (let kind = START_OF_SECTION;;) {
      await this.#part();
      if (kind === END_OF_SECTION) break;
      const [after] = await this.#in.peek(1);
      if (after === FOOTER) await this.#keep(5);
      while ((await this.#in.peek(1))[0] === COMMAND) {
        const head = await this.#in.peek(5);
        await this.#keep(5 + (head[3] << 8 | head[4]));
      }
      const head = await this.#in.peek(5);
      kind = head[0];
      if ((kind !== PART_OF_SECTION && kind !== END_OF_SECTION) || be32(head, 1) !== id) {
        throw new UnknownStream(`a section of kind ${kind} among RAM's`);
      }
      await this.#keep(5);
    }
    await this.#ram.flush();
    for (let bytes; (bytes = await this.#in.next());) await this.#rest(bytes);
  }

  /** Passes on everything up to and including the head of RAM's section, and returns its id. */
  async #findRam(): Promise<number> {
    const name = [3, ...new TextEncoder().encode("ram"), 0, 0, 0, 0, 0, 0, 0, RAM_VERSION];
    const head = await this.#in.peekAtMost(LONGEST_HEAD);
    const isHere = (at: number) => head[at] === START_OF_SECTION && name.every((byte, n) => head[at + 5 + n] === byte);
    const found = Array.from({ length: head.length }, (_, at) => at).filter(isHere);
    if (found.length !== 1) throw new UnknownStream(`RAM's section begins ${found.length} times`);
    const [begin] = found;
    const id = be32(head, begin + 1);
    await this.#keep(begin + 5 + name.length);
    return id;
  }

  /** Reads one part of RAM's section, to its end. */
  async #part(): Promise<void> {
    while (true) {
      const window = this.#in;
      // Enough for the largest item, if there is as much: smaller ones need no further check.
      if (window.left < 8 + 256 + PAGE) await window.fill(8 + 256 + PAGE);
      const { bytes, view, at } = window;
      if (window.left < 8) throw cut();
      const word = view.getBigUint64(at);
      const flags = Number(word & 0xfffn);
      const address = Number(word & ~0xfffn);
      if (flags === END_OF_PART) return await this.#keep(8);
      if (flags === BLOCK_SIZES) {
        await this.#sizes(address);
        continue;
      }
      const kind = flags & ~SAME_BLOCK;
      if (kind !== ZERO_PAGE && kind !== WHOLE_PAGE) throw new UnknownStream(`flags 0x${flags.toString(16)} in RAM`);
      let after = at + 8;
      if (!(flags & SAME_BLOCK)) {
        const length = bytes[after];
        this.#block = ascii(bytes.subarray(after + 1, after + 1 + length));
        after += 1 + length;
      }
      const end = after + (kind === ZERO_PAGE ? 1 : PAGE);
      if (end > window.end) throw cut();
      if (this.#block !== RAM_BLOCK) {
        await this.#keep(end - at);
        continue;
      }
      if (address + PAGE > this.#ram.size) throw new UnknownStream(`a page at ${address}, behind RAM's end`);
      if (kind === ZERO_PAGE && bytes[after] !== 0) throw new UnknownStream("a page of one byte that is not zero");
      const written = kind === ZERO_PAGE
        ? this.#ram.putZeros(address)
        : this.#ram.put(address, bytes.subarray(after, end));
      if (written) await written;
      window.at = end;
      this.#seen += PAGE;
      if (this.#seen >= this.#told + PROGRESS_BYTES) this.#onProgress(this.#told = this.#seen);
      if (kind === WHOLE_PAGE && (this.#untilMilestone -= PAGE) <= 0) {
        this.#untilMilestone = Infinity;
        await window.whilePaused(this.#milestone!.reached);
      }
    }
  }

  /** Passes on the blocks' sizes, `total` bytes in all. RAM's must match the file's. */
  async #sizes(total: number): Promise<void> {
    await this.#keep(8);
    while (total > 0) {
      const [length] = await this.#in.peek(1);
      const head = await this.#in.peek(1 + length + 8);
      const size = Number(new DataView(head.buffer, head.byteOffset + 1 + length).getBigUint64(0));
      const name = ascii(head.subarray(1, 1 + length));
      if (name === RAM_BLOCK && size !== this.#ram.size) throw new UnknownStream(`RAM of ${size} bytes`);
      if (size === 0) throw new UnknownStream(`a block of nothing, '${name}'`);
      await this.#keep(1 + length + 8);
      total -= size;
    }
  }

  /** Passes on the next `count` bytes. */
  async #keep(count: number): Promise<void> {
    for (let left = count; left > 0;) {
      const bytes = await this.#in.take(left);
      await this.#rest(bytes);
      left -= bytes.length;
    }
  }
}

function cut(): UnknownStream {
  return new UnknownStream("it ends in the middle");
}

function be32(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 | bytes[at + 3]) >>> 0;
}

function ascii(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}

/** The size of a read, and how many to read ahead: the source keeps working during a write. */
const [BLOCK, AHEAD] = [2 << 20, 3];
/** The rest of a block is moved before the next one, into this space. */
const SPACE = LONGEST_HEAD;

interface Filled {
  bytes: Uint8Array<ArrayBuffer>;
  count: number;
}

/** A source's bytes, in amounts of the caller's choice. */
class Window {
  bytes: Uint8Array<ArrayBuffer> = new Uint8Array();
  view = new DataView(this.bytes.buffer);
  /** The start of the bytes that have not been taken. */
  at = 0;
  end = 0;
  #source: Source;
  #last: Promise<unknown> = Promise.resolve();
  #filling: Promise<Filled>[] = [];
  #pause: Promise<unknown> | undefined;

  constructor(source: Source) {
    this.#source = { read: (into) => this.#pause ? this.#pause.then(() => source.read(into)) : source.read(into) };
    for (let index = 0; index < AHEAD; index++) this.#read(new Uint8Array(SPACE + BLOCK));
  }

  get left(): number {
    return this.end - this.at;
  }

  /** Reads nothing more from the source, not even ahead, until `work` is done. */
  async whilePaused(work: () => Promise<unknown>): Promise<void> {
    const done = work();
    this.#pause = done.catch(() => {});
    await done;
    this.#pause = undefined;
  }

  #read(bytes: Uint8Array<ArrayBuffer>): void {
    const filling = this.#last.then(async () => ({
      bytes,
      count: await readFull(this.#source, bytes.subarray(SPACE)),
    }));
    filling.catch(() => {}); // whoever awaits it gets the error
    this.#last = filling;
    this.#filling.push(filling);
  }

  /** Makes at least `count` bytes available, at most {@linkcode SPACE}, unless the source ends. */
  async fill(count: number): Promise<void> {
    while (this.left < count && this.#filling.length > 0) {
      const { bytes, count: got } = await this.#filling.shift()!;
      if (got === 0) return void (this.#filling = []);
      const rest = this.bytes.subarray(this.at, this.end);
      bytes.set(rest, SPACE - rest.length);
      const before = this.bytes;
      [this.bytes, this.at, this.end] = [bytes, SPACE - rest.length, SPACE + got];
      this.view = new DataView(bytes.buffer);
      if (before.length > 0) this.#read(before);
    }
  }

  /** The next `count` bytes, without taking them. */
  async peek(count: number): Promise<Uint8Array> {
    const bytes = await this.peekAtMost(count);
    if (bytes.length < count) throw cut();
    return bytes;
  }

  async peekAtMost(count: number): Promise<Uint8Array> {
    if (this.left < count) await this.fill(count);
    return this.bytes.subarray(this.at, Math.min(this.at + count, this.end));
  }

  /** Takes up to `count` of the next bytes, and at least one. */
  async take(count: number): Promise<Uint8Array> {
    if (this.left === 0) await this.fill(1);
    if (this.left === 0) throw cut();
    const bytes = this.bytes.subarray(this.at, Math.min(this.at + count, this.end));
    this.at += bytes.length;
    return bytes;
  }

  /** Takes what is available; `undefined` at the end. */
  async next(): Promise<Uint8Array | undefined> {
    if (this.left === 0) await this.fill(1);
    return this.left === 0 ? undefined : await this.take(this.left);
  }
}
