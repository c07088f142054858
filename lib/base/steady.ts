/** A clock that nobody steps, for what is measured with a part of it in a guest. */

/** Milliseconds since 1970: right when hotboot began, and as even as the monotonic clock from then on. */
export function steadyNow(): number {
  return performance.timeOrigin + performance.now();
}

/** How far the host's clock has been stepped since hotboot began, in milliseconds. A host that slept counts, too. */
export function steppedBy(): number {
  return Date.now() - steadyNow();
}
