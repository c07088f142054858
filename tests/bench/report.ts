/** `docs/benchmarks.md`, with a chart for each subject, from the results of one or several runs on one machine. */

import { ensureDir } from "@std/fs/ensure-dir";
import { ROOT } from "../../dev/deno.ts";
import { type Chart, renderChart } from "../../lib/cli/ui/svg.ts";
import { type Bench, type Figure, formatFigure, formatMedians, formatTarget, isMet } from "./figure.ts";
import type { Machine } from "./machine.ts";

/** What a run of the benchmarks has measured: its output. */
export interface Results {
  /** When it was measured, ISO 8601. */
  date: string;
  machine: Machine;
  /** Those that cannot be measured there, and why. */
  skipped: { subject: string; why: string }[];
  /** Those that did not run to their end. */
  failed: string[];
  figures: (Figure & { subject: string })[];
}

const PAGE = "docs/benchmarks.md";
const CHARTS = "docs/benchmarks";
/** Where a chart's scale ends, if the target is at 1. */
const SCALE_END = 3;

/** Reads results that were saved. @throws {Error} if a file has none. */
export async function readResults(path: string): Promise<Results> {
  const found = JSON.parse(await Deno.readTextFile(path));
  const isComplete = typeof found?.date === "string" && found.machine && Array.isArray(found.figures) &&
    Array.isArray(found.skipped) && Array.isArray(found.failed);
  if (!isComplete) throw new Error(`${path} has no results: name a file with the output of 'deno task bench'`);
  return found;
}

/** The results of several runs as those of one: the later ones count. @throws {Error} if they are of different machines. */
export function combine(all: Results[]): Results {
  const last = all.at(-1)!;
  const other = all.find(({ machine }) => JSON.stringify(machine) !== JSON.stringify(last.machine));
  if (other) {
    throw new Error(
      `the results are of different machines: ${JSON.stringify(other.machine)} and ${JSON.stringify(last.machine)}`,
    );
  }
  return all.reduce((before, after) => {
    const again = new Set([...after.figures, ...after.skipped].map(({ subject }) => subject).concat(after.failed));
    const isOld = ({ subject }: { subject: string }) => !again.has(subject);
    return {
      ...after,
      skipped: [...before.skipped.filter(isOld), ...after.skipped],
      failed: [...before.failed.filter((subject) => !again.has(subject)), ...after.failed],
      figures: [...before.figures.filter(isOld), ...after.figures],
    };
  });
}

/** Writes the page and its charts. */
export async function writeReport(results: Results, subjects: Record<string, Bench>): Promise<void> {
  await Deno.remove(ROOT + CHARTS, { recursive: true }).catch(() => {});
  await ensureDir(ROOT + CHARTS);
  for (const [name, { about }] of Object.entries(subjects)) {
    const chart = chartOf(name, about, results.figures.filter(({ subject }) => subject === name));
    if (chart) await Deno.writeTextFile(`${ROOT}${CHARTS}/${name}.svg`, renderChart(chart));
  }
  await Deno.writeTextFile(ROOT + PAGE, renderReport(results, subjects));
  const { success } = await new Deno.Command(Deno.execPath(), { args: ["fmt", "-q", PAGE], cwd: ROOT }).output();
  if (!success) throw new Error(`deno fmt refuses ${PAGE}`);
}

/** The figures that have targets, each by how many times better it is than its target; `undefined` if there are none. */
export function chartOf(name: string, about: string, figures: Figure[]): Chart | undefined {
  const judged = figures.filter(({ target }) => target);
  if (judged.length === 0) return undefined;
  const sentences = judged.map((each) => `${each.name}: ${formatFigure(each)}, target ${formatTarget(each)}`);
  return {
    title: `${name}: ${about}`,
    description: `Measured figures against their targets. ${sentences.join(". ")}.`,
    bars: judged.map((figure) => ({
      label: figure.name.replaceAll("`", ""),
      value: `${formatFigure(figure)} (${formatTarget(figure)})`,
      from: 0,
      to: Math.min(SCALE_END, marginOf(figure)),
      isBad: !isMet(figure),
    })),
    ticks: [{ at: 0, label: "" }, { at: 1, label: "target", isTarget: true }, { at: 2, label: "twice as good" }],
    end: SCALE_END,
  };
}

/** How many times better than its target it is: 1 if it just meets it. */
export function marginOf({ value, target = {} }: Figure): number {
  const { atLeast, atMost } = target;
  if (atLeast !== undefined) return value / atLeast;
  return value > 0 ? atMost! / value : Infinity;
}

/** The page. */
export function renderReport(
  { date, machine, skipped, failed, figures }: Results,
  subjects: Record<string, Bench>,
): string {
  const { cpu, cores, arch, memory, system, qemu, accelerator, deno } = machine;
  const missing = Object.keys(subjects).filter((name) => !figures.some(({ subject }) => subject === name));
  const why = (name: string) =>
    skipped.find(({ subject }) => subject === name)?.why ?? (failed.includes(name) ? "it failed" : "it was not run");
  return [
    "# Benchmarks",
    "",
    "`deno task bench --report` writes this page.",
    "",
    "The time on one machine says nothing about another. So most figures are ratios of two medians, from the same run on the",
    "same machine. `÷` stands between what was compared. The rest are times or sizes with a limit.",
    "",
    "In the charts, a bar that reaches the line meets its target. One that is twice as long is twice as good as it has to be;",
    "a red one misses it. Bars end at three times the target.",
    "",
    "## The machine",
    "",
    "| | |",
    "| - | - |",
    `| CPU | ${cell(cpu)}, ${cores} cores, ${arch} |`,
    `| memory | ${memory} GiB |`,
    `| system | ${cell(system)} |`,
    `| QEMU | ${qemu}, accelerator ${accelerator} |`,
    `| Deno | ${deno} |`,
    `| measured | ${date.slice(0, 10)} |`,
    "",
    "## Repeat it",
    "",
    "<!-- only parsed: it measures for a long time -->\n",
    "```sh",
    "npx -y deno@2.9.6 task bench --report                    # all of it, in a checkout",
    "npx -y deno@2.9.6 task bench resume iso > results.json   # some of it",
    "npx -y deno@2.9.6 task bench --report --from results.json",
    "```",
    "",
    ...Object.entries(subjects).flatMap(([name, { about }]) => {
      const own = figures.filter(({ subject }) => subject === name);
      return own.length === 0 ? [] : section(name, about, own);
    }),
    ...missing.length === 0 ? [] : ["## Not measured", "", ...missing.map((name) => `- ${name}: ${why(name)}`), ""],
  ].join("\n");
}

function section(name: string, about: string, figures: Figure[]): string[] {
  const isJudged = figures.some(({ target }) => target);
  const rows = figures.map((figure) => {
    const target = formatTarget(figure);
    const verdict = target && `${target}, ${isMet(figure) ? "met" : "**missed**"}`;
    return [figure.name, formatFigure(figure), verdict, formatMedians(figure)].map(cell);
  });
  return [
    `## ${name}`,
    "",
    `${about[0].toUpperCase()}${about.slice(1)}. \`deno task bench ${name}\``,
    "",
    ...isJudged ? [`![The figures of ${name} against their targets](benchmarks/${name}.svg)`, ""] : [],
    "| what | measured | target | medians (runs) |",
    "| - | - | - | - |",
    ...rows.map((row) => `| ${row.join(" | ")} |`),
    "",
  ];
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("\n", " ");
}
