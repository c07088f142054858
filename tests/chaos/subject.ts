/** What the subjects of `deno task chaos` share: how much to do, and what came of it. */

/** How much a subject does. */
export interface Scale {
  /** How many runs; each has a seed of its own. */
  runs: number;
  /** About how long it takes, in seconds, on two CPUs without hardware acceleration. */
  seconds: number;
}

/** What a subject is told. */
export interface Order {
  /** The first run's seed; each next run has the next one. */
  seed: number;
  runs: number;
  tally: Tally;
}

/** One kind of chaos. */
export interface Subject {
  /** What is broken. */
  about: string;
  /** What must hold for a run to count as survived; a sentence. */
  survived: string;
  full: Scale;
  /** A small part, for CI. */
  ci: Scale;
  /** @throws {Skipped} if it cannot be done here; another error ends it and counts as a failure. */
  run(order: Order): Promise<void>;
}

/** Why a subject cannot be run here. */
export class Skipped extends Error {}

/** A row of the report. */
export interface Row {
  subject: string;
  fault: string;
  runs: number;
  survived: number;
  /** What a user saw, and how often. */
  seen: Record<string, number>;
}

/** A run that ended wrongly. */
export interface Failure {
  subject: string;
  fault: string;
  seed: number;
  what: string;
}

/** How much of a failure is printed at once; the results have all of it. */
const MOST_LINES = 20;

/** Counts the runs of one subject. */
export class Tally {
  readonly rows: Row[] = [];
  readonly failures: Failure[] = [];

  constructor(readonly subject: string) {}

  /** One run, or `runs` of them. @param work Returns what a user saw, if that is worth telling. It throws if the run failed. */
  async run(
    fault: string,
    seed: number,
    work: () => Promise<string | undefined | void> | string | undefined | void,
    runs = 1,
  ): Promise<boolean> {
    const row = this.#row(fault);
    try {
      const seen = await work();
      row.runs += runs;
      row.survived += runs;
      if (seen) row.seen[seen] = (row.seen[seen] ?? 0) + runs;
      return true;
    } catch (error) {
      row.runs += runs;
      const what = textOf(error);
      this.failures.push({ subject: this.subject, fault, seed, what });
      console.error(`${this.subject}: ${fault}, seed ${seed}: ${what.split("\n").slice(0, MOST_LINES).join("\n")}`);
      return false;
    }
  }

  #row(fault: string): Row {
    const found = this.rows.find((row) => row.fault === fault);
    if (found) return found;
    const row = { subject: this.subject, fault, runs: 0, survived: 0, seen: {} };
    this.rows.push(row);
    return row;
  }
}

function textOf(error: unknown): string {
  if (error instanceof SuppressedError) return `${textOf(error.suppressed)}\nand then: ${textOf(error.error)}`;
  return error instanceof Error ? error.stack ?? error.message : String(error);
}

/** What a user sees, without what differs from run to run: times, ids, paths, numbers of processes. */
export function plain(text: string): string {
  return text
    .replaceAll(/\d{8}T\d{6}Z-[0-9a-f]{4}/g, "ID")
    .replaceAll(/(?<![\w.])\/(?:[^\s'/:,;()]+\/)*([^\s'/:,;()]+)/g, "…/$1")
    .replaceAll(/\b\d+(\.\d+)?( ?(ms|s|min|MB|kB|GB|MiB|KiB|bytes|B))\b/g, "N$2")
    .replaceAll(/\bprocess \d+/g, "process N")
    .trim();
}

/** hotboot's last message, without what differs from run to run. */
export function lastMessage(stderr: string): string {
  const lines = stderr.split(/[\n\r]/).filter((line) => line.startsWith("hotboot: "));
  return plain((lines.at(-1) ?? "").replace("hotboot: ", ""));
}
