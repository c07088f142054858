/** Charts of bars as SVG, light and dark. Reading them needs no script, and they ask for nothing from outside. */

import { printable } from "../../base/printable.ts";

/** One row of a chart. */
export interface Bar {
  /** What it is. */
  label: string;
  /** Its value, as text. */
  value: string;
  /** Where it begins and ends, on the chart's scale. */
  from: number;
  to: number;
  /** It failed, or missed its target. */
  isBad?: boolean;
}

/** A line across all rows. */
export interface Tick {
  at: number;
  label: string;
  /** It stands out: it is what the bars are compared with. */
  isTarget?: boolean;
}

/** A chart. */
export interface Chart {
  title: string;
  /** What it shows, for those who do not see it. */
  description: string;
  bars: Bar[];
  ticks: Tick[];
  /** Where the scale ends; it begins at 0. */
  end: number;
}

const WIDTH = 720;
const [EDGE, GAP] = [12, 10];
const [TITLE_HEIGHT, ROW_HEIGHT, LABEL_HEIGHT, BAR_HEIGHT, AXIS_HEIGHT] = [34, 22, 18, 12, 24];
/** Of the fonts below, at 13 pixels: 0.6 em, and a little more for those that are wider. */
const CHARACTER_WIDTH = 8;
/** A longer label gets a line of its own, above its bar. */
const LONGEST_BESIDE = 24;

/** The colours; a page that has charts in it may use them, too. All texts have a contrast of more than 4.5 (WCAG 2.2, 1.4.3). */
export const CHART_STYLE = `
.chart{--paper:#fff;--ink:#1f2328;--soft:#59636e;--line:#d1d9e0;--bar:#0969da;--bad:#cf222e;--target:#1a7f37}
@media(prefers-color-scheme:dark){.chart{--paper:#0d1117;--ink:#f0f6fc;--soft:#9198a1;--line:#3d444d;--bar:#4493f7;--bad:#f85149;--target:#3fb950}}
.chart .paper{fill:var(--paper)}
.chart text{fill:var(--ink);font:13px ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
.chart .title{font-weight:600}
.chart .soft{fill:var(--soft)}
.chart .tick{stroke:var(--line)}
.chart .target{stroke:var(--target);stroke-width:2}
.chart .bar{fill:var(--bar)}
.chart .bad{fill:var(--bad)}
`.trim().replaceAll("\n", "");

/**
 * The chart.
 *
 * @param id Different from those of the other charts of the page, if it is to be a part of a page that has {@linkcode
 * CHART_STYLE}; absent if it is to be a file of its own.
 */
export function renderChart({ title, description, bars, ticks, end }: Chart, id?: string): string {
  const longest = (texts: string[]) => Math.max(0, ...texts.map((text) => text.length));
  const isBeside = longest(bars.map(({ label }) => label)) <= LONGEST_BESIDE;
  const labels = isBeside ? longest(bars.map(({ label }) => label)) * CHARACTER_WIDTH + GAP : 0;
  const values = longest(bars.map(({ value }) => value)) * CHARACTER_WIDTH;
  const left = EDGE + labels + values + GAP;
  const right = WIDTH - EDGE - GAP;
  const x = (at: number) => round(left + Math.min(1, Math.max(0, end > 0 ? at / end : 0)) * (right - left));
  const above = isBeside ? 0 : LABEL_HEIGHT;
  const bottom = TITLE_HEIGHT + bars.length * (ROW_HEIGHT + above);
  const height = bottom + AXIS_HEIGHT;

  // Where labels are above their bars, a tick is interrupted there.
  const spans = above === 0
    ? [[TITLE_HEIGHT, bottom]]
    : bars.map((_, index) => TITLE_HEIGHT + index * (ROW_HEIGHT + above) + above)
      .map((top) => [top, top + ROW_HEIGHT]);
  const grid = ticks.map(({ at, label, isTarget }) =>
    spans.map(([top, end]) =>
      `<line class="${isTarget ? "target" : "tick"}" x1="${x(at)}" x2="${x(at)}" y1="${top}" y2="${end}"/>`
    ).join("") +
    `<text class="soft" x="${x(at)}" y="${bottom + 17}" text-anchor="middle">${escapeXml(label)}</text>`
  );
  const rows = bars.map(({ label, value, from, to, isBad }, index) => {
    const top = TITLE_HEIGHT + index * (ROW_HEIGHT + above);
    const baseline = top + above + 15;
    return `<text x="${EDGE}" y="${isBeside ? baseline : top + 15}">${escapeXml(label)}</text>` +
      `<text class="soft" x="${left - GAP}" y="${baseline}" text-anchor="end">${escapeXml(value)}</text>` +
      `<rect class="${isBad ? "bad" : "bar"}" x="${x(from)}" y="${top + above + 5}" ` +
      `width="${round(Math.max(2, x(to) - x(from)))}" height="${BAR_HEIGHT}" rx="2"/>`;
  });
  const [titleId, descriptionId] = ["title", "description"].map((name) => `${id ?? "chart"}-${name}`);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" ` +
    `height="${height}" role="img" aria-labelledby="${titleId} ${descriptionId}">`,
    `<title id="${titleId}">${escapeXml(title)}</title>`,
    `<desc id="${descriptionId}">${escapeXml(description)}</desc>`,
    ...id === undefined ? [`<style>${CHART_STYLE}</style>`] : [],
    `<rect class="paper" width="${WIDTH}" height="${height}" rx="6"/>`,
    `<text class="title" x="${EDGE}" y="22">${escapeXml(title)}</text>`,
    ...grid,
    ...rows,
    "</svg>",
    "",
  ].join("\n");
}

/** Round numbers from 0 up to `end`, five or six of them. */
export function roundSteps(end: number): number[] {
  if (!(end > 0)) return [0];
  const least = end / 5;
  const power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= least * 0.999)!;
  return Array.from({ length: Math.floor(end / step * 1.001) + 1 }, (_, index) => round(index * step));
}

/** Text for XML and HTML, between tags and in quoted attributes: nothing in it is markup, and nothing is not allowed there. */
export function escapeXml(text: string): string {
  const names: Record<string, string> = { "&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "#39" };
  return printable(text).toWellFormed().replaceAll(/[\ufffe\uffff]/g, "\ufffd")
    .replaceAll(/[&<>"']/g, (each) => `&${names[each]};`);
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
