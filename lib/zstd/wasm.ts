/**
 * zstd in WebAssembly, for runtimes without their own. The package has the module within its JavaScript, so
 * nothing is fetched.
 *
 * hotboot uses the package's internals, which is why its version is fixed: its public functions copy each result by spreading
 * it into an array, and report no error for damaged streams.
 */

import { Zstd } from "@hpcc-js/wasm-zstd";
import { compressBound, type Decoder, type Engine } from "./engine.ts";
import { BLOCK_HEADER, BLOCK_LIMIT, CHECKSUM, damaged, type FrameHeader, readBlock } from "./frame.ts";
import { ContentChecksum, contentChecksum } from "./xxh64.ts";

/** The functions on addresses in the module's memory. Results that are errors are told from sizes by `isError`. */
interface Binding {
  new (): Streams;
  compress(into: number, room: number, from: number, length: number, level: number): number;
  decompress(into: number, room: number, from: number, length: number): number;
  isError(result: number): number;
  getErrorName(result: number): string;
}

/** Decompresses a frame part by part. */
interface Streams {
  decompressChunk(into: number, room: number, from: number, length: number): number;
  delete(): void;
}

/** What the package's class keeps for itself. */
interface Internals {
  _zstdClass: Binding;
  _mainModule: { _module: { HEAPU8: Uint8Array; _malloc(size: number): number; _free(at: number): void } };
}

/** Loads the module. */
export async function openWasm(): Promise<Engine> {
  return new WasmEngine(await Zstd.load() as unknown as Internals);
}

const CHECKSUM_FLAG = 0x04;
const DESCRIPTOR_AT = 4;

/** A piece of the module's memory, reallocated only to grow. */
class Room {
  #module: Internals["_mainModule"]["_module"];
  #size = 0;
  at = 0;

  constructor(module: Internals["_mainModule"]["_module"]) {
    this.#module = module;
  }

  /** Grows it to at least this size; its content is lost. */
  ensure(size: number): void {
    if (size <= this.#size) return;
    this.close();
    this.at = this.#module._malloc(size);
    this.#size = size;
  }

  put(bytes: Uint8Array): void {
    this.ensure(bytes.length);
    this.#module.HEAPU8.set(bytes, this.at);
  }

  view(length: number): Uint8Array {
    return this.#module.HEAPU8.subarray(this.at, this.at + length);
  }

  close(): void {
    if (this.#size > 0) this.#module._free(this.at);
    this.#size = 0;
  }
}

class WasmEngine implements Engine {
  #binding: Binding;
  #from: Room;
  #into: Room;

  constructor({ _zstdClass, _mainModule }: Internals) {
    this.#binding = _zstdClass;
    this.#from = new Room(_mainModule._module);
    this.#into = new Room(_mainModule._module);
  }

  compress(bytes: Uint8Array, level: number): Uint8Array<ArrayBuffer> {
    const room = compressBound(bytes.length);
    this.#from.put(bytes);
    this.#into.ensure(room);
    const length = this.#binding.compress(this.#into.at, room, this.#from.at, bytes.length, level);
    this.#check(length);
    // This function makes no checksum, but a frame with one differs only in a bit and in what follows it.
    const frame = new Uint8Array(length + CHECKSUM);
    frame.set(this.#into.view(length));
    frame[DESCRIPTOR_AT] |= CHECKSUM_FLAG;
    new DataView(frame.buffer).setUint32(length, contentChecksum(bytes), true);
    return frame;
  }

  decompress(frame: Uint8Array, size: number): Uint8Array {
    this.#from.put(frame);
    this.#into.ensure(size);
    const length = this.#binding.decompress(this.#into.at, size, this.#from.at, frame.length);
    this.#check(length);
    return this.#into.view(length);
  }

  decoder(header: FrameHeader): Promise<Decoder> {
    const streams = new this.#binding();
    const checksum = new ContentChecksum();
    let isBegun = false;
    /** Makes the decoder take some of the part, and appends the result. */
    const step = (at: number, length: number, produced: number, room: number): number => {
      const more = streams.decompressChunk(this.#into.at + produced, room - produced, this.#from.at + at, length);
      this.#check(more);
      return more;
    };
    const write = (part: Uint8Array, most: number): Uint8Array => {
      const room = most + BLOCK_LIMIT; // all must find room: the binding does not say what it has not taken
      this.#from.put(part);
      this.#into.ensure(room);
      let at = 0;
      let produced = 0;
      if (!isBegun) step(0, at = header.length, 0, room);
      isBegun = true;
      // An error looks as if there were no more bytes, and is forgotten. So each block is looked at, and the checksum.
      for (let isLast = false; !isLast && at < part.length;) {
        const block = readBlock(part, at);
        isLast = block.isLast;
        const length = BLOCK_HEADER + block.length;
        const more = step(at, length, produced, room);
        if (block.contentSize === undefined ? more === 0 : more !== block.contentSize) {
          throw damaged("a block is wrong");
        }
        at += length;
        produced += more;
      }
      const content = this.#into.view(produced);
      if (header.hasChecksum) checksum.add(content);
      if (at < part.length) {
        const expected = new DataView(part.buffer, part.byteOffset + at, CHECKSUM).getUint32(0, true);
        if (checksum.value() !== expected) throw damaged("the checksum differs");
      }
      return content;
    };
    return Promise.resolve({ write, close: () => streams.delete() });
  }

  #check(result: number): void {
    if (!this.#binding.isError(result)) return;
    throw damaged(this.#binding.getErrorName(result).toLowerCase());
  }
}
