/** Programs that this one started. */

/** Asks the child to end (SIGTERM) if the signal aborts, until disposed of. */
export function terminateOnAbort(child: Deno.ChildProcess, signal: AbortSignal): Disposable {
  const end = () => {
    try {
      child.kill("SIGTERM");
    } catch {
      // it has ended
    }
  };
  if (signal.aborted) end();
  signal.addEventListener("abort", end, { once: true });
  return { [Symbol.dispose]: () => signal.removeEventListener("abort", end) };
}
