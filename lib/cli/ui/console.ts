/** The terminal: results on standard output, everything else on standard error. */

import { withOptions } from "../../base/advice.ts";
import { HotbootError, messageOf } from "../../base/error.ts";
import type { Reporter } from "../../instance/emulator.ts";
import { columnsOf, paint } from "./display.ts";
import { ProgressLine } from "./progress.ts";
import { writeAll } from "../../base/io.ts";
import { escapedJson, printable, printableLines } from "../../base/printable.ts";

/** Prints bytes as they are, or a text and a newline, on standard output. */
export async function print(what: string | Uint8Array): Promise<void> {
  leaveOutput();
  try {
    await write("stdout", what);
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) throw error;
    throw new HotbootError(
      `standard output cannot be written (${messageOf(error)}): free some space, or send it elsewhere`,
    );
  }
}

/** Whether standard output has something on it, or belongs to a program. */
let isOutputTaken = false;

/** From now on a program, or something that has no end in sight, has the terminal: nothing is shown there meanwhile. */
export function leaveOutput(): void {
  isOutputTaken = true;
  progress?.rest();
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

/** The text with those options in each command in it. */
export function advised(text: string): string {
  return withOptions(text, typed);
}

/** Prints bytes as they are, or a message and a newline, on standard error. */
export async function printError(what: string | Uint8Array): Promise<void> {
  progress?.close();
  await write("stderr", typeof what === "string" ? advised(what) : what);
}

/** Prints why a command failed: on standard error and, with `isJson`, also as the result that there is none of. */
export async function printFailure(
  text: string,
  { exitCode, isJson }: { exitCode: number; isJson: boolean },
): Promise<void> {
  const error = advised(text);
  progress?.rest();
  await printError(new TextEncoder().encode(`${paint("hotboot:", "red", Deno.stderr)} ${printableLines(error)}\n`));
  if (isJson && !isOutputTaken) await printJson({ error, exitCode }).catch(() => {}); // the reader may have gone
}

/** Prints a value as JSON on standard output, indented or, for a program that reads line by line, in one line. */
export async function printJson(value: unknown, { oneLine = false } = {}): Promise<void> {
  const json = escapedJson(JSON.stringify(value, null, oneLine ? undefined : 2));
  await print(new TextEncoder().encode(`${json}\n`));
}

/** Reports on standard error what an operation does. Warnings appear even when quiet. */
export function consoleReporter(level: "quiet" | "normal" | "verbose"): Reporter {
  const line = progressLine();
  const say = (text: string, begin = "") => {
    line.close();
    writeNow(`hotboot: ${begin}${printableLines(advised(text))}\n`);
  };
  const step = (text: string) => {
    say(text);
    if (isWorkShown) line.work(printable(text));
  };
  return {
    step: level === "quiet" ? () => {} : step,
    detail: level === "verbose" ? (text) => say(text) : () => {},
    warn: (text) => say(text, `${paint("warning:", "yellow", Deno.stderr)} `),
    progress: level === "quiet" ? () => {} : (what, done, total) => line.show(printable(what), done, total),
  };
}

/** Whether the terminal is the command's own, to show on it that it is at work. */
let isWorkShown = false;

/** While the command prints nothing, a terminal shows that it is at work on `what`, or on its last step, and for how long. */
export function showWork(what: string): void {
  isWorkShown = true;
  progressLine().work(what);
}

/** Clears what only a terminal shows. */
export function endWork(): void {
  progress?.rest();
}

function progressLine(): ProgressLine {
  return progress ??= new ProgressLine(!redirected && Deno.stderr.isTerminal(), writeNow, () => columnsOf(Deno.stderr));
}

function writeNow(text: string): void {
  const bytes = new TextEncoder().encode(text);
  if (redirected) return void redirected("stderr", bytes);
  for (let at = 0; at < bytes.length;) at += Deno.stderr.writeSync(bytes.subarray(at));
}

async function write(to: "stdout" | "stderr", what: string | Uint8Array): Promise<void> {
  const bytes = typeof what === "string" ? new TextEncoder().encode(`${printableLines(what)}\n`) : what;
  await (redirected ? redirected(to, bytes) : writeAll(Deno[to], bytes));
}
