/**
 * Newline-delimited JSON over a byte stream: the framing that QEMU's monitor and its guest agent share.
 *
 * QEMU ends each value with a newline and never puts a raw one inside a value, so a line is a value however the
 * bytes were split or joined on the way.
 */

import { concat } from "@std/bytes/concat";
import { HotbootError } from "../base/error.ts";

/** A byte stream in both directions; a `Deno.Conn` is one. */
export interface Duplex {
  /** What the other side sends. */
  readable: ReadableStream<Uint8Array>;
  /** What the other side gets. */
  writable: WritableStream<Uint8Array>;
  /** Tells the other side that no more comes, if the stream can do that without closing both directions. */
  closeWrite?(): Promise<void>;
}

/** The longest answer to read: twice the agent's limit of 16 MiB of a program's output, as base64, and then some. */
const LONGEST_LINE = 64 * 1024 * 1024;

/** Precedes the answer to `guest-sync-delimited`, and never occurs in JSON text (it is not UTF-8). */
export const DELIMITER = 0xff;
const NEWLINE = 0x0a;

/** JSON values over a {@linkcode Duplex}, one a line. */
export class JsonLines {
  #reader: ReadableStreamDefaultReader<Uint8Array>;
  #writer: WritableStreamDefaultWriter<Uint8Array>;
  #chunks: Uint8Array[] = [];
  #duplex: Duplex;

  /** Takes over both directions of `duplex`. */
  constructor(duplex: Duplex) {
    this.#duplex = duplex;
    this.#reader = duplex.readable.getReader();
    this.#writer = duplex.writable.getWriter();
  }

  /**
   * The next value, or `undefined` at the stream's end (a last line without a newline is not a value).
   *
   * @throws {HotbootError} if it is not JSON, or does not end within 64 MiB: a guest can send anything in its agent's place.
   */
  async read(): Promise<unknown> {
    while (true) {
      const line = await this.#readThrough(NEWLINE);
      if (line === undefined) return undefined;
      const text = new TextDecoder().decode(line).trim();
      if (text === "") continue;
      try {
        return JSON.parse(text);
      } catch {
        throw new HotbootError("an answer is not JSON");
      }
    }
  }

  /** Drops everything up to and including the next {@linkcode DELIMITER}; false at the stream's end. */
  async skipToDelimiter(): Promise<boolean> {
    return await this.#readThrough(DELIMITER, false) !== undefined;
  }

  /** Sends one value, with `prefix` (raw bytes) before it. */
  async write(value: unknown, prefix: number[] = []): Promise<void> {
    const text = new TextEncoder().encode(JSON.stringify(value) + "\n");
    await this.#writer.write(concat([new Uint8Array(prefix), text]));
  }

  /** Ends both directions; a pending read returns `undefined`. */
  async close(): Promise<void> {
    // Deno 2.8 keeps a socket with a pending read open: the other side has to end that.
    await this.#duplex.closeWrite?.().catch(() => {});
    await Promise.allSettled([this.#reader.cancel(), this.#writer.close()]);
  }

  /** The next bytes; none at the end, which a dying process may mark with a reset. */
  async #readChunk(): Promise<Uint8Array | undefined> {
    try {
      return (await this.#reader.read()).value;
    } catch (error) {
      if (error instanceof Deno.errors.ConnectionReset) return undefined;
      throw error;
    }
  }

  /** Everything before the next `end` byte, which is dropped; without `keep`, all of it is. */
  async #readThrough(end: number, keep = true): Promise<Uint8Array | undefined> {
    const parts: Uint8Array[] = [];
    let length = 0;
    while (true) {
      const chunk = this.#chunks.shift() ?? await this.#readChunk();
      if (chunk === undefined) return undefined;
      const at = chunk.indexOf(end);
      if (at < 0) {
        if (!keep) continue;
        parts.push(chunk);
        length += chunk.length;
        if (length > LONGEST_LINE) throw new HotbootError(`an answer has no end after ${LONGEST_LINE >> 20} MiB`);
        continue;
      }
      parts.push(chunk.subarray(0, at));
      if (at + 1 < chunk.length) this.#chunks.unshift(chunk.subarray(at + 1));
      return concat(parts);
    }
  }
}
