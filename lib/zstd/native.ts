/** The runtime's own zstd, in node:zlib of newer versions of Deno. It does one thing at a time. */

import * as zlib from "node:zlib";
import { compressBound, type Decoder, type Engine, free } from "./engine.ts";
import { damaged, WINDOW_LIMIT } from "./frame.ts";
import { messageOf } from "../base/error.ts";

/** What the streaming decoder returns at once. */
const OUTPUT = 512 * 1024;

/** The native engine, or `undefined` if the runtime has none. */
export function openNative(): Engine | undefined {
  if (typeof zlib.zstdCompressSync !== "function" || typeof zlib.createZstdDecompress !== "function") return undefined;
  return new NativeEngine();
}

class NativeEngine implements Engine {
  #last?: ArrayBuffer;

  compress(bytes: Uint8Array, level: number): Uint8Array<ArrayBuffer> {
    const { ZSTD_c_compressionLevel, ZSTD_c_checksumFlag, ZSTD_c_contentSizeFlag } = zlib.constants;
    const options = { // with an option that the types do not have
      chunkSize: compressBound(bytes.length), // so that it comes in one piece
      pledgedSrcSize: bytes.length,
      params: { [ZSTD_c_compressionLevel]: level, [ZSTD_c_checksumFlag]: 1, [ZSTD_c_contentSizeFlag]: 1 },
    };
    const whole = zlib.zstdCompressSync(bytes, options);
    const frame = new Uint8Array(whole); // of its own length, where the other is as long as it might have become
    free(whole.buffer);
    return frame;
  }

  decompress(frame: Uint8Array, size: number): Uint8Array {
    free(this.#last);
    this.#last = undefined;
    let content: Uint8Array;
    try {
      content = zlib.zstdDecompressSync(frame, { chunkSize: Math.max(64, size + 1), maxOutputLength: size + 1 });
    } catch (error) {
      throw damaged(reason(error));
    }
    this.#last = content.buffer as ArrayBuffer;
    return plain(content);
  }

  decoder(): Decoder {
    return new NativeDecoder();
  }
}

class NativeDecoder implements Decoder {
  #zstd = zlib.createZstdDecompress({
    chunkSize: OUTPUT,
    params: { [zlib.constants.ZSTD_d_windowLogMax]: Math.log2(WINDOW_LIMIT) },
  });
  #parts: Uint8Array[] = [];
  /** The memory that the parts are in, in the order of its use: the stream may go on in the last one only. */
  #buffers = new Set<ArrayBufferLike>();
  #error?: Error;

  constructor() {
    this.#zstd.on("data", (part: Uint8Array) => {
      this.#parts.push(plain(part));
      this.#buffers.add(part.buffer);
    });
    this.#zstd.on("error", (error: Error) => this.#error = error);
  }

  async write(part: Uint8Array): Promise<Uint8Array[]> {
    this.#parts = [];
    for (const buffer of [...this.#buffers].slice(0, -1)) {
      free(buffer);
      this.#buffers.delete(buffer);
    }
    await new Promise<void>((resolve, reject) => {
      this.#zstd.once("error", reject);
      this.#zstd.write(part, () => {
        this.#zstd.off("error", reject);
        resolve();
      });
    }).catch((error) => this.#error = error);
    if (this.#error) throw damaged(reason(this.#error));
    return this.#parts;
  }

  close() {
    this.#zstd.destroy();
  }
}

/** The same bytes as no Buffer, whose `slice` does not copy. */
function plain({ buffer, byteOffset, length }: Uint8Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, length);
}

/** Why it failed, in the library's words. */
function reason(error: unknown): string {
  return messageOf(error).replace(/^Zstd decompress error: /, "").replace(/^./, (letter) => letter.toLowerCase());
}
