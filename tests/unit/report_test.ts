/** The benchmarks' report: of saved results, against their targets, of one machine. */

import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { renderChart } from "../../lib/cli/ui/svg.ts";
import type { Bench, Figure } from "../bench/figure.ts";
import { chartOf, combine, marginOf, readResults, renderReport, type Results } from "../bench/report.ts";
import { assertInert, elements, parse, textsOf } from "./markup.ts";
import { withDirectory } from "./temporary.ts";

const figure = (name: string, value: number, target?: Figure["target"]): Figure => ({
  name,
  unit: "ratio",
  value,
  target,
  samples: { ours: [value, value], theirs: [1, 1, 1] },
});
const MACHINE: Results["machine"] = {
  cpu: "A | B",
  cores: 2,
  arch: "amd64",
  memory: 8,
  system: "Debian",
  qemu: "7.2.22",
  accelerator: "tcg",
  deno: "2.9.6",
};
const results = (changes: Partial<Results>): Results => ({
  date: "2026-11-27T18:00:00.000Z",
  machine: MACHINE,
  skipped: [],
  failed: [],
  figures: [],
  ...changes,
});
const bench = (about: string) => ({ about }) as Bench;
const SUBJECTS = { iso: bench("making images"), zstd: bench("compressing"), arm: bench("arm64") };
const FIGURES = [
  { subject: "iso", ...figure("files: ours ÷ theirs", 0.5, { atMost: 1 }) },
  { subject: "iso", ...figure("boot ÷ resume", 10, { atLeast: 12 }) },
  { subject: "zstd", ...figure("no limit", 3) },
];

Deno.test("report: a figure is as many times better than its target as its bar is long", () => {
  assertEquals(marginOf(figure("", 0.5, { atMost: 1 })), 2);
  assertEquals(marginOf(figure("", 18, { atLeast: 12 })), 1.5);
  assertEquals(marginOf(figure("", 0, { atMost: 1 })), Infinity);
  const chart = chartOf("iso", "making images", FIGURES.slice(0, 2))!;
  assertEquals(chart.bars.map(({ to, isBad }) => [to, isBad]), [[2, false], [10 / 12, true]]);
  const document = parse(renderChart(chart));
  assertInert(document);
  assertEquals(textsOf(document, "title"), ["iso: making images"]);
  const [met, missed] = ["bar", "bad"].map((kind) =>
    elements(document).filter((each) => each.getAttribute("class") === kind)
  );
  assertEquals([met.length, missed.length], [1, 1]);
  const [line] = elements(document).filter((each) => each.getAttribute("class") === "target");
  const end = (bar: typeof line) => Number(bar.getAttribute("x")) + Number(bar.getAttribute("width"));
  assert(end(met[0]) > Number(line.getAttribute("x1")) && end(missed[0]) < Number(line.getAttribute("x1")));
  assertEquals(chartOf("zstd", "", FIGURES.slice(2)), undefined);
});

Deno.test("report: the page has the machine, each figure with its target and medians, and what is missing", () => {
  const skipped = [{ subject: "arm", why: "there is no such QEMU" }];
  const page = renderReport(results({ figures: FIGURES, skipped }), SUBJECTS);
  for (
    const line of [
      "| CPU | A \\| B, 2 cores, amd64 |",
      "| QEMU | 7.2.22, accelerator tcg |",
      "| measured | 2026-11-27 |",
      "Making images. `deno task bench iso`",
      "![The figures of iso against their targets](benchmarks/iso.svg)",
      "| files: ours ÷ theirs | 0.500 | ≤ 1, met | ours 0.500 s (2), theirs 1.000 s (3) |",
      "| boot ÷ resume | 10.000 | ≥ 12, **missed** | ours 10.000 s (2), theirs 1.000 s (3) |",
      "| no limit | 3.000 |  | ours 3.000 s (2), theirs 1.000 s (3) |",
      "- arm: there is no such QEMU",
    ]
  ) assert(page.split("\n").includes(line), `${line}\n${page}`);
  assert(!page.includes("benchmarks/zstd.svg")); // it has no targets, so no chart
  assertMatch(renderReport(results({ failed: ["iso"] }), SUBJECTS), /- iso: it failed\n- zstd: it was not run\n/);
});

Deno.test("report: results of several runs are combined, the later ones counting, if the machine is the same", () => {
  const again = { subject: "iso", ...figure("files: ours ÷ theirs", 0.7, { atMost: 1 }) };
  const both = combine([
    results({ figures: FIGURES, failed: ["arm"] }),
    results({ date: "2026-11-28T00:00:00.000Z", figures: [again], skipped: [{ subject: "arm", why: "no QEMU" }] }),
  ]);
  assertEquals(both.figures, [FIGURES[2], again]);
  assertEquals([both.date, both.failed, both.skipped.length], ["2026-11-28T00:00:00.000Z", [], 1]);
  assertThrows(
    () => combine([results({}), results({ machine: { ...MACHINE, cores: 4 } })]),
    Error,
    "the results are of different machines",
  );
});

Deno.test("report: a file without results is refused", () =>
  withDirectory(async (directory) => {
    const path = `${directory}/results.json`;
    await Deno.writeTextFile(path, JSON.stringify(results({ figures: FIGURES })));
    assertEquals((await readResults(path)).figures.length, 3);
    await Deno.writeTextFile(path, JSON.stringify({ host: {}, figures: [] }));
    await assertRejects(() => readResults(path), Error, "has no results: name a file");
  }));
