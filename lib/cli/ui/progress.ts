/**
 * Shows how far a download is: on a terminal a line that is overwritten, elsewhere a line now and then. A terminal also shows
 * how long other work takes.
 */

import { formatDuration, renderProgressLine } from "../../base/format.ts";

const TERMINAL_INTERVAL_MS = 100;
const PLAIN_INTERVAL_MS = 5000;
/** The time span over which the rate is measured. */
const WINDOW_MS = 5000;
/** How long nothing is said of other work, and how often afterwards. */
const WORK_INTERVAL_MS = 1000;

/** Shows progress, one thing after the other. */
export class ProgressLine {
  #isTerminal: boolean;
  #columns: () => number;
  #write: (text: string) => void;
  #what = "";
  #seen: { time: number; done: number }[] = [];
  #shown = -Infinity;
  #isOpen = false;
  #work: { what: string; since: number; timer: ReturnType<typeof setInterval> } | undefined;
  #isWorkShown = false;

  /**
   * @param write Gets the text to write.
   * @param columns The terminal's current width.
   */
  constructor(isTerminal: boolean, write: (text: string) => void, columns: () => number = () => Infinity) {
    this.#columns = columns;
    this.#isTerminal = isTerminal;
    this.#write = write;
  }

  /** Shows that `done` of `total` bytes are there, if it is time to. Equal numbers end the line. */
  show(what: string, done: number, total: number, now = performance.now()): void {
    if (what !== this.#what) {
      this.close();
      this.#what = what;
      this.#seen = [];
      this.#shown = this.#isTerminal ? -Infinity : now;
    }
    this.#seen.push({ time: now, done });
    while (this.#seen.length > 2 && now - this.#seen[0].time > WINDOW_MS) this.#seen.shift();
    const isDone = done === total;
    if (!isDone && now - this.#shown < (this.#isTerminal ? TERMINAL_INTERVAL_MS : PLAIN_INTERVAL_MS)) return;
    this.#shown = now;
    const [first] = this.#seen;
    const rate = now > first.time ? Math.max(0, done - first.done) / ((now - first.time) / 1000) : 0;
    const line = `hotboot: ${what}  ${renderProgressLine(done, total, rate)}`;
    if (this.#isTerminal) this.#overwrite(line);
    else this.#write(`${line}\n`);
    this.#isOpen = this.#isTerminal;
    this.#isWorkShown = false;
    if (isDone) this.close();
  }

  /** From now on, while nothing else is shown, a terminal shows each second that `what` is being done, and for how long. */
  work(what: string, since = performance.now()): void {
    this.rest();
    if (!this.#isTerminal) return;
    const timer = setInterval(() => this.#showWork(), WORK_INTERVAL_MS);
    this.#work = { what, since, timer };
  }

  /** Ends that. */
  rest(): void {
    this.close();
    clearInterval(this.#work?.timer);
    this.#work = undefined;
  }

  /** Ends the line, so that something else can be written. */
  close(): void {
    if (this.#isOpen) this.#write("\n");
    if (this.#isWorkShown) this.#write("\r\x1b[K");
    this.#isOpen = false;
    this.#isWorkShown = false;
    this.#what = "";
  }

  #showWork(): void {
    if (this.#isOpen || !this.#work) return;
    const { what, since } = this.#work;
    this.#overwrite(`hotboot: ${what}  ${formatDuration((performance.now() - since) / 1000)}`);
    this.#isWorkShown = true;
  }

  /** A line that wraps could not be overwritten. */
  #overwrite(line: string): void {
    this.#write(`\r${line.slice(0, Math.max(0, this.#columns() - 1))}\x1b[K`);
  }
}
