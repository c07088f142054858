/** The guest's serial console, which QEMU writes to a file while the instance runs. */

import { readAt, writeAll } from "../base/io.ts";
import { printable } from "../base/printable.ts";
import type { Emulator } from "./emulator.ts";
import { instancePath } from "./channels.ts";

/** A log that is longer is cut to the next number. */
const MOST_BYTES = 64 * 2 ** 20;
/** See {@linkcode MOST_BYTES}. */
export const KEPT_BYTES = 16 * 2 ** 20;
/** Linux's panic message, from kernel/panic.c. */
const PANIC = /Kernel panic - not syncing[^\r\n\]]*/g; // also at the end: ---[ end Kernel panic … ]---
/** The last line of one that restarts nothing. */
const PANIC_END = /---\[ end Kernel panic[^\r\n]*\s*$/;
/** A panic prints its call trace, and then nothing more. */
const PANIC_BYTES = 64 * 1024;

/** A kernel's panic. */
export interface Panic {
  /** What it printed: `Kernel panic - not syncing: …`. */
  words: string;
  /** Whether it has printed nothing since. */
  isLast: boolean;
}

/** The last panic that a guest's console shows near its end. Any program in the guest could have printed it. */
export async function lastPanic(path: string): Promise<Panic | undefined> {
  using file = await Deno.open(path).catch(() => undefined);
  if (!file) return undefined;
  const bytes = new Uint8Array(PANIC_BYTES);
  const got = await readAt(file, Math.max(0, (await file.stat()).size - PANIC_BYTES), bytes);
  const text = new TextDecoder().decode(bytes.subarray(0, got));
  const words = text.match(PANIC)?.at(-1);
  return words === undefined ? undefined : { words: printable(words.trim()), isLast: PANIC_END.test(text) };
}

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
