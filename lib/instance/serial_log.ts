/** The guest's serial console, which QEMU writes to a file while the instance runs. */

import { readAt, writeAll } from "../base/io.ts";
import type { Emulator } from "./emulator.ts";
import { instancePath } from "./channels.ts";

/** A log longer than the first is cut to the second. */
const [MOST_BYTES, KEPT_BYTES] = [64 * 2 ** 20, 16 * 2 ** 20];

/**
 * Cuts the console log of a guest that has run for long. QEMU appends to the file, and so continues at its new end; output of
 * this very moment can be lost.
 */
export async function trimSerialLog(emulator: Emulator): Promise<void> {
  using file = await Deno.open(instancePath(emulator, "serial"), { read: true, write: true }).catch(() => undefined);
  if (!file) return; // somebody removed it
  const { size } = await file.stat();
  if (size <= MOST_BYTES) return;
  const end = new Uint8Array(KEPT_BYTES);
  const got = await readAt(file, size - KEPT_BYTES, end);
  await file.truncate();
  await file.seek(0, Deno.SeekMode.Start);
  await writeAll(file, end.subarray(0, got));
  emulator.report.detail(`the console log had ${size} bytes: kept the last ${got}`);
}
