/** @jsxImportSource preact */

/** Where the time of a start went: a table with a bar in each row. */

import type { Phase } from "../../base/timeline.ts";

/** A duration for people. */
function milliseconds(ms: number): string {
  return ms < 100 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
}

/** It. */
export function Timeline({ phases, of }: { phases: Phase[]; of: string }) {
  const end = Math.max(1, ...phases.map(({ endMs }) => endMs));
  const percent = (ms: number) => `${(100 * ms) / end}%`;
  return (
    <details class="timeline">
      <summary>Last start: {milliseconds(end)}</summary>
      <table>
        <caption class="hidden">Where the time of the last start of {of} went</caption>
        <thead class="hidden">
          <tr>
            <th scope="col">step</th>
            <th scope="col">time</th>
            <th scope="col">when</th>
          </tr>
        </thead>
        <tbody>
          {phases.toSorted((one, other) => one.startMs - other.startMs).map(({ name, startMs, endMs }) => (
            <tr>
              <th scope="row">{name}</th>
              <td>{milliseconds(endMs - startMs)}</td>
              <td>
                <svg role="img" aria-label={`from ${milliseconds(startMs)} to ${milliseconds(endMs)}`}>
                  <rect
                    x={percent(startMs)}
                    width={percent(Math.max(endMs - startMs, end / 200))}
                    height="100%"
                    rx="2"
                  />
                </svg>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </details>
  );
}
