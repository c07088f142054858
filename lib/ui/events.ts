/** Server-sent events: a browser gets the newest value, and none that it was too slow for. */

/** For how long a connection is silent at most. */
const PING_MS = 15_000;

/** A value that changes, and whoever waits for that. */
export class Changing<T> {
  #value: T;
  #version = 0;
  #waiting: (() => void)[] = [];

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    return this.#value;
  }

  set value(value: T) {
    this.#value = value;
    this.#version++;
    this.#waiting.splice(0).forEach((go) => go());
  }

  /** The value when it is another than that of `version`, with its own version; or the same one after `ms`, or at the end. */
  async after(version: number, ms: number, end: AbortSignal): Promise<{ value: T; version: number }> {
    if (version === this.#version && !end.aborted) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.push(resolve);
      const timer = setTimeout(resolve, ms);
      end.addEventListener("abort", resolve as () => void);
      await promise;
      clearTimeout(timer);
      end.removeEventListener("abort", resolve as () => void);
      this.#waiting = this.#waiting.filter((each) => each !== resolve);
    }
    return { value: this.#value, version: this.#version };
  }
}

/**
 * The body of an answer: an event with each new value.
 *
 * @param end Ends it.
 * @param onEnd Called when the browser has gone.
 */
export function eventsOf<T>(changing: Changing<T>, end: AbortSignal, onEnd: () => void): ReadableStream<Uint8Array> {
  let seen = -1;
  let isOver = false;
  const encoder = new TextEncoder();
  return new ReadableStream({
    async pull(controller) {
      const { value, version } = await changing.after(seen, PING_MS, end);
      if (isOver) return;
      if (end.aborted) return controller.close();
      controller.enqueue(encoder.encode(version === seen ? ":\n\n" : `data: ${JSON.stringify(value)}\n\n`));
      seen = version;
    },
    cancel() {
      isOver = true;
      onEnd();
    },
  }, { highWaterMark: 1 });
}
