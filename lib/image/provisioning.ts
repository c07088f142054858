/** Watches a machine while cloud-init sets it up: its output, its progress, and whether it is alive. */

import { HotbootError } from "../base/error.ts";
import { printable } from "../base/printable.ts";
import { GrowingFile } from "../base/growing_file.ts";
import { sleep } from "../base/wait.ts";
import type { Reporter } from "../instance/emulator.ts";

/** How many of the guest's last lines to show if it fails. */
const LAST_LINES = 20;
const POLL_MS = 200;
/** The most of one line: a guest may print without end. */
const LONGEST_LINE = 1 << 16;
/** How often to report that it continues, if there is nothing else to report. */
const HEARTBEAT_MS = 30_000;

/** Limits, in milliseconds. */
export interface Limits {
  /** For the whole setup. */
  timeoutMs: number;
  /** Without a sign of life. */
  silenceMs: number;
}

/** The lines of a growing file, as they come. */
export class LineTail {
  #file: GrowingFile;
  #rest = "";
  #decoder = new TextDecoder();

  /** @param path The file; it may not exist yet. */
  constructor(path: string) {
    this.#file = new GrowingFile(path);
  }

  /** The lines completed since the last call, made safe for a terminal. */
  async lines(): Promise<string[]> {
    const bytes = await this.#file.newBytes();
    const lines = (this.#rest + this.#decoder.decode(bytes, { stream: true })).split("\n");
    this.#rest = lines.pop()!.slice(-LONGEST_LINE);
    return lines.map(printable).filter((line) => line !== "");
  }
}

/** What the guest says on its two channels, and what follows from it. */
export class Provisioning {
  /** What to show if it fails: the last output of cloud-init's programs or, if there is none yet, of the console. */
  get lastLines(): string[] {
    return this.#output.length > 0 ? this.#output : this.#console;
  }

  /** Whether cloud-init has finished successfully. */
  isDone = false;

  #report: Reporter;
  #limits: Limits;
  #console: string[] = [];
  #output: string[] = [];
  #started: number;
  #alive: number;
  #told: number;

  /** @param now The time, in milliseconds from any origin. */
  constructor(report: Reporter, limits: Limits, now: number) {
    this.#report = report;
    this.#limits = limits;
    this.#started = this.#alive = this.#told = now;
  }

  /** Takes a line of the console. */
  hearConsole(line: string, now: number): void {
    this.#alive = now;
    this.#keep(this.#console, line);
  }

  /** Takes a line of the progress file. @throws {HotbootError} if it reports a failure. */
  hearProgress(line: string, now: number): void {
    this.#alive = now;
    const [, verb, text = ""] = line.match(/^(\S+)\s*(.*)$/) ?? [];
    if (verb === "step") {
      this.#report.step(text);
      this.#told = now;
    } else if (verb === "output") {
      if (text.startsWith("step ")) this.hearProgress(text, now); // in the form of a recipe's script
      else this.#keep(this.#output, text);
    } else if (verb === "failed") {
      throw new HotbootError(text || "it gave no reason");
    } else if (verb === "done") {
      this.isDone = true;
    }
  }

  /** Call it repeatedly. @throws {HotbootError} if a limit has passed. */
  check(now: number): void {
    const { timeoutMs, silenceMs } = this.#limits;
    if (now - this.#started > timeoutMs) throw new HotbootError(`it was not done within ${timeoutMs / 1000} s`);
    if (now - this.#alive > silenceMs) throw new HotbootError(`it showed no sign of life for ${silenceMs / 1000} s`);
    if (now - this.#told < HEARTBEAT_MS) return;
    this.#told = now;
    const last = this.lastLines.at(-1);
    const seconds = Math.round((now - this.#started) / 1000);
    this.#report.step(`cloud-init has been working for ${seconds} s${last ? `; last: ${last}` : ""}`);
  }

  #keep(lines: string[], line: string): void {
    if (line === "") return;
    this.#report.detail(line);
    lines.push(line);
    if (lines.length > LAST_LINES) lines.shift();
  }
}

/**
 * Returns when the guest reports that cloud-init has finished.
 *
 * @throws {HotbootError} if it failed, or a limit has passed; the guest's last lines have been reported then.
 */
export async function watchProvisioning(
  paths: { serial: string; progress: string },
  limits: Limits,
  report: Reporter,
  signal: AbortSignal,
): Promise<void> {
  const [serial, progress] = [new LineTail(paths.serial), new LineTail(paths.progress)];
  const provisioning = new Provisioning(report, limits, performance.now());
  try {
    while (true) {
      for (const line of await serial.lines()) provisioning.hearConsole(line, performance.now());
      for (const line of await progress.lines()) provisioning.hearProgress(line, performance.now());
      if (provisioning.isDone) return;
      provisioning.check(performance.now());
      await sleep(POLL_MS, signal);
    }
  } catch (error) {
    const { lastLines } = provisioning;
    if (lastLines.length > 0 && error instanceof HotbootError) {
      report.warn(["the guest's last lines:", ...lastLines].join("\n  "));
    }
    throw error;
  }
}
