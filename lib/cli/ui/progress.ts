/** Shows how far a download is: on a terminal a line that is overwritten, elsewhere a line now and then. */

import { renderProgressLine } from "../../base/format.ts";

const TERMINAL_INTERVAL_MS = 100;
const PLAIN_INTERVAL_MS = 5000;
/** The time span over which the rate is measured. */
const WINDOW_MS = 5000;

/** Shows progress, one thing after the other. */
export class ProgressLine {
  #isTerminal: boolean;
  #columns: () => number;
  #write: (text: string) => void;
  #what = "";
  #seen: { time: number; done: number }[] = [];
  #shown = -Infinity;
  #isOpen = false;

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
    // A line that wraps could not be overwritten.
    this.#write(this.#isTerminal ? `\r${line.slice(0, Math.max(0, this.#columns() - 1))}\x1b[K` : `${line}\n`);
    this.#isOpen = this.#isTerminal;
    if (isDone) this.close();
  }

  /** Ends the line, so that something else can be written. */
  close(): void {
    if (this.#isOpen) this.#write("\n");
    this.#isOpen = false;
    this.#what = "";
  }
}
