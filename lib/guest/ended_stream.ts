/** A stream that says itself where it ends: a port has no end of its own that the host could see. */

import { concat } from "@std/bytes/concat";
import { HotbootError } from "../base/error.ts";

const BUFFER_BYTES = 256 * 1024;
const LONGEST_LINE = 64 * 1024;
const CODE_DIGITS = 3;
const NEWLINE = 0x0a;

/** The stream was cut off before its end. */
export class CutOff extends Error {}

/** What a program writes, up to the end mark and an exit code after it. */
export class EndedStream {
  #source: Deno.Conn;
  #mark: Uint8Array;
  #buffer = new Uint8Array(BUFFER_BYTES);
  #rest: Uint8Array = new Uint8Array();
  #waitsSince?: number;
  /** Whether anything has come. */
  hasBegun = false;

  /** @param mark In ASCII; its first character is best a rare one. */
  constructor(source: Deno.Conn, mark: string) {
    this.#source = source;
    this.#mark = new TextEncoder().encode(mark);
  }

  /** For how long it has been waiting for more, in milliseconds. */
  get waits(): number {
    return this.#waitsSince === undefined ? 0 : performance.now() - this.#waitsSince;
  }

  /** The next line, without its end. @throws {HotbootError} if it does not end within 64 KiB. */
  async line(): Promise<string> {
    while (!this.#rest.includes(NEWLINE)) {
      if (this.#rest.length > LONGEST_LINE) throw wrongStream("a line without an end");
      this.#rest = await this.#more();
    }
    const end = this.#rest.indexOf(NEWLINE);
    const line = new TextDecoder().decode(this.#rest.subarray(0, end)).trimEnd();
    this.#rest = this.#rest.slice(end + 1);
    return line;
  }

  /** Passes everything on, and returns the exit code at its end. @throws {CutOff} if it has none. */
  async copy(write: (bytes: Uint8Array) => Promise<void> | void = () => {}): Promise<number> {
    const whole = this.#mark.length + CODE_DIGITS;
    for (let bytes = this.#rest;; bytes = await this.#more()) {
      const at = this.#find(bytes);
      if (at > 0) await write(bytes.subarray(0, at));
      this.#rest = bytes.subarray(at);
      if (this.#rest.length < whole) continue;
      const code = new TextDecoder().decode(this.#rest.subarray(this.#mark.length, whole));
      if (!/^[0-9]+$/.test(code)) throw wrongStream("an exit code that is no number");
      return Number(code);
    }
  }

  /** Where the mark is, or what may become one; the length, if it is nowhere. */
  #find(bytes: Uint8Array): number {
    const mark = this.#mark;
    for (let at = bytes.indexOf(mark[0]); at >= 0; at = bytes.indexOf(mark[0], at + 1)) {
      let same = 1;
      while (same < mark.length && at + same < bytes.length && bytes[at + same] === mark[same]) same++;
      if (same === mark.length || at + same === bytes.length) return at;
    }
    return bytes.length;
  }

  async #more(): Promise<Uint8Array> {
    const next = await this.#read();
    return this.#rest.length === 0 ? next : concat([this.#rest, next]);
  }

  async #read(): Promise<Uint8Array> {
    this.#waitsSince = performance.now();
    const got = await this.#source.read(this.#buffer).catch((error) => {
      if (error instanceof Deno.errors.ConnectionReset) return null;
      throw error;
    });
    this.#waitsSince = undefined;
    if (got === null) throw new CutOff();
    this.hasBegun = true;
    return this.#buffer.slice(0, got);
  }
}

function wrongStream(what: string): HotbootError {
  return new HotbootError(`the guest wrote ${what} to the program's output: restart the guest, or drop it`);
}
