/**
 * Compresses files with zstd, on several cores and in constant memory.
 *
 * @module
 */

import { messageOf } from "../base/error.ts";
import { decodeFrame, isNextSmall } from "./decode.ts";
import { type Engine, free, LEVEL, requireLevel, type ZstdEngineName } from "./engine.ts";
import { openEngine } from "./open_engine.ts";
import { truncated, ZstdError } from "./frame.ts";
import { Input } from "./input.ts";
import { type Extent, FRAME } from "./jobs.ts";
import { Pool } from "./pool.ts";
import { otherThanFile, replaceFile } from "../base/files.ts";
import { cannotWrite } from "./sparse.ts";
import { Writer } from "./writer.ts";
import { writeAll } from "../base/io.ts";

/** For each so many bytes of compressed data a thread may be worth its start. */
const WORTHWHILE = 256 * 1024;

/** How to compress or decompress a file. */
export interface ZstdOptions {
  /** From 1, the fastest, to 22; 1 by default. For compressing only. */
  level?: number;
  /** Aborting it ends the work, and leaves nothing. */
  signal?: AbortSignal;
  /**
   * Called with the progress, in bytes of the file that is read, up to its size; the numbers never decrease.
   *
   * @param done How many are done.
   * @param total How many there are.
   */
  onProgress?: (done: number, total: number) => void;
  /** Which code does it; by default the runtime's own if it has one, else WebAssembly. */
  engine?: ZstdEngineName;
}

/**
 * Compresses a file in the format of the `zstd` tool, which can decompress it. Writes independent frames (RFC 8878, 3.1),
 * each with its content's size and a checksum, so that several cores can work on them both ways. Replaces an existing target
 * only at the end; if anything fails, the target stays unchanged and nothing else is left.
 *
 * Needs read permission for the file, and read and write permission for the target's directory.
 *
 * @param from The file to compress. It stays unchanged.
 * @param to The compressed file's path. It gets mode 0600.
 * @param options The level, and who gets progress.
 * @throws {ZstdError} if the file cannot be read, changes meanwhile, or the target cannot be written.
 * @throws The signal's reason, if it aborts.
 *
 * @example
 * ```ts
 * import { compressFile } from "@hotboot/hotboot";
 * import { assert } from "@std/assert";
 *
 * const path = await Deno.makeTempFile();
 * await Deno.truncate(path, 2 ** 20);
 * await compressFile(path, `${path}.zst`);
 * assert((await Deno.stat(`${path}.zst`)).size < 1000);
 * ```
 */
export async function compressFile(from: string, to: string, options: ZstdOptions = {}): Promise<void> {
  const { level = LEVEL, engine, onProgress } = options;
  requireLevel(level);
  await replacing(from, to, options, async ({ size, file }, signal) => {
    const count = Math.max(1, Math.ceil(size / FRAME)); // of nothing, too, there is a frame
    using pool = await Pool.open({ engine, from }, count);
    using _ending = endingOn(signal, pool);
    const pending: Promise<Uint8Array | undefined>[] = [];
    let written = 0;
    const write = async () => {
      const frame = (await pending.shift()!)!;
      signal.throwIfAborted();
      await writeFile(file, frame);
      free(frame.buffer);
      written++;
      onProgress?.(Math.min(size, written * FRAME), size);
    };
    for (let index = 0; index < count; index++) {
      const offset = index * FRAME;
      const frame = pool.run({ kind: "compress", offset, length: Math.min(FRAME, size - offset), level });
      frame.catch(() => {}); // awaited below, or the reason is another
      pending.push(frame);
      if (pending.length >= 2 * pool.size) await write(); // each thread has its next job before it ends one
    }
    while (pending.length > 0) await write();
  });
}

/**
 * Decompresses a file from {@linkcode compressFile}, the `zstd` tool or any other program with this format (RFC 8878).
 * Leaves out pages of zeros, so the file takes only the space of its content. Uses several cores if frames state their
 * content's size and it is at most 8 MiB. Replaces an existing target only at the end; if anything fails, the target stays
 * unchanged and nothing else is left.
 *
 * Memory does not depend on the file's size, but on the window of its frames, which may be 128 MiB.
 *
 * Needs read permission for the file, and read and write permission for the target's directory.
 *
 * @param from The compressed file. It stays unchanged.
 * @param to The decompressed file's path. It gets mode 0600.
 * @param options `maxBytes` limits the decompressed size; no limit by default.
 * @throws {ZstdError} if the file is damaged, truncated, followed by something else, needs a window of more than 128 MiB
 * or a dictionary, becomes more than `maxBytes`, or if a file cannot be read or written.
 * @throws The signal's reason, if it aborts.
 *
 * @example
 * ```ts
 * import { compressFile, decompressFile } from "@hotboot/hotboot";
 * import { assertEquals } from "@std/assert";
 *
 * const path = await Deno.makeTempFile();
 * await Deno.writeTextFile(path, "hello");
 * await compressFile(path, `${path}.zst`);
 * await decompressFile(`${path}.zst`, path, { maxBytes: 5 });
 * assertEquals(await Deno.readTextFile(path), "hello");
 * ```
 */
export async function decompressFile(
  from: string,
  to: string,
  options: ZstdOptions & { maxBytes?: number } = {},
): Promise<void> {
  const { engine, onProgress, maxBytes = Infinity } = options;
  await replacing(from, to, options, async ({ size, file, temporary }, signal) => {
    using pool = await Pool.open({ engine, from, to: temporary }, Math.ceil(size / WORTHWHILE));
    using _ending = endingOn(signal, pool);
    let done = 0;
    const progress = (at: number) => {
      done = Math.max(done, at);
      onProgress?.(done, size);
    };
    const pending = new Set<Promise<unknown>>();
    let failure: { error: unknown } | undefined;
    const allDone = async () => {
      await Promise.all(pending);
      if (failure) throw failure.error;
    };
    let streaming: Engine | undefined;
    let produced = 0;
    let at = 0;
    do {
      if (pending.size >= pool.size) await Promise.race(pending);
      signal.throwIfAborted();
      if (failure) break;
      const { promise: extent, resolve, reject } = Promise.withResolvers<Extent>();
      extent.catch(() => {});
      const job = pool.run({ kind: "decompress", offset: at, to: produced, limit: maxBytes - produced }, resolve);
      const settled: Promise<void> = job.then(async () => progress((await extent).next), (error) => {
        failure ??= { error };
        reject(error);
      }).finally(() => pending.delete(settled));
      pending.add(settled);
      const { next, size: content } = await extent;
      if (content !== undefined) {
        at = next;
        produced += content;
        continue;
      }
      await allDone();
      streaming ??= await openEngine(engine);
      const place = { from, at, produced, limit: maxBytes - produced };
      const frame = await streamFrames(place, pool, streaming, signal, progress);
      at += frame.taken;
      produced += frame.produced;
    } while (at < size);
    await allDone();
    if (at > size) throw truncated(); // a skippable frame that says to be longer than the file
    await file.truncate(produced).catch((error) => {
      throw cannotWrite(error);
    });
    progress(size);
  });
}

/** Where a frame is and its content goes. */
interface Place {
  from: string;
  at: number;
  produced: number;
  limit: number;
}

/** Decompresses one frame of any length, and small ones behind it; gives how many bytes they had and became. */
async function streamFrames(
  { from, at, produced, limit }: Place,
  pool: Pool,
  engine: Engine,
  signal: AbortSignal,
  progress: (at: number) => void,
): Promise<{ taken: number; produced: number }> {
  using source = await Deno.open(from);
  await source.seek(at, Deno.SeekMode.Start);
  const input = new Input(source);
  const writer = new Writer(pool, produced);
  let made = 0;
  do {
    const left = limit - made;
    for await (const piece of decodeFrame(input, engine, left, at === 0 && input.taken === 0)) {
      signal.throwIfAborted();
      await writer.add(piece);
      made += piece.length;
      progress(at + input.taken);
    }
  } while (await isNextSmall(input));
  await writer.end();
  return { taken: input.taken, produced: made };
}

/** What a file is made of, and where. */
interface Work {
  /** The size of the file to read. */
  size: number;
  /** The new file, and its path. */
  file: Deno.FsFile;
  temporary: string;
}

/** Makes a file beside `to` and puts it there when it is complete; errors name the file that is read. */
async function replacing(
  from: string,
  to: string,
  { signal = new AbortController().signal }: ZstdOptions,
  make: (work: Work, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  signal.throwIfAborted();
  const size = await sizeOf(from);
  await replaceFile(to, async (file, temporary) => {
    try {
      await make({ size, file, temporary }, signal);
    } catch (error) {
      signal.throwIfAborted();
      throw error instanceof ZstdError ? new ZstdError(`${from}: ${error.message}`) : error;
    }
    signal.throwIfAborted();
  }, { failure: ZstdError });
}

/** The size of a file that can be read. */
async function sizeOf(path: string): Promise<number> {
  let other: string | undefined;
  try {
    other = await otherThanFile(path);
    if (!other) {
      using file = await Deno.open(path); // it can be read
      return (await file.stat()).size;
    }
  } catch (error) {
    throw new ZstdError(`${path} cannot be read (${messageOf(error)}): name a file that can`);
  }
  throw new ZstdError(`${path} is ${other}: name a file, or use a stream`);
}

/** Ends the threads when the signal is aborted: a job of theirs may take long at a high level. */
function endingOn(signal: AbortSignal, pool: Pool): Disposable {
  const end = () => pool[Symbol.dispose]();
  signal.addEventListener("abort", end);
  return { [Symbol.dispose]: () => signal.removeEventListener("abort", end) };
}

async function writeFile(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  try {
    await writeAll(file, bytes);
  } catch (error) {
    throw cannotWrite(error);
  }
}
