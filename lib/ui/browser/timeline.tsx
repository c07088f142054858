/** @jsxImportSource preact */

/** Where the time of a command went: a table with a bar in each row. */

import { formatMilliseconds } from "../../base/format.ts";
import type { RecordedRun } from "../../instance/history.ts";

/** It. */
export function Timeline({ command, how, ms, outcome, why, timeline, of }: RecordedRun & { of: string }) {
  const end = Math.max(1, ms, ...timeline.map(({ endMs }) => endMs));
  const title = `${command}${how === undefined ? "" : ` (${how})`}`;
  const percent = (ms: number) => `${(100 * ms) / end}%`;
  return (
    <details class="timeline">
      <summary>
        Last: {title}, {formatMilliseconds(ms)}
        {outcome !== "done" && `, ${outcome}`}
      </summary>
      {why && <p>{why}</p>}
      <table>
        <caption class="hidden">Where the time of {title} of {of} went</caption>
        <thead class="hidden">
          <tr>
            <th scope="col">step</th>
            <th scope="col">time</th>
            <th scope="col">when</th>
          </tr>
        </thead>
        <tbody>
          {timeline.toSorted((one, other) => one.startMs - other.startMs).map(({ name, startMs, endMs }) => (
            <tr>
              <th scope="row">{name}</th>
              <td>{formatMilliseconds(endMs - startMs)}</td>
              <td>
                <svg role="img" aria-label={`from ${formatMilliseconds(startMs)} to ${formatMilliseconds(endMs)}`}>
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
