/**
 * `deno task bench [--smoke | --report] [SUBJECT…]`: how fast hotboot is. Figures are ratios within one run or times with a
 * limit, from the medians of several runs. Tables go to standard error, JSON to standard output.
 *
 * `--report` writes docs/benchmarks.md from them. `--from FILE` does so from a saved output, together with the subjects that
 * are named, if any.
 *
 * `--smoke` runs everything once, as small as possible, and judges nothing. Exit code 1: something failed or, without
 * `--smoke`, a target was missed.
 */

import { parseArgs } from "@std/cli/parse-args";
import { install, TESTS } from "../../dev/packages.ts";
import { bench as accelerator } from "./accelerator.ts";
import { bench as binary } from "./binary.ts";
import { bench as coldCache } from "./cold_cache.ts";
import { bench as demo } from "./demo.ts";
import { bench as engines } from "./engines.ts";
import { bench as exec } from "./exec.ts";
import { type Bench, isMet, Skipped, table } from "./figure.ts";
import { bench as fork } from "./fork.ts";
import { bench as iso } from "./iso.ts";
import { thisMachine } from "./machine.ts";
import { bench as memory } from "./memory.ts";
import { bench as oci } from "./oci.ts";
import { bench as pull } from "./pull.ts";
import { bench as release } from "./release.ts";
import { combine, readResults, type Results, writeReport } from "./report.ts";
import { bench as resume } from "./resume.ts";
import { bench as testing } from "./testing.ts";
import { bench as spare } from "./spare.ts";
import { bench as zstd } from "./zstd.ts";

const SUBJECTS: Record<string, Bench> = {
  resume,
  accelerator,
  memory,
  fork,
  testing,
  spare,
  exec,
  engines,
  iso,
  zstd,
  release,
  pull,
  oci,
  demo,
  binary,
  "cold-cache": coldCache,
};

/** How many subjects run side by side if nothing is judged. */
const AT_ONCE = 2;

const unknown: string[] = [];
const { smoke, report, from, help, _: given } = parseArgs(Deno.args, {
  boolean: ["smoke", "report", "help"],
  string: ["from"],
  collect: ["from"],
  alias: { help: "h" },
  unknown: (arg: string) => {
    const isKnown = Object.hasOwn(SUBJECTS, arg);
    if (!isKnown) unknown.push(arg);
    return isKnown;
  },
});
if (help || unknown.length > 0) {
  if (!help) console.error(`there is no subject or option '${unknown[0]}'\n`);
  (help ? console.log : console.error)(usage());
  Deno.exit(help ? 0 : 2);
}
if (smoke && (report || from.length > 0)) {
  console.error("--smoke judges nothing, so there is nothing to report: leave it out");
  Deno.exit(2);
}
const wanted = given.length > 0 || from.length > 0 ? given.map(String) : Object.keys(SUBJECTS);
const saved = await Promise.all(from.map(readResults));

await install(wanted.length > 0 ? TESTS : []);
const figures: Results["figures"] = [];
const skipped: Results["skipped"] = [];
const [failed, missed]: string[][] = [[], []];
const begin = performance.now();
const queue = wanted.values();
await Promise.all(Array.from({ length: smoke ? AT_ONCE : 1 }, async () => {
  for (const name of queue) await run(name);
}));
const outcomes = Object.entries({ skipped: skipped.map(({ subject }) => subject), failed, "targets missed": missed })
  .map(([what, names]) => names.length > 0 ? `; ${what}: ${names.join(", ")}` : "");
console.error(`subjects: ${wanted.length} in ${since(begin)}${outcomes.join("")}`);
if (wanted.length > 0) {
  const measured = { date: new Date().toISOString(), machine: await thisMachine(), skipped, failed, figures };
  if (!smoke) console.log(JSON.stringify(measured, null, 2));
  saved.push(measured);
}
if (report || from.length > 0) await writeReport(combine(saved), SUBJECTS);
Deno.exit(failed.length + missed.length === 0 ? 0 : 1);

async function run(name: string): Promise<void> {
  const { about, [smoke ? "smoke" : "full"]: scale } = SUBJECTS[name];
  console.error(`${name} (${about}): takes ${duration(scale.seconds)}, about`);
  const begin = performance.now();
  try {
    const measured = await SUBJECTS[name].measure(scale);
    const none = measured.find(({ value }) => !Number.isFinite(value));
    if (none) throw new Error(`${none.name}: came out as ${none.value}`);
    figures.push(...measured.map((figure) => ({ subject: name, ...figure })));
    if (smoke) return;
    console.error(table(measured));
    if (!measured.every(isMet)) missed.push(name);
  } catch (error) {
    if (error instanceof Skipped) {
      skipped.push({ subject: name, why: error.message });
      return console.error(`${name} is SKIPPED: ${error.message}`);
    }
    failed.push(name);
    console.error(`${name} FAILED:\n${explain(error)}`);
  } finally {
    console.error(`${name}: took ${since(begin)}`);
  }
}

function usage(): string {
  const rows = Object.entries(SUBJECTS).map(([name, { about, full, smoke }]) =>
    [name.padEnd(11), duration(full.seconds).padStart(7), duration(smoke.seconds).padStart(7), `  ${about}`].join("  ")
  );
  const all = (size: "full" | "smoke", atOnce: number) =>
    duration(Object.values(SUBJECTS).reduce((sum, bench) => sum + bench[size].seconds / atOnce, 0)).padStart(7);
  return [
    "Usage: deno task bench [--smoke | --report] [--from FILE]… [SUBJECT…]",
    "",
    "Measures the subjects (by default all) and judges their figures. --smoke: runs each once, and judges nothing.",
    "--report: also writes docs/benchmarks.md. --from FILE: writes it from what an earlier run has printed, and measures only",
    "the subjects that are named.",
    "",
    `${"SUBJECT".padEnd(11)}    takes  --smoke`,
    ...rows,
    `${"all".padEnd(11)}  ${all("full", 1)}  ${all("smoke", AT_ONCE)}`,
  ].join("\n");
}

function since(begin: number): string {
  return duration((performance.now() - begin) / 1000);
}

function duration(seconds: number): string {
  return seconds < 90 ? `${seconds.toFixed(0)} s` : `${(seconds / 60).toFixed(1)} min`;
}

function explain(error: unknown): string {
  return (error instanceof Error && error.stack) || String(error);
}
