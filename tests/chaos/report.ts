/** `docs/chaos.md`, from the results of one or several runs. */

import { ROOT } from "../../dev/deno.ts";
import type { Machine } from "../bench/machine.ts";
import type { Failure, Row, Subject } from "./subject.ts";

/** What a run has found: its output. */
export interface Results {
  /** When, ISO 8601. */
  date: string;
  machine: Machine;
  /** What was broken: the compiled program or the source. */
  program: string;
  rows: Row[];
  failures: Failure[];
  /** Subjects that cannot be run there, and why. */
  skipped: { subject: string; why: string }[];
}

const PAGE = `${ROOT}docs/chaos.md`;
/** How many of the things that users saw are shown. */
const MOST_SEEN = 3;

/** Reads results that were saved. @throws {Error} if a file has none. */
export async function readResults(path: string): Promise<Results> {
  const found = JSON.parse(await Deno.readTextFile(path));
  const isComplete = typeof found?.date === "string" &&
    [found.rows, found.failures, found.skipped].every(Array.isArray);
  if (!isComplete) throw new Error(`${path} has no results: name a file with the output of 'deno task chaos'`);
  return found;
}

/** The sum of several runs. */
export function combine(all: Results[]): Results {
  const rows = new Map<string, Row>();
  for (const { subject, fault, runs, survived, seen } of all.flatMap(({ rows }) => rows)) {
    if (runs === 0) continue; // interrupted
    const key = `${subject} ${fault}`;
    const sum = rows.get(key) ?? { subject, fault, runs: 0, survived: 0, seen: {} };
    sum.runs += runs;
    sum.survived += survived;
    for (const [what, times] of Object.entries(seen)) sum.seen[what] = (sum.seen[what] ?? 0) + times;
    rows.set(key, sum);
  }
  const last = all.at(-1)!;
  const skipped = new Map(all.flatMap(({ skipped }) => skipped).map((each) => [each.subject, each]));
  return {
    ...last,
    program: [...new Set(all.map(({ program }) => program))].join(" and "),
    rows: [...rows.values()],
    failures: all.flatMap(({ failures }) => failures),
    skipped: [...skipped.values()],
  };
}

/** The rows as a table for a terminal. */
export function table(rows: Row[]): string {
  const width = Math.max(0, ...rows.map(({ fault }) => fault.length));
  return rows.map(({ fault, runs, survived, seen }) =>
    `${fault.padEnd(width)}  ${`${survived}/${runs}`.padStart(9)}  ${shown(seen)}`.trimEnd()
  ).join("\n");
}

function shown(seen: Record<string, number>): string {
  const all = Object.entries(seen).toSorted(([, a], [, b]) => b - a);
  const most = all.slice(0, MOST_SEEN).map(([what, times]) => all.length === 1 ? what : `${what}: ${times}`);
  return most.join("; ") + (all.length > MOST_SEEN ? "; …" : "");
}

/** Writes the page. */
export async function writeReport(results: Results, subjects: Record<string, Subject>): Promise<void> {
  const { machine, date, program, rows, failures, skipped } = results;
  const facts: Record<string, string | number> = { ...machine, broken: program, date: date.slice(0, 10) };
  const sections = Object.entries(subjects).flatMap(([name, { about, survived }]) => {
    const own = rows.filter(({ subject }) => subject === name).toSorted((a, b) => a.fault.localeCompare(b.fault));
    if (own.length === 0) return [];
    return [
      `## ${name}`,
      "",
      `${about[0].toUpperCase()}${about.slice(1)}. \`deno task chaos ${name}\``,
      "",
      `Survived: ${survived}`,
      "",
      "| fault | runs | survived | what a user sees |",
      "| --- | --- | --- | --- |",
      ...own.map(({ fault, runs, survived, seen }) =>
        `| ${cell(fault)} | ${runs} | ${survived === runs ? survived : `**${survived}**`} | ${cell(shown(seen))} |`
      ),
      "",
    ];
  });
  const inputs = rows.filter(({ subject }) => subject === "hostile");
  const others = rows.filter(({ subject }) => subject !== "hostile");
  const sum = (rows: Row[], key: "runs" | "survived") => rows.reduce((total, row) => total + row[key], 0);
  const text = [
    "# What hotboot survives",
    "",
    "`deno task chaos --report` writes this page. Each row is a fault that a run has caused in the real thing, and what came",
    "of it.",
    "",
    `hotboot survived ${sum(others, "survived")} of ${sum(others, "runs")} faults, and ${sum(inputs, "survived")} of ${
      sum(inputs, "runs")
    } hostile inputs.`,
    "",
    "<!-- only parsed: it breaks things for a long time -->",
    "",
    "```sh",
    "npx -y deno@2.9.6 task chaos                        # all of it, in a checkout",
    "npx -y deno@2.9.6 task chaos --seed 17 --runs 1 death   # one run again",
    "```",
    "",
    "| | |",
    "| --- | --- |",
    ...Object.entries(facts).map(([name, value]) => `| ${name} | ${cell(String(value))} |`),
    "",
    ...sections,
    ...failures.length === 0 ? [] : [
      "## What did not survive",
      "",
      ...failures.map(({ subject, fault, seed, what }) => `- ${subject}, ${fault}, seed ${seed}: ${oneLine(what)}`),
      "",
    ],
    ...skipped.length === 0 ? [] : ["## Not run", "", ...skipped.map(({ subject, why }) => `- ${subject}: ${why}`), ""],
  ].join("\n");
  await Deno.writeTextFile(PAGE, text);
  await new Deno.Command(Deno.execPath(), { args: ["fmt", "-q", PAGE], cwd: ROOT }).output();
}

function oneLine(text: string): string {
  return text.split("\n")[0];
}

/** Without what Markdown would obey. */
function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("<", "&lt;").replaceAll("\n", " ");
}
