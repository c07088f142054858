/** Waits with an end: every wait of hotboot has a limit and can be cancelled. */

import { HotbootError } from "./error.ts";

/** How long to wait, and what ends the wait early. */
export interface WaitOptions {
  /** The limit, in milliseconds. */
  timeoutMs?: number;
  /** Aborting it ends the wait with the signal's reason. */
  signal?: AbortSignal;
}

/** A limit has passed: QEMU, something in the guest or another program did not answer. */
export class NoAnswerError extends HotbootError {}

/**
 * The value of `promise`, unless the limit passes or the signal aborts first.
 *
 * @param what What is awaited, as the start of the error: `the guest agent`.
 * @throws {NoAnswerError} if the limit passes; the signal's reason if it aborts.
 */
export async function within<T>(promise: Promise<T>, what: string, options: WaitOptions): Promise<T> {
  const { timeoutMs, signal } = options;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let onAbort: (() => void) | undefined;
  const ends = new Promise<never>((_, reject) => {
    if (timeoutMs !== undefined) {
      timer = setTimeout(
        () => reject(new NoAnswerError(`${what} did not answer within ${timeoutMs / 1000} s`)),
        timeoutMs,
      );
    }
    if (signal) {
      onAbort = () => reject(signal.reason);
      if (signal.aborted) onAbort();
      else signal.addEventListener("abort", onAbort, { once: true });
    }
  });
  try {
    return await Promise.race([promise, ends]);
  } finally {
    clearTimeout(timer);
    if (onAbort) signal?.removeEventListener("abort", onAbort);
    promise.catch(() => {}); // the loser of the race may still fail later
  }
}

/** Sleeps `ms` milliseconds, or throws the signal's reason as soon as it aborts. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  return new Promise((resolve, reject) => {
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal!.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
