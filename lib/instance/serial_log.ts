/** The guest's serial console, which QEMU writes to a file for as long as the instance runs. */

import { readAt, writeAll } from "../base/io.ts";
import type { Emulator } from "./emulator.ts";
import { instancePath } from "./channels.ts";

/** A log that has grown beyond this is shortened, and so much of its end stays. */
const [MOST_BYTES, KEPT_BYTES] = [64 * 2 ** 20, 16 * 2 ** 20];

/**
 * Shortens the console's log where a guest that runs for long has filled it. QEMU appends to it, and goes on at its new
 * end; what the guest prints at this very moment can be lost.
 */
export async function trimSerialLog(emulator: Emulator): Promise<void> {
  using file = await Deno.open(instancePath(emulator, "serial"), { read: true, write: true }).catch(() => undefined);
  if (!file) return; // somebody has removed it
  const { size } = await file.stat();
  if (size <= MOST_BYTES) return;
  const end = new Uint8Array(KEPT_BYTES);
  const got = await readAt(file, size - KEPT_BYTES, end);
  await file.truncate();
  await file.seek(0, Deno.SeekMode.Start);
  await writeAll(file, end.subarray(0, got));
  emulator.report.detail(`the console's log had ${size} bytes: its last ${got} stay`);
}
