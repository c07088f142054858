/** The runtime's own zstd, in node:zlib of newer versions of Deno, for what is done at once. */

import * as zlib from "node:zlib";
import { compressBound, type Decoder, type Engine, free } from "./engine.ts";
import { damaged, type FrameHeader } from "./frame.ts";
import { messageOf } from "../base/error.ts";

/** The native engine, or `undefined` if the runtime has none. */
export function openNative(): Engine | undefined {
  if (typeof zlib.zstdCompressSync !== "function") return undefined;
  return new NativeEngine();
}

class NativeEngine implements Engine {
  #last?: ArrayBuffer;
  #streaming?: Promise<Engine>;

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

  /**
   * The runtime's decoder for streams ends the program on some damaged data: on Deno 2.6 to 2.9 its error is thrown where
   * nobody can catch it. So WebAssembly does this.
   */
  async decoder(header: FrameHeader): Promise<Decoder> {
    const { openWasm } = await import("./wasm.ts");
    this.#streaming ??= openWasm();
    return await (await this.#streaming).decoder(header);
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
