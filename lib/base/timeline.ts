/** Where the time of a start went. */

/** A named span of time; spans may overlap. */
export interface Phase {
  /** What was done. */
  name: string;
  /** When it began, in milliseconds after the timeline's beginning. */
  startMs: number;
  /** When it ended, in the same unit. */
  endMs: number;
  /** It ended with an error, or was still going on when all of it ended. */
  failed?: true;
}

/** Records phases as they happen. */
export class Timeline {
  /** The phases that have ended, in the order of their ends. */
  readonly phases: Phase[] = [];
  #origin = performance.now();
  #open = new Set<{ name: string; startMs: number }>();

  /** Runs `work` as the phase called `name`. A phase that fails is recorded too. */
  async phase<T>(name: string, work: () => Promise<T>): Promise<T> {
    const begun = { name, startMs: this.elapsed() };
    this.#open.add(begun);
    const end = (failed?: true) => {
      if (this.#open.delete(begun)) this.record(name, begun.startMs, this.elapsed(), failed);
    };
    try {
      const result = await work();
      end();
      return result;
    } catch (error) {
      end(true);
      throw error;
    }
  }

  /** Adds a phase that was measured elsewhere. */
  record(name: string, startMs: number, endMs: number, failed?: true): void {
    this.phases.push({ name, startMs, endMs, ...(failed && { failed }) });
  }

  /** Ends the phases that still go on: something beside them has failed. */
  breakOff(): void {
    const now = this.elapsed();
    for (const { name, startMs } of this.#open) this.record(name, startMs, now, true);
    this.#open.clear();
  }

  /** Milliseconds since the timeline began. */
  elapsed(): number {
    return Math.round((performance.now() - this.#origin) * 10) / 10;
  }
}
