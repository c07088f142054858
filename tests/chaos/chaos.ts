/**
 * `deno task chaos [--ci | --report] [--seed N] [--runs N] [--from FILE]… [SUBJECT…]`: breaks hotboot on purpose, and shows
 * what it survives. Tables and failures go to standard error, the results as JSON to standard output.
 *
 * Each run has a seed, which failures name; `--seed N --runs 1 SUBJECT` repeats it. `--ci` does a small part, in about ten minutes. `--report`
 * writes docs/chaos.md, from this run and from the saved outputs that `--from` names. HOTBOOT_TEST_BINARY names a compiled
 * hotboot to break in place of the source. Exit code 1: something did not survive.
 */

import { parseArgs } from "@std/cli/parse-args";
import { install, TESTS } from "../../dev/packages.ts";
import { thisMachine } from "../bench/machine.ts";
import { subject as concurrency } from "./concurrency.ts";
import { sleeping, subject as death } from "./death.ts";
import { subject as disk } from "./disk.ts";
import { subject as filesystems } from "./filesystems.ts";
import { subject as guest } from "./guest.ts";
import { subject as hostile } from "./hostile.ts";
import { subject as power } from "./power.ts";
import { combine, readResults, type Results, table, writeReport } from "./report.ts";
import { subject as sandbox } from "./sandbox.ts";
import { subject as soak } from "./soak.ts";
import { Skipped, type Subject, Tally } from "./subject.ts";
import { subject as time } from "./time.ts";

const SUBJECTS: Record<string, Subject> = {
  death,
  concurrency,
  disk,
  power,
  guest,
  hostile,
  filesystems,
  sandbox,
  sleep: sleeping,
  soak,
  time,
};

const unknown: string[] = [];
const { ci, report, help, seed, runs, from, _: given } = parseArgs(Deno.args, {
  boolean: ["ci", "report", "help"],
  string: ["seed", "runs", "from"],
  collect: ["from"],
  alias: { help: "h" },
  unknown: (arg: string) => {
    const isKnown = Object.hasOwn(SUBJECTS, arg);
    if (!isKnown) unknown.push(arg);
    return isKnown;
  },
});
const numbers = { seed, runs };
for (const [name, value] of Object.entries(numbers)) {
  if (value !== undefined && !/^[0-9]{1,9}$/.test(value)) unknown.push(`--${name} ${value}`);
}
if (help || unknown.length > 0) {
  if (!help) console.error(`there is no subject or option '${unknown[0]}'\n`);
  (help ? console.log : console.error)(usage());
  Deno.exit(help ? 0 : 2);
}
const wanted = given.length > 0 || from.length > 0 ? given.map(String) : Object.keys(SUBJECTS);
const firstSeed = Number(seed ?? (ci ? 1 : Math.floor(Math.random() * 1_000_000)));
const saved = await Promise.all(from.map(readResults));

await install(wanted.length > 0 ? TESTS : []);
const results: Results = {
  date: new Date().toISOString(),
  machine: await thisMachine(),
  program: Deno.env.has("HOTBOOT_TEST_BINARY") ? "the compiled program" : "the source",
  rows: [],
  failures: [],
  skipped: [],
};
const tallies: Tally[] = [];
/** What is known so far. */
const soFar = (): Results => ({
  ...results,
  rows: tallies.flatMap(({ rows }) => rows),
  failures: tallies.flatMap(({ failures }) => failures),
});
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(signal, () => {
    console.log(JSON.stringify(soFar(), null, 2)); // a run that was begun is not in it
    Deno.exit(130);
  });
}
for (const name of wanted) await run(name);
Object.assign(results, soFar());
if (wanted.length > 0) {
  console.log(JSON.stringify(results, null, 2));
  saved.push(results);
}
if (report) await writeReport(combine(saved), SUBJECTS);
const survived = results.rows.filter((row) => row.survived === row.runs).length;
console.error(`kinds of fault: ${survived} survived, ${results.rows.length - survived} did not`);
Deno.exit(results.failures.length === 0 ? 0 : 1);

async function run(name: string): Promise<void> {
  const { about, [ci ? "ci" : "full"]: scale } = SUBJECTS[name];
  console.error(`${name} (${about}): seed ${firstSeed}`);
  const tally = new Tally(name);
  tallies.push(tally);
  const begin = performance.now();
  try {
    await SUBJECTS[name].run({ seed: firstSeed, runs: Number(runs ?? scale.runs), tally });
  } catch (error) {
    if (error instanceof Skipped) {
      results.skipped.push({ subject: name, why: error.message });
      return console.error(`${name} is SKIPPED: ${error.message}`);
    }
    await tally.run("the subject itself", firstSeed, () => Promise.reject(error));
  } finally {
    console.error(table(tally.rows));
    console.error(`${name}: took ${((performance.now() - begin) / 1000).toFixed()} s\n`);
  }
}

function usage(): string {
  const rows = Object.entries(SUBJECTS).map(([name, { about, full, ci }]) =>
    [name.padEnd(12), `${full.seconds} s`.padStart(7), `${ci.seconds} s`.padStart(6), ` ${about}`].join("  ")
  );
  return [
    "Usage: deno task chaos [--ci | --report] [--seed N] [--runs N] [--from FILE]… [SUBJECT…]",
    "",
    "Breaks the subjects (by default all). Each run has a seed: --seed N --runs 1 SUBJECT repeats it. --ci does a small part.",
    "--report writes docs/chaos.md, also from what earlier runs have printed: --from FILE.",
    "",
    `${"SUBJECT".padEnd(12)}    takes    --ci`,
    ...rows,
  ].join("\n");
}
