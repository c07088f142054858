/** The terminal: results on standard output, everything else on standard error. */

import type { Reporter } from "../../instance/emulator.ts";
import { ProgressLine } from "./progress.ts";
import { writeAll } from "../../base/io.ts";

/** Prints bytes, or a text and a newline, on standard output. */
export async function print(what: string | Uint8Array): Promise<void> {
  await write(Deno.stdout, what);
}

/** The line that shows progress, if one is open. */
let progress: ProgressLine | undefined;

/** Prints bytes, or a text and a newline, on standard error. */
export async function printError(what: string | Uint8Array): Promise<void> {
  progress?.close();
  await write(Deno.stderr, what);
}

/** Prints a value as JSON on standard output. */
export async function printJson(value: unknown): Promise<void> {
  await print(JSON.stringify(value, null, 2));
}

/** Reports on standard error what an operation does. Warnings appear even when quiet. */
export function consoleReporter(level: "quiet" | "normal" | "verbose"): Reporter {
  const writeNow = (text: string) => {
    const bytes = new TextEncoder().encode(text);
    for (let at = 0; at < bytes.length;) at += Deno.stderr.writeSync(bytes.subarray(at));
  };
  const line = progress = new ProgressLine(Deno.stderr.isTerminal(), writeNow, terminalColumns);
  const say = (text: string) => {
    line.close();
    writeNow(`hotboot: ${text}\n`);
  };
  return {
    step: level === "quiet" ? () => {} : say,
    detail: level === "verbose" ? say : () => {},
    warn: (text) => say(`warning: ${text}`),
    progress: level === "quiet" ? () => {} : (what, done, total) => line.show(what, done, total),
  };
}

function terminalColumns(): number {
  try {
    return Deno.consoleSize().columns || Infinity; // 0: the terminal's size was never set
  } catch {
    return Infinity;
  }
}

async function write(to: { write(bytes: Uint8Array): Promise<number> }, what: string | Uint8Array): Promise<void> {
  const bytes = typeof what === "string" ? new TextEncoder().encode(`${what}\n`) : what;
  await writeAll(to, bytes);
}
