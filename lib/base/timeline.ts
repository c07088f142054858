/** Where the time of a start went. */

/** A named span of time; spans may overlap. */
export interface Phase {
  /** What was done. */
  name: string;
  /** When it began, in milliseconds after the timeline's beginning. */
  startMs: number;
  /** When it ended, in the same unit. */
  endMs: number;
}

/** Records phases as they happen. */
export class Timeline {
  /** The phases that have ended, in the order of their ends. */
  readonly phases: Phase[] = [];
  #origin = performance.now();

  /** Runs `work` as the phase called `name`. A phase that fails is recorded too. */
  async phase<T>(name: string, work: () => Promise<T>): Promise<T> {
    const startMs = this.elapsed();
    try {
      return await work();
    } finally {
      this.record(name, startMs, this.elapsed());
    }
  }

  /** Adds a phase that was measured elsewhere. */
  record(name: string, startMs: number, endMs: number): void {
    this.phases.push({ name, startMs, endMs });
  }

  /** Milliseconds since the timeline began. */
  elapsed(): number {
    return Math.round((performance.now() - this.#origin) * 10) / 10;
  }
}
