/** The guest's serial console, which QEMU writes to a file. */

import { HotbootError, isMissing } from "../base/error.ts";
import { pieces, readAt } from "../base/io.ts";
import { sleep } from "../base/wait.ts";
import type { Emulator } from "../instance/emulator.ts";
import { KEPT_BYTES, trimSerialLog } from "../instance/serial_log.ts";
import { instancePath } from "../instance/channels.ts";

/** Which part of the console to show. */
export interface LogOptions {
  /** The most lines to show, counted from the end; all by default. */
  lines?: number;
  /** Continue with new output, also after the next start, until the emulator's signal aborts. */
  follow?: boolean;
}

const BLOCK = 64 * 1024;
const FOLLOW_INTERVAL_MS = 200;
const NEWLINE = 0x0a;

/**
 * The console's output since the last start, as bytes.
 *
 * Needs read permission for the home.
 *
 * @param emulator The emulator, from {@linkcode openEmulator}.
 * @param options How many lines, and whether to follow.
 * @returns The bytes as the guest printed them, in pieces of at most 64 KiB.
 * @throws {HotbootError} if the instance has never been started.
 * @throws The reason of the emulator's signal, if it aborts while following.
 *
 * @example
 * ```ts
 * import { logs, openEmulator } from "@hotboot/hotboot";
 *
 * for await (const bytes of logs(await openEmulator(), { lines: 20 })) await Deno.stdout.write(bytes);
 * ```
 */
export async function* logs(emulator: Emulator, options: LogOptions = {}): AsyncGenerator<Uint8Array> {
  const path = instancePath(emulator, "serial");
  let file = await openLog(path);
  try {
    let inode = (await file.stat()).ino;
    await file.seek(await startOfLastLines(file, options.lines), Deno.SeekMode.Start);
    while (true) {
      for await (const piece of pieces(file, BLOCK)) yield piece.slice();
      if (!options.follow) return;
      await sleep(FOLLOW_INTERVAL_MS, emulator.signal);
      await trimSerialLog(emulator);
      const now = await Deno.stat(path).catch(() => undefined);
      const position = await file.seek(0, Deno.SeekMode.Current);
      if (now?.ino === inode && now.size < position && now.size >= KEPT_BYTES) { // somebody cut it: what is left was shown
        await file.seek(now.size, Deno.SeekMode.Start);
      } else if (now && (now.ino !== inode || now.size < position)) { // a new start made a new log, or emptied this one
        file.close();
        file = await openLog(path);
        inode = now.ino;
      }
    }
  } finally {
    file.close();
  }
}

async function openLog(path: string): Promise<Deno.FsFile> {
  try {
    return await Deno.open(path);
  } catch (error) {
    if (!isMissing(error)) throw error;
    throw new HotbootError(`no console log at ${path}: the instance has never been started; 'hotboot start' starts it`);
  }
}

/** Where the last `lines` lines begin. Searches from the end, so that a long log costs no more than a short one. */
async function startOfLastLines(file: Deno.FsFile, lines = Infinity): Promise<number> {
  const { size } = await file.stat();
  if (lines === Infinity) return 0;
  if (lines === 0) return size;
  const buffer = new Uint8Array(BLOCK);
  let newlines = 0;
  for (let end = size; end > 0; end -= Math.min(end, BLOCK)) {
    const start = Math.max(0, end - BLOCK);
    const got = await readAt(file, start, buffer.subarray(0, end - start));
    for (let at = got - 1; at >= 0; at--) {
      const isLast = start + at === size - 1; // the newline after the last line starts no new one
      if (buffer[at] === NEWLINE && !isLast && ++newlines === lines) return start + at + 1;
    }
  }
  return 0;
}
