/** Reads and writes that may do less than asked. */

/** Fills part of `into` and returns how much; `null` at the end. */
export interface Source {
  read(into: Uint8Array): Promise<number | null> | number | null;
}

/** Fills `into`, unless the source ends before, and returns how much of it is filled. */
export async function readFull(source: Source, into: Uint8Array): Promise<number> {
  let got = 0;
  while (got < into.length) {
    const read = await source.read(into.subarray(got));
    if (read === null) break;
    got += read;
  }
  return got;
}

/** The same for a file, from `offset` on. */
export async function readAt(file: Deno.FsFile, offset: number, into: Uint8Array): Promise<number> {
  await file.seek(offset, Deno.SeekMode.Start);
  return await readFull(file, into);
}

/** The rest of the source, in pieces of at most `size` bytes. The next piece overwrites the last one. */
export async function* pieces(source: Source, size = 1 << 20): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const buffer = new Uint8Array(size);
  for (let read; (read = await source.read(buffer)) !== null;) yield buffer.subarray(0, read);
}

/** Writes all of `bytes`. Throws the errors of `to`. */
export async function writeAll(to: { write(bytes: Uint8Array): Promise<number> }, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await to.write(bytes.subarray(at));
}

/** Reads a stream into buffers. */
export class StreamReader implements Source {
  #reader: ReadableStreamDefaultReader<Uint8Array>;
  #left: Uint8Array = new Uint8Array();
  constructor(stream: ReadableStream<Uint8Array>) {
    this.#reader = stream.getReader();
  }
  async read(into: Uint8Array): Promise<number | null> {
    while (this.#left.length === 0) {
      const { done, value } = await this.#reader.read();
      if (done) return null;
      this.#left = value;
    }
    const part = this.#left.subarray(0, into.length);
    into.set(part);
    this.#left = this.#left.subarray(part.length);
    return part.length;
  }
  async close(): Promise<void> {
    await this.#reader.cancel();
  }
}
