/**
 * The last runs of the commands that start, stop or save an instance, with where the time of each went. They are in the
 * instance's directory, one a line, until the instance is reset.
 */

import { isMissing, messageOf } from "../base/error.ts";
import { writeWhole } from "../base/files.ts";
import { printable } from "../base/printable.ts";
import { type Phase, Timeline } from "../base/timeline.ts";
import { instancePath } from "./channels.ts";
import type { Emulator, InstancePlace } from "./emulator.ts";
import { requireNoLinks } from "./home.ts";

/** How a command went. */
export interface RecordedRun {
  /** The command: `save` is `snapshot save`, or what a fork does to its source. */
  command: "start" | "fork" | "stop" | "restart" | "capture" | "save";
  /** How it was done, if it was: `resume`, `suspended`, the name of what was saved. */
  how?: string;
  /** When it began, ISO 8601. */
  began: string;
  /** What it took, in milliseconds. */
  ms: number;
  /** Whether it did what it was to do, could not, or was interrupted. */
  outcome: "done" | "failed" | "cancelled";
  /** The reason, if it did not. */
  why?: string;
  /** Where the time went, by the begin of each step. */
  timeline: Phase[];
}

const COMMANDS: RecordedRun["command"][] = ["start", "fork", "stop", "restart", "capture", "save"];
const OUTCOMES: RecordedRun["outcome"][] = ["done", "failed", "cancelled"];
const KEPT = 20;
const MOST_STEPS = 100;
const LONGEST_NAME = 80;
const LONGEST_WHY = 500;
/** More than that many runs can be. A longer file is none of hotboot's. */
const LONGEST_FILE = 2 ** 20;

/**
 * Does `work` under the instance's lock, and writes down how it went. An instance that has no directory has nothing to look
 * back at, and gets none.
 *
 * @param how How it was done, for people; `undefined` if there was nothing to do: that is not written down.
 */
export async function recorded<T>(
  emulator: Emulator,
  command: RecordedRun["command"],
  work: (timeline: Timeline) => Promise<T>,
  how: (result: T) => string | undefined,
): Promise<T> {
  const timeline = new Timeline();
  const began = new Date().toISOString();
  const keep = (end: Pick<RecordedRun, "outcome" | "how" | "why">) => {
    timeline.breakOff();
    const run = { command, began, ms: timeline.elapsed(), ...end, timeline: timeline.phases };
    return append(emulator, run).catch((error) => emulator.report.detail(`no timeline is kept: ${messageOf(error)}`));
  };
  let result: T;
  try {
    result = await work(timeline);
  } catch (error) {
    await keep({ outcome: emulator.signal.aborted ? "cancelled" : "failed", why: messageOf(error) });
    throw error;
  }
  const done = how(result);
  if (done !== undefined) await keep({ outcome: "done", how: done });
  return result;
}

async function append(place: InstancePlace, run: RecordedRun): Promise<void> {
  const directory = place.home.instance(place.instance);
  if (!(await Deno.lstat(directory).catch(() => undefined))) return;
  await requireNoLinks(directory);
  const runs = [...await history(place), asRun(run)!].slice(-KEPT);
  await writeWhole(instancePath(place, "timeline"), runs.map((each) => JSON.stringify(each) + "\n").join(""));
}

/**
 * How the last commands on the instance went, and where their time went: what `hotboot timeline` draws. These are at most 20
 * of `start`, `fork`, `stop`, `restart`, `capture` and `saveCheckpoint`, also those that failed.
 *
 * Needs read permission for the home.
 *
 * @param emulator The emulator, from {@linkcode openEmulator}.
 * @returns The runs, the newest last; what cannot be understood is left out. Names of steps may be a guest's or a profile's.
 * @throws The system's error if the home cannot be read.
 *
 * @example
 * ```ts
 * import { history, openEmulator } from "@hotboot/hotboot";
 *
 * for (const { command, ms, timeline } of await history(await openEmulator({ profile: "demo" }))) {
 *   console.log(command, ms, "ms", timeline.map(({ name }) => name));
 * }
 * ```
 */
export async function history(emulator: Pick<Emulator, "home" | "instance">): Promise<RecordedRun[]> {
  const path = instancePath(emulator, "timeline");
  try {
    const { isFile, size } = await Deno.lstat(path);
    if (!isFile || size > LONGEST_FILE) return [];
    const lines = (await Deno.readTextFile(path)).split("\n");
    return lines.flatMap((line) => asRun(parsed(line)) ?? []).slice(-KEPT);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/** The value as a run, within limits; `undefined` if it is none. */
function asRun(value: unknown): RecordedRun | undefined {
  const { command, how, began, ms, outcome, why, timeline } = Object(value);
  const isRun = COMMANDS.includes(command) && OUTCOMES.includes(outcome) && isTime(ms) && Array.isArray(timeline) &&
    typeof began === "string" && !Number.isNaN(Date.parse(began));
  if (!isRun) return undefined;
  const text = (name: string, given: unknown, longest: number) =>
    typeof given === "string" && { [name]: printable(given).slice(0, longest) };
  return {
    command,
    ...text("how", how, LONGEST_NAME),
    began: new Date(began).toISOString(),
    ms,
    outcome,
    ...text("why", why, LONGEST_WHY),
    timeline: timeline.flatMap((each) => asPhase(each, ms) ?? []).slice(0, MOST_STEPS)
      .sort((one, other) => one.startMs - other.startMs),
  };
}

/** A step, within the run that it belongs to. */
function asPhase(value: unknown, ms: number): Phase | undefined {
  const { name, startMs, endMs, failed } = Object(value);
  if (typeof name !== "string" || !isTime(startMs) || !isTime(endMs) || startMs > endMs) return undefined;
  return {
    name: printable(name).slice(0, LONGEST_NAME),
    startMs: Math.min(startMs, ms),
    endMs: Math.min(endMs, ms),
    ...(failed === true && { failed }),
  };
}

/** Whether it is a number of milliseconds, up to some days. */
function isTime(value: unknown): value is number {
  return typeof value === "number" && value >= 0 && value <= 1e9;
}

/** Where a run that did not succeed ended: in this step, or after it; `undefined`: before the first. */
export function endedAt({ timeline }: RecordedRun): { step: string; within: boolean } | undefined {
  const last = timeline.reduce<Phase | undefined>(
    (last, each) => last && last.endMs > each.endMs ? last : each,
    undefined,
  );
  const failed = timeline.filter((each) => each.failed && each.endMs === last!.endMs)[0];
  return last && { step: (failed ?? last).name, within: failed !== undefined };
}
