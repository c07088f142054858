/** The guest's serial console, which QEMU writes to a file while the instance runs. */

import { readAt, writeAll } from "../base/io.ts";
import type { Emulator } from "./emulator.ts";
import { instancePath } from "./channels.ts";

/** A log that is longer is cut to the next number. */
const MOST_BYTES = 64 * 2 ** 20;
/** See {@linkcode MOST_BYTES}. */
export const KEPT_BYTES = 16 * 2 ** 20;

/**
 * Cuts the console log of a guest that has printed much. Nothing in QEMU limits the file: so each command that looks at an
 * instance calls this, and those that last call it again and again. QEMU appends to the file, and so continues at its new end;
 * output of this very moment can be lost. Does nothing if this program may not write to the file.
 */
export async function trimSerialLog(emulator: Emulator): Promise<void> {
  const path = instancePath(emulator, "serial");
  const there = await Deno.lstat(path).catch(() => undefined);
  if (!there?.isFile || there.size <= MOST_BYTES) return;
  using file = await Deno.open(path, { read: true, write: true }).catch(() => undefined);
  if (!file) return;
  const { size } = await file.stat();
  const end = new Uint8Array(KEPT_BYTES);
  const got = await readAt(file, size - KEPT_BYTES, end);
  await file.truncate();
  await file.seek(0, Deno.SeekMode.Start);
  await writeAll(file, end.subarray(0, got));
  emulator.report.detail(`the console log had ${size} bytes: kept the last ${got}`);
}
