/** Running hotboot's commands with `--json`. */

import { type ChildProcessByStdio, spawn } from "node:child_process";
import process from "node:process";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { text } from "node:stream/consumers";
import { binaryPath, startFailure } from "./binary.ts";
import { HotbootError } from "./error.ts";
import type { Failure } from "./results.ts";

/** Receives what a command says, each text as one line. It never gets a secret. */
export interface Reporter {
  /** A step begins, or the command says why it failed. */
  step?(text: string): void;
  /** Something that went wrong, or differs from what was asked for. */
  warn?(text: string): void;
}

/** Who runs a command. */
export interface Caller {
  readonly signal?: AbortSignal;
  readonly report?: Reporter;
}

/** Runs a command to its end, and gives what it prints. @throws {HotbootError} if it fails. */
export async function answer<T>(caller: Caller, args: string[]): Promise<T> {
  const running = begin(caller, args);
  running.child.stdin.end();
  const [printed] = await Promise.all([text(running.child.stdout), running.ended]);
  return running.read(printed);
}

/** A command that goes on until its standard input ends. */
export interface Held<T> {
  /** What it has printed first. */
  readonly first: T;
  /** Ends it: with a word to it, if there is one. */
  end(word?: string): Promise<void>;
}

/**
 * Starts such a command. It does not keep this process alive, and ends when that does.
 *
 * @throws {HotbootError} if it fails before it prints something.
 */
export async function hold<T>(caller: Caller, args: string[]): Promise<Held<T>> {
  const { child, ended, read } = begin(caller, args);
  let printed = "";
  const isThere = new Promise<void>((resolve) => {
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      printed += text;
      if (/^\{.*\}\n/.test(printed)) resolve(); // one line; why it failed takes several
    });
  });
  await Promise.race([isThere, ended]);
  const first = read<T>(printed);
  const handles = [child, child.stdin, child.stdout, child.stderr] as unknown as { ref(): void; unref(): void }[];
  for (const handle of handles) handle.unref();
  return {
    first,
    async end(word = "") {
      for (const handle of handles) handle.ref();
      child.stdin.end(word);
      if (await ended !== 0 && !caller.signal?.aborted) read("");
    },
  };
}

interface Running {
  child: ChildProcessByStdio<Writable, Readable, Readable>;
  /** Its exit code, when it has ended. */
  ended: Promise<number>;
  /** What it has printed. @throws {HotbootError} if that is why it failed. */
  read<T>(printed: string): T;
}

function begin({ signal, report = {} }: Caller, args: string[]): Running {
  signal?.throwIfAborted();
  const binary = binaryPath();
  const child = spawn(binary, args, {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, NO_COLOR: "1", FORCE_COLOR: undefined },
  });
  child.stdin.on("error", () => {}); // it has ended already, and says why
  const interrupt = () => child.kill("SIGINT"); // it cleans up
  signal?.addEventListener("abort", interrupt);
  let last = "";
  createInterface(child.stderr).on("line", (line) => {
    const [, warning, said] = line.match(/^hotboot: (warning: )?(.*)$/) ?? [];
    last = said ?? (line || last);
    if (warning) report.warn?.(said);
    else if (said !== undefined) report.step?.(said);
  });
  let code = 0;
  const ended = new Promise<number>((resolve, reject) => {
    child.on("error", (error) => reject(startFailure(binary, error)));
    child.on("close", (exitCode, killedBy) => {
      signal?.removeEventListener("abort", interrupt);
      code = exitCode ?? 1;
      if (killedBy) last = `hotboot was ended by ${killedBy}`;
      resolve(code);
    });
  });
  ended.catch(() => {}); // whoever waits for it hears of it
  const read = <T>(printed: string): T => {
    if (code !== 0) signal?.throwIfAborted();
    if (printed.trim() === "") throw new HotbootError(last || `hotboot ended with ${code}, and said nothing`, code);
    const value: T | Failure = JSON.parse(printed);
    if (isFailure(value)) throw new HotbootError(value.error, value.exitCode);
    return value;
  };
  return { child, ended, read };
}

function isFailure(value: unknown): value is Failure {
  return typeof value === "object" && value !== null && Object.hasOwn(value, "error") &&
    Object.hasOwn(value, "exitCode");
}
