/** The terminal: results on standard output, everything else on standard error. */

import { withOptions } from "../../base/advice.ts";
import { HotbootError, messageOf } from "../../base/error.ts";
import type { Reporter } from "../../instance/emulator.ts";
import { ProgressLine } from "./progress.ts";
import { writeAll } from "../../base/io.ts";
import { escapedJson, printable, printableLines } from "../../base/printable.ts";

/** Prints bytes as they are, or a text and a newline, on standard output. */
export async function print(what: string | Uint8Array): Promise<void> {
  try {
    await write("stdout", what);
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) throw error;
    throw new HotbootError(
      `standard output cannot be written (${messageOf(error)}): free some space, or send it elsewhere`,
    );
  }
}

/** Where all output goes, in place of the terminal. */
let redirected: ((to: "stdout" | "stderr", bytes: Uint8Array) => Promise<void>) | undefined;

/** From now on, all output goes there. */
export function printTo(output: typeof redirected): void {
  redirected = output;
}

/** The line that shows progress, if one is open. */
let progress: ProgressLine | undefined;

/** Options that are added to the commands in messages. */
let typed: Record<string, string> = {};

/** Has the commands in messages name the same emulator as the options that the user typed; a fresh instance has no name of theirs. */
export function adviseFor({ values, switches }: { values: Record<string, string>; switches: Set<string> }): void {
  const { instance, ...others } = values;
  typed = instance === undefined || switches.has("fresh") ? others : values;
}

/** Prints bytes as they are, or a message and a newline, on standard error. */
export async function printError(what: string | Uint8Array): Promise<void> {
  progress?.close();
  await write("stderr", typeof what === "string" ? withOptions(what, typed) : what);
}

/** Prints a value as JSON on standard output, indented or, for a program that reads line by line, in one line. */
export async function printJson(value: unknown, { oneLine = false } = {}): Promise<void> {
  const json = escapedJson(JSON.stringify(value, null, oneLine ? undefined : 2));
  await print(new TextEncoder().encode(`${json}\n`));
}

/** Reports on standard error what an operation does. Warnings appear even when quiet. */
export function consoleReporter(level: "quiet" | "normal" | "verbose"): Reporter {
  const writeNow = (text: string) => {
    const bytes = new TextEncoder().encode(text);
    if (redirected) return void redirected("stderr", bytes);
    for (let at = 0; at < bytes.length;) at += Deno.stderr.writeSync(bytes.subarray(at));
  };
  const line = progress = new ProgressLine(!redirected && Deno.stderr.isTerminal(), writeNow, terminalColumns);
  const say = (text: string) => {
    line.close();
    writeNow(`hotboot: ${printableLines(withOptions(text, typed))}\n`);
  };
  return {
    step: level === "quiet" ? () => {} : say,
    detail: level === "verbose" ? say : () => {},
    warn: (text) => say(`warning: ${text}`),
    progress: level === "quiet" ? () => {} : (what, done, total) => line.show(printable(what), done, total),
  };
}

function terminalColumns(): number {
  try {
    return Deno.consoleSize().columns || Infinity; // 0: the terminal's size was never set
  } catch {
    return Infinity;
  }
}

async function write(to: "stdout" | "stderr", what: string | Uint8Array): Promise<void> {
  const bytes = typeof what === "string" ? new TextEncoder().encode(`${printableLines(what)}\n`) : what;
  await (redirected ? redirected(to, bytes) : writeAll(Deno[to], bytes));
}
