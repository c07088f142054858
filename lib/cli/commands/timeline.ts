import type { RecordedRun } from "../../instance/history.ts";
import { HotbootError } from "../../base/error.ts";
import { print, printError, printJson } from "../ui/console.ts";
import type { Numbered } from "../ui/runs.ts";
import { type Arguments, type Command, UsageError, wholeNumber } from "./command.ts";
import { emulatorOf } from "./context.ts";

export const command: Command = {
  operands: "[NAME]",
  completes: "instances",
  trust: "looks",
  about:
    "Show where the time of the last command went that started, stopped, saved or captured the instance, or tried to. NAME is\n" +
    "the instance. hotboot keeps the last 20 until the instance is reset. They are numbered: 1 is the newest.\n" +
    "--compare shows two side by side, with the newer time divided by the older. By default these are the last one and the\n" +
    "one before it of the same command. --html writes a page without scripts, and --svg a picture of one run.",
  examples: [
    "hotboot timeline --last 3",
    "hotboot timeline --compare  # the last run with the one before it",
    "hotboot timeline --run 1 --run 4 --compare",
    "hotboot timeline --html timeline.html",
  ],
  flags: [
    { name: "last", short: "n", value: "N", summary: "show the last N (default: 1)" },
    { name: "all", short: "a", summary: "show all" },
    { name: "run", value: "NUMBER", repeats: true, summary: "show this one (repeatable)" },
    { name: "compare", summary: "compare two" },
    { name: "html", value: "FILE", summary: "write a page" },
    { name: "svg", value: "FILE", summary: "write a picture" },
  ],
  implied({ values, switches, operands }) {
    const [name, ...more] = operands;
    if (name === undefined) return { values, switches, operands };
    if (more.length > 0) throw new UsageError("timeline takes one NAME: see 'hotboot timeline --help'");
    if (values.instance !== undefined) throw new UsageError("NAME and --instance contradict each other: choose one");
    return { values: { ...values, instance: name }, switches, operands };
  },
  async run(context) {
    const { args } = context;
    const { values: { html, svg }, switches } = args;
    const wanted = choiceOf(args);
    const { history } = await import("../../instance/history.ts");
    const emulator = await emulatorOf(context);
    const { instance } = emulator;
    const all = (await history(emulator)).map((run, index, { length }) => ({ number: length - index, ...run }));
    const compare = switches.has("compare");
    if (all.length === 0 && !compare && html === undefined && svg === undefined) {
      if (switches.has("json")) return await printJson([]);
      return await printError(
        `hotboot: nothing is recorded of instance '${instance}': 'hotboot start' records where its time goes`,
      );
    }
    const runs = compare ? pairOf(all, wanted, instance) : chosen(all, wanted, instance);
    const { chartOf, renderPage, renderRuns, titleOf } = await import("../ui/runs.ts");
    const { compareSteps, compareTotals, renderComparison } = await import("../ui/comparison.ts");
    const [older, newer] = runs;
    const compared = compare ? { steps: compareSteps(older, newer), total: compareTotals(older, newer) } : undefined;
    if (svg !== undefined) {
      if (runs.length !== 1) throw new UsageError("--svg draws one run: name it with --run, or use --html");
      const { renderChart } = await import("../ui/svg.ts");
      await write(svg, renderChart(chartOf(runs[0], instance)));
    }
    if (html !== undefined) await write(html, await renderPage(instance, runs, compared));
    if (switches.has("json")) return await printJson(compared ? { older, newer, ...compared } : runs);
    if (html !== undefined || svg !== undefined) return;
    const { lookOf } = await import("../ui/timeline.ts");
    const look = lookOf(Deno.stdout);
    if (!compared) return await print(renderRuns(runs, look));
    await print(`  older: ${titleOf(older)}\n  newer: ${titleOf(newer)}`);
    await print(renderComparison(compared.steps, compared.total, look));
  },
};

/** The runs that the command line names: the last ones, or these. */
type Choice = { last: number } | { numbers: number[] } | undefined;

function choiceOf(args: Arguments): Choice {
  const { values: { run }, switches } = args;
  const last = wholeNumber(args, "last");
  if ([run, last, switches.has("all") || undefined].filter((each) => each !== undefined).length > 1) {
    throw new UsageError("--last, --all and --run contradict each other: choose one");
  }
  if (last === 0) throw new UsageError("--last takes a number from 1 on, not '0'");
  if (switches.has("all")) return { last: Infinity };
  if (run === undefined) return last === undefined ? undefined : { last };
  const numbers = run.split(",");
  const wrong = numbers.find((each) => !/^[1-9]\d?$/.test(each));
  if (wrong !== undefined) throw new UsageError(`--run takes the number of a run, not '${wrong}'`);
  return { numbers: numbers.map(Number) };
}

/** Those, the oldest first. */
function chosen(all: Numbered[], wanted: Choice, instance: string): Numbered[] {
  if (!wanted || "last" in wanted) return all.slice(-Math.min(wanted?.last ?? 1, all.length));
  const missing = wanted.numbers.find((each) => each > all.length);
  if (missing !== undefined) {
    throw new HotbootError(
      `instance '${instance}' has ${all.length} recorded runs, and no number ${missing}: 'hotboot timeline --all' shows them`,
    );
  }
  return all.filter(({ number }) => wanted.numbers.includes(number));
}

function pairOf(all: Numbered[], wanted: Choice, instance: string): [Numbered, Numbered] {
  if (wanted) {
    const [older, newer, ...more] = chosen(all, wanted, instance);
    if (newer === undefined || more.length > 0) {
      throw new UsageError("--compare takes two runs: name each with --run, or neither");
    }
    return [older, newer];
  }
  const newer = all.at(-1);
  const older = all.slice(0, -1).findLast(({ command }: RecordedRun) => command === newer?.command);
  if (newer && older) return [older, newer];
  throw new HotbootError(
    `instance '${instance}' has no two recorded runs of the same command: name two others with --run ('hotboot timeline --all' shows them)`,
  );
}

/** Writes a file of the user's. */
async function write(path: string, text: string): Promise<void> {
  const { replaceFile } = await import("../../base/files.ts");
  const { writeAll } = await import("../../base/io.ts");
  await replaceFile(path, (file) => writeAll(file, new TextEncoder().encode(text)), { mode: 0o666 });
}
