/** Recorded runs for people: in a terminal, as a chart, and as one page of HTML. */

import { formatMilliseconds } from "../../base/format.ts";
import { encodeBase64 } from "@std/encoding/base64";
import type { Phase } from "../../base/timeline.ts";
import { endedAt, type RecordedRun } from "../../instance/history.ts";
import { type ComparedStep, formatRatio } from "./comparison.ts";
import { type Chart, CHART_STYLE, escapeXml, renderChart, roundSteps } from "./svg.ts";
import { type Look, renderTimelines } from "./timeline.ts";

/** A run, with its number: 1 is the newest. */
export interface Numbered extends RecordedRun {
  number: number;
}

/** `start (resume)`. */
function nameOf({ command, how }: RecordedRun): string {
  return how === undefined ? command : `${command} (${how})`;
}

/** `#1 start (resume), 2026-11-27 18:02:33Z`. */
export function titleOf(run: Numbered): string {
  return `#${run.number} ${nameOf(run)}, ${run.began.slice(0, 19).replace("T", " ")}Z`;
}

/** Where and why it ended, if it did not succeed. */
export function fateOf(run: RecordedRun): string | undefined {
  if (run.outcome === "done") return undefined;
  const at = endedAt(run);
  const where = at ? ` ${at.within ? "in" : "after"} '${at.step}'` : " before the first step";
  return `${run.outcome}${where}${run.why === undefined ? "" : `: ${run.why}`}`;
}

/** As text, each on its own scale. */
export function renderRuns(runs: Numbered[], look: Look): string {
  return runs.map((run) => {
    const fate = fateOf(run);
    const drawn = renderTimelines([{ title: titleOf(run), phases: run.timeline, ms: run.ms }], look);
    return fate === undefined ? drawn : `${drawn}\n  ${fate}`;
  }).join("\n\n");
}

/** Says also in words what has another colour. */
function labelOf({ name, failed }: Phase): string {
  return failed ? `${name} (failed)` : name;
}

/** As a chart on a scale that ends at `end` milliseconds. */
export function chartOf(run: Numbered, instance: string, end = run.ms): Chart {
  const fate = fateOf(run);
  const steps = run.timeline.map((step) =>
    `${labelOf(step)} from ${formatMilliseconds(step.startMs)} to ${formatMilliseconds(step.endMs)}`
  );
  return {
    title: `${nameOf(run)}: ${formatMilliseconds(run.ms)}`,
    description: `Where the time of '${nameOf(run)}' of instance '${instance}' went: ${
      steps.join(", ") || "it had no steps"
    }.${fate === undefined ? "" : ` It ${fate}`}`,
    bars: run.timeline.map((step) => ({
      label: labelOf(step),
      value: formatMilliseconds(step.endMs - step.startMs),
      from: step.startMs,
      to: step.endMs,
      isBad: step.failed,
    })),
    ticks: roundSteps(end).map((at) => ({ at, label: at === 0 ? "0" : formatMilliseconds(at) })),
    end,
  };
}

const PAGE_STYLE = `${CHART_STYLE}
:root{color-scheme:light dark;--ink:#1f2328;--paper:#fff;--line:#d1d9e0;--soft:#59636e}
@media(prefers-color-scheme:dark){:root{--ink:#f0f6fc;--paper:#0d1117;--line:#3d444d;--soft:#9198a1}}
body{margin:2rem auto;padding:0 1rem;max-width:84rem;font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
section{display:flex;flex-wrap:wrap;gap:1rem 2rem;align-items:flex-start;border-top:1px solid var(--line);padding:1rem 0}
h1{font-size:1.4rem}
h2{font-size:1.1rem;margin:0;flex-basis:100%}
p{margin:0;flex-basis:100%}
svg{max-width:100%;height:auto}
table{border-collapse:collapse}
caption{text-align:left;color:var(--soft)}
th,td{padding:.1rem .6rem;text-align:right;border-bottom:1px solid var(--line)}
th:first-child{text-align:left;font-weight:400}
`.replaceAll("\n", "");

/** What the page shows beside the runs. */
export interface PageComparison {
  steps: ComparedStep[];
  total: ComparedStep;
}

/**
 * A page of its own, which is XML, too: it has no script, and its policy lets it load nothing. The charts of runs that are
 * compared share a scale.
 *
 * Source of the policy: W3C, "Content Security Policy Level 3".
 */
export async function renderPage(instance: string, runs: Numbered[], comparison?: PageComparison): Promise<string> {
  const end = comparison && Math.max(...runs.map(({ ms }) => ms));
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(PAGE_STYLE));
  const policy = `default-src 'none'; style-src 'sha256-${encodeBase64(digest)}'; base-uri 'none'; form-action 'none'`;
  const title = `hotboot timeline of instance '${instance}'`;
  return [
    "<!DOCTYPE html>",
    '<html lang="en">',
    "<head>",
    '<meta charset="utf-8"/>',
    `<meta http-equiv="Content-Security-Policy" content="${escapeXml(policy)}"/>`,
    '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
    '<meta name="color-scheme" content="light dark"/>',
    `<title>${escapeXml(title)}</title>`,
    `<style>${PAGE_STYLE}</style>`,
    "</head>",
    "<body>",
    "<main>",
    `<h1>${escapeXml(title)}</h1>`,
    ...comparison ? [comparisonSection(runs, comparison)] : [],
    ...runs.toReversed().map((run) => section(run, instance, end)),
    "</main>",
    "</body>",
    "</html>",
    "",
  ].join("\n");
}

function section(run: Numbered, instance: string, end?: number): string {
  const fate = fateOf(run);
  const rows = run.timeline.map((step) => [
    labelOf(step),
    formatMilliseconds(step.startMs),
    formatMilliseconds(step.endMs),
    formatMilliseconds(step.endMs - step.startMs),
  ]);
  return [
    "<section>",
    `<h2>${escapeXml(`${titleOf(run)}: ${formatMilliseconds(run.ms)}`)}</h2>`,
    ...fate === undefined ? [] : [`<p>${escapeXml(fate)}</p>`],
    renderChart(chartOf(run, instance, end), `run-${run.number}`).trimEnd(),
    table("The steps and their times", ["step", "from", "to", "took"], rows),
    "</section>",
  ].join("\n");
}

function comparisonSection(runs: Numbered[], { steps, total }: PageComparison): string {
  const [older, newer] = runs;
  const rows = [...steps, total].map(({ name, olderMs, newerMs, ratio }) => [
    name,
    ...[olderMs, newerMs].map((ms) => ms === undefined ? "-" : formatMilliseconds(ms)),
    formatRatio(ratio),
  ]);
  const heads = ["step", `#${older.number}`, `#${newer.number}`, "ratio"];
  const caption = `${titleOf(newer)}, beside ${titleOf(older)}`;
  return ["<section>", "<h2>Compared</h2>", table(caption, heads, rows), "</section>"].join("\n");
}

function table(caption: string, heads: string[], rows: string[][]): string {
  const head = heads.map((each) => `<th scope="col">${escapeXml(each)}</th>`).join("");
  const body = rows.map(([name, ...cells]) =>
    `<tr><th scope="row">${escapeXml(name)}</th>${cells.map((cell) => `<td>${escapeXml(cell)}</td>`).join("")}</tr>`
  );
  return [
    "<table>",
    `<caption>${escapeXml(caption)}</caption>`,
    `<thead><tr>${head}</tr></thead>`,
    `<tbody>${body.join("\n")}</tbody>`,
    "</table>",
  ].join("\n");
}
