/**
 * Sizes, durations and progress for people.
 *
 * @module
 */

const UNITS = ["B", "KB", "MB", "GB", "TB"];

/**
 * Formats a number of bytes, with one decimal below ten, in units of 1024.
 *
 * Needs no permissions.
 *
 * @param bytes Any number.
 * @returns The text; `?` for a number that is not finite or is negative.
 *
 * @example
 * ```ts
 * import { formatBytes } from "@hotboot/hotboot";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(formatBytes(1536), "1.5 KB");
 * assertEquals(formatBytes(10240), "10 KB");
 * ```
 */
export function formatBytes(bytes: number): string {
  if (!Number.isFinite(bytes) || bytes < 0) return "?";
  let value = bytes;
  let unit = 0;
  while (unit < UNITS.length - 1 && Math.round(value) >= 1024) {
    value /= 1024;
    unit++;
  }
  const decimals = unit > 0 && value < 9.95 ? 1 : 0;
  return `${value.toFixed(decimals)} ${UNITS[unit]}`;
}

/**
 * Formats a duration, to the second.
 *
 * Needs no permissions.
 *
 * @param seconds Any number of seconds.
 * @returns `59s`, `1m01s`, `1h00m`; `?` for a number that is not finite or is negative.
 *
 * @example
 * ```ts
 * import { formatDuration } from "@hotboot/hotboot";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(formatDuration(61), "1m01s");
 * ```
 */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return "?";
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole}s`;
  const two = (value: number) => String(value).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  return minutes < 60 ? `${minutes}m${two(whole % 60)}s` : `${Math.floor(minutes / 60)}h${two(minutes % 60)}m`;
}

/** Formats how long ago something was: exactly, and after three days in days. It cannot be in the future, whatever the clock says. */
export function formatSpan(seconds: number): string {
  const days = Math.floor(seconds / 86_400);
  return days >= 3 && Number.isFinite(days) ? `${days}d` : formatDuration(Math.max(0, seconds));
}

/** Formats how long a step took, in milliseconds: `9 ms`, `0.63 s`, `26.3 s`, `16m40s`. */
export function formatMilliseconds(ms: number): string {
  if (Math.round(ms) < 100) return `${Math.round(ms)} ms`;
  if (ms >= 999_950) return formatDuration(ms / 1000);
  return `${(ms / 1000).toFixed(ms < 9_995 ? 2 : 1)} s`;
}

/**
 * One line that shows how far a download is.
 *
 * Needs no permissions.
 *
 * @param done Bytes that have come.
 * @param total Bytes in all; not a positive number if that is unknown, and then there is no percentage and no eta.
 * @param bytesPerSecond The rate; at 0 there is no eta.
 * @returns The line, without a line end.
 *
 * @example
 * ```ts
 * import { renderProgressLine } from "@hotboot/hotboot";
 * import { assertEquals } from "@std/assert";
 *
 * const line = renderProgressLine(512 * 1024, 1024 * 1024, 128 * 1024);
 * assertEquals(line, " 50.0%  512 KB / 1.0 MB  128 KB/s  eta 4s");
 * ```
 */
export function renderProgressLine(done: number, total: number, bytesPerSecond: number): string {
  const rate = `${formatBytes(bytesPerSecond)}/s`;
  if (!(Number.isFinite(total) && total > 0)) return `${formatBytes(done)}  ${rate}`;
  const percent = Math.min(100, Math.max(0, (done / total) * 100)).toFixed(1).padStart(5);
  const parts = [`${percent}%`, `${formatBytes(done)} / ${formatBytes(total)}`, rate];
  if (bytesPerSecond > 0) parts.push(`eta ${formatDuration(Math.max(0, total - done) / bytesPerSecond)}`);
  return parts.join("  ");
}
