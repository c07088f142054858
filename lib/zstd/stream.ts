/**
 * Compresses and decompresses streams with zstd.
 *
 * @module
 */

import { StreamReader } from "../base/io.ts";
import { decodeFrames } from "./decode.ts";
import { type Engine, LEVEL, requireLevel, type ZstdEngineName } from "./engine.ts";
import { openEngine } from "./open_engine.ts";
import { Input } from "./input.ts";
import { FRAME } from "./jobs.ts";

/** How to compress a stream. */
export interface ZstdCompressStreamOptions {
  /** From 1, the fastest, to 22; 1 by default. */
  level?: number;
  /** Which code does it; by default the runtime's own if it has one, else WebAssembly. */
  engine?: ZstdEngineName;
}

/** How to decompress a stream. */
export interface ZstdDecompressStreamOptions {
  /** The limit for the decompressed size, in bytes; none by default. */
  maxBytes?: number;
  /** Which code does it; by default the runtime's own if it has one, else WebAssembly. */
  engine?: ZstdEngineName;
}

/**
 * Compresses a stream into frames of 2 MiB (RFC 8878, 3.1), each with its content's size and a checksum. Buffers one
 * frame and uses one core: `compressFile` uses several.
 *
 * Needs no permissions.
 *
 * @param options The level.
 * @returns The transform stream.
 * @throws {ZstdError} if there is no such level.
 *
 * @example
 * ```ts
 * import { zstdCompressStream, zstdDecompressStream } from "@hotboot/hotboot";
 * import { assertEquals } from "@std/assert";
 *
 * const text = new Blob(["hello"]).stream().pipeThrough(zstdCompressStream()).pipeThrough(zstdDecompressStream());
 * assertEquals(await new Response(text).text(), "hello");
 * ```
 */
export function zstdCompressStream(options: ZstdCompressStreamOptions = {}): TransformStream<Uint8Array, Uint8Array> {
  const { level = LEVEL } = options;
  requireLevel(level);
  const buffer = new Uint8Array(FRAME);
  let engine: Engine;
  let used = 0;
  let isEmpty = true;
  return new TransformStream<Uint8Array, Uint8Array>({
    async start() {
      engine = await openEngine(options.engine);
    },
    transform(chunk, controller) {
      for (let at = 0; at < chunk.length;) {
        const part = chunk.subarray(at, at + FRAME - used);
        buffer.set(part, used);
        at += part.length;
        used += part.length;
        if (used < FRAME) continue;
        controller.enqueue(engine.compress(buffer, level));
        [used, isEmpty] = [0, false];
      }
    },
    flush(controller) {
      if (used > 0 || isEmpty) controller.enqueue(engine.compress(buffer.subarray(0, used), level));
    },
  });
}

/**
 * Decompresses a stream of frames of any length (RFC 8878), from any program. Buffers a few mebibytes, and the
 * frames' window, which may be 128 MiB.
 *
 * Needs no permissions.
 *
 * @param options The limit for the decompressed size.
 * @returns The transform stream.
 * @throws {ZstdError} (through the readable side) if the data is damaged, truncated, followed by something else, needs a
 * window of more than 128 MiB or a dictionary, or becomes more than `maxBytes`; everything before that is right, as far as
 * a frame's checksum has been reached.
 *
 * @example
 * ```ts
 * import { compressFile, zstdDecompressStream } from "@hotboot/hotboot";
 * import { assertEquals } from "@std/assert";
 *
 * const path = await Deno.makeTempFile();
 * await Deno.writeTextFile(path, "hello");
 * await compressFile(path, path);
 * const { readable } = await Deno.open(path);
 * assertEquals(await new Response(readable.pipeThrough(zstdDecompressStream({ maxBytes: 1e6 }))).text(), "hello");
 * ```
 */
export function zstdDecompressStream(
  options: ZstdDecompressStreamOptions = {},
): TransformStream<Uint8Array, Uint8Array> {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const contents = async function* () {
    const source = new StreamReader(readable);
    try {
      const engine = await openEngine(options.engine);
      for await (const piece of decodeFrames(new Input(source), engine, options.maxBytes ?? Infinity)) {
        yield piece.slice(); // which is the engine's
      }
    } finally {
      await source.close(); // whoever writes is told, too
    }
  };
  return { readable: ReadableStream.from(contents()), writable };
}
