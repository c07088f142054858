/** Timelines as text, as SVG and as a page, also of hostile names. */

import { formatMilliseconds } from "../../lib/base/format.ts";
import { assert, assertAlmostEquals, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { walk } from "@std/fs/walk";
import { ROOT } from "../../dev/deno.ts";
import { compareSteps, compareTotals, renderComparison } from "../../lib/cli/ui/comparison.ts";
import { chartOf, fateOf, type Numbered, renderPage, renderRuns } from "../../lib/cli/ui/runs.ts";
import { renderChart, roundSteps } from "../../lib/cli/ui/svg.ts";
import { renderTimelines } from "../../lib/cli/ui/timeline.ts";
import { assertInert, elements, parse, textsOf } from "./markup.ts";

const run = (steps: [string, number, number][], changes: Partial<Numbered> = {}): Numbered => ({
  number: 1,
  command: "start",
  how: "resume",
  began: "2026-11-27T18:02:33.000Z",
  ms: 1000,
  outcome: "done",
  timeline: steps.map(([name, startMs, endMs]) => ({ name, startMs, endMs })),
  ...changes,
});
const RESUME = run([["process", 0, 100], ["incoming", 100, 120], ["entropy and clock", 120, 900], [
  "proof",
  900,
  1000,
]]);
const HOSTILE = [
  `</text></svg><script>alert(1)</script>`,
  `" onload="alert(1)`,
  `' onclick='alert(1)`,
  `<img src=http://example.com/x>&amp;&#0;`,
  `]]><!--`,
  `\u0000\u001b[2J\u202ebidi\ud800\uffff`,
  "x".repeat(5000),
];

Deno.test("timeline: bars are aligned in 80 columns, from their begin to their end", () => {
  const look = { columns: 80, isAscii: false };
  const lines = renderTimelines([{ title: "resume", phases: RESUME.timeline }], look).split("\n");
  assertEquals(lines, [
    "resume: 1.00 s",
    "  process              0.10 s  █████",
    "  incoming              20 ms      █",
    "  entropy and clock    0.78 s       " + "█".repeat(38),
    "  proof                0.10 s" + " ".repeat(46) + "█████",
  ]);
});

Deno.test("timeline: whatever the width and the names, no line is too long, and ASCII is ASCII", () => {
  const odd = run([...HOSTILE.map((name): [string, number, number] => [name, 0, 1000]), ["späť ✓", 500, 1e9]]);
  for (const columns of [20, 40, 80]) {
    for (const isAscii of [true, false]) {
      for (const phases of [RESUME.timeline, odd.timeline, []]) {
        const look = { columns, isAscii };
        const steps = compareSteps(odd, { ms: 1, timeline: phases });
        const [first, ...text] = renderTimelines([{ title: "", phases }], look).split("\n");
        assertMatch(first, /^: /);
        assertEquals(text.length, phases.length);
        if (columns >= 40) text.push(...renderComparison(steps, compareTotals(odd, RESUME), look).split("\n"));
        assertEquals(text.filter((line) => line.length > columns), []);
        // deno-lint-ignore no-control-regex -- all of ASCII
        if (isAscii) assertMatch(text.filter((line) => !line.includes("[2J")).join("\n"), /^[\x00-\x7f]*$/);
      }
    }
  }
  const narrow = renderTimelines([{ title: "resume", phases: RESUME.timeline }], { columns: 40, isAscii: true });
  assertEquals(narrow.split("\n")[3], "  entropy and clock    0.78 s   #######");
});

Deno.test("timeline: a run that did not succeed says where it ended, and marks the step", () => {
  const failed = run([["process", 0, 500]], { outcome: "failed", how: undefined, why: "no answer" });
  failed.timeline.push({ name: "healthy", startMs: 500, endMs: 1000, failed: true });
  const text = renderRuns([failed], { columns: 80, isAscii: true });
  assertMatch(
    text,
    /^#1 start, 2026-11-27 18:02:33Z: 1\.00 s\n {2}process .*\n! healthy .*\n {2}failed in 'healthy': no answer$/,
  );
  const { bars } = chartOf(failed, "demo");
  assertEquals(bars.map(({ label, isBad }) => [label, isBad]), [["process", undefined], ["healthy (failed)", true]]);
  assertEquals(fateOf(run([["process", 0, 500]], { outcome: "cancelled" })), "cancelled after 'process'");
  assertEquals(fateOf(run([], { outcome: "failed", why: "w" })), "failed before the first step: w");
  assertEquals(fateOf(RESUME), undefined);
});

Deno.test("timeline: durations are short, also where they round up", () => {
  const shown = [0, 0.4, 99.4, 99.6, 994, 9994, 9996, 123_456, 1e6, 1e9].map(formatMilliseconds);
  assertEquals(shown, [
    "0 ms",
    "0 ms",
    "99 ms",
    "0.10 s",
    "0.99 s",
    "9.99 s",
    "10.0 s",
    "123.5 s",
    "16m40s",
    "277h46m",
  ]);
});

Deno.test("timeline: a comparison pairs the steps by name and turn, and divides the newer by the older", () => {
  const older = run([["process", 0, 100], ["healthy", 100, 300], ["healthy", 300, 400], ["check", 400, 400]]);
  const newer = run([["process", 0, 50], ["check", 50, 51], ["healthy", 51, 451], ["share", 451, 452]], { ms: 500 });
  assertEquals(compareSteps(older, newer), [
    { name: "process", olderMs: 100, newerMs: 50, ratio: 0.5 },
    { name: "check", olderMs: 0, newerMs: 1 },
    { name: "healthy", olderMs: 200, newerMs: 400, ratio: 2 },
    { name: "share", newerMs: 1 },
    { name: "healthy (2)", olderMs: 100 },
  ]);
  assertEquals(compareTotals(older, newer), { name: "total", olderMs: 1000, newerMs: 500, ratio: 0.5 });
  const text = renderComparison(compareSteps(older, newer), compareTotals(older, newer), {
    columns: 80,
    isAscii: true,
  });
  assertMatch(text, /^ {2}process +0\.10 s +50 ms +0\.50 {2}#+-+$/m);
  assertMatch(text, /^ {2}healthy +0\.20 s +0\.40 s +2\.00 {2}#+\++$/m);
  assertMatch(text, /^ {2}share +- +1 ms +-/m);
  assertMatch(text, /^ {2}total +1\.00 s +0\.50 s +0\.50$/m);
});

Deno.test("timeline: the parser that these tests use notices what is not well-formed", () => {
  for (const wrong of ["<svg><text></svg>", "<svg>&nbsp;</svg>", "<svg a='<'/>", "<svg/><script/>"]) {
    assertThrows(() => parse(wrong), Error, undefined, wrong);
  }
});

Deno.test("timeline: hostile names are text in the page and in the picture, and nothing there runs or loads", async () => {
  const steps = HOSTILE.map((name, at): [string, number, number] => [name, at, at + 1]);
  const hostile = run(steps, { how: HOSTILE[0], why: HOSTILE[1], outcome: "failed" });
  const other = { ...RESUME, number: 2 };
  const comparison = { steps: compareSteps(other, hostile), total: compareTotals(other, hostile) };
  const shown = ["bidi\ufffd\ufffd", ...HOSTILE.slice(0, 5)];
  for (
    const [text, tag] of [
      [await renderPage(HOSTILE[0], [other, hostile], comparison), "th"],
      [renderChart(chartOf(hostile, HOSTILE[0])), "text"],
    ]
  ) {
    const document = parse(text);
    assertInert(document);
    const texts = textsOf(document, tag);
    for (const name of shown) assert(texts.includes(name), name);
  }
});

Deno.test("timeline: the page has a policy that allows its own style only, and a table beside each picture", async () => {
  const page = await renderPage("demo", [{ ...RESUME, number: 2 }, RESUME]);
  const document = parse(page);
  const [policy] = elements(document).filter((each) => each.hasAttribute("http-equiv"));
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(textsOf(document, "style")[0]!));
  const hash = btoa(String.fromCharCode(...new Uint8Array(digest)));
  assertEquals(
    policy.getAttribute("content"),
    `default-src 'none'; style-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'`,
  );
  assertEquals(textsOf(document, "style").length, 1);
  assertMatch(page, /^<!DOCTYPE html>\n<html lang="en">/);
  assertMatch(textsOf(document, "style")[0]!, /prefers-color-scheme:dark/);
  const pictures = Array.from(document.getElementsByTagName("svg"));
  assertEquals(pictures.map((each) => each.getAttribute("role")), ["img", "img"]);
  const ids = elements(document).flatMap((each) => each.getAttribute("id") ?? []);
  assertEquals(ids.length, new Set(ids).size);
  for (const picture of pictures) {
    const named = picture.getAttribute("aria-labelledby")!.split(" ");
    assertEquals(named.filter((id) => !ids.includes(id)), []);
  }
  assertEquals(document.getElementsByTagName("table").length, 2);
  assertEquals(textsOf(document, "tr").at(-1), "proof0.90 s1.00 s0.10 s");
});

Deno.test("timeline: the picture's bars have the steps' times as their places", () => {
  const document = parse(renderChart(chartOf(RESUME, "demo")));
  assertInert(document);
  const bars = elements(document).filter((each) => each.getAttribute("class") === "bar");
  const place = (name: string) => bars.map((each) => Number(each.getAttribute(name)));
  const [x, width] = [place("x"), place("width")];
  const whole = x[3] + width[3] - x[0];
  assertEquals(bars.length, 4);
  for (const [at, { startMs, endMs }] of RESUME.timeline.entries()) {
    assertAlmostEquals((x[at] - x[0]) / whole, startMs / 1000, 0.001);
    assertAlmostEquals(width[at] / whole, (endMs - startMs) / 1000, 0.001);
  }
  assertEquals(textsOf(document, "title"), ["start (resume): 1.00 s"]);
  assertMatch(textsOf(document, "desc")[0]!, /'demo' went: process from 0 ms to 0\.10 s, incoming from/);
});

Deno.test("timeline: the pictures in the documentation are well-formed, and nothing in them runs or loads", async () => {
  let pictures = 0;
  for await (const { path } of walk(`${ROOT}docs`, { includeDirs: false })) {
    if (!path.endsWith(".svg")) continue;
    const document = parse(await Deno.readTextFile(path));
    assertInert(document);
    assert(textsOf(document, "desc")[0]!.length > 20, path);
    pictures++;
  }
  assert(pictures > 0);
});

Deno.test("timeline: an axis has few and round numbers, whatever its end", () => {
  assertEquals(roundSteps(1), [0, 0.2, 0.4, 0.6, 0.8, 1]);
  assertEquals(roundSteps(790), [0, 200, 400, 600]);
  assertEquals(roundSteps(12_345), [0, 5000, 10_000]);
  for (const end of [0, NaN, -1]) assertEquals(roundSteps(end), [0]);
  for (const end of [0.07, 3, 99, 1e9]) assert(roundSteps(end).length <= 6 && roundSteps(end).length >= 3);
});
