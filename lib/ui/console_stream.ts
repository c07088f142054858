/** The console of a guest, as events for a browser: only its text, and no more of it than a person can read. */

import { messageOf } from "../base/error.ts";
import { printableLines, printableOutput } from "../base/printable.ts";
import { sleep } from "../base/wait.ts";
import type { Ask } from "./ask.ts";
import { Changing, eventsOf } from "./events.ts";

/** The lines to begin with. */
const FIRST_LINES = 300;
/** What is kept of what a guest prints: characters. */
const KEPT = 64 * 1024;
/** Between two events. */
const PAUSE_MS = 250;

/** What the browser shows: the end of what was printed, in place of what it has shown. */
interface Shown {
  text: string;
  /** Why there is no more. */
  fault?: string;
}

/**
 * The body of an answer: the end of the console whenever there is more of it, until the browser has gone.
 *
 * @param options Those of `logs`, that name an instance.
 */
export function consoleOf(ask: Ask, options: string[], signal: AbortSignal): ReadableStream<Uint8Array> {
  const end = new AbortController();
  const shown = new Changing<Shown>({ text: "" });
  void follow(ask, options, AbortSignal.any([end.signal, signal]), shown);
  return eventsOf(shown, signal, () => end.abort());
}

async function follow(ask: Ask, options: string[], signal: AbortSignal, shown: Changing<Shown>): Promise<void> {
  const bytes = new TransformStream<Uint8Array, Uint8Array>();
  const writer = bytes.writable.getWriter();
  let fault = "";
  const asked = ask({
    name: "logs",
    args: [...options, "--follow", "--lines", String(FIRST_LINES)],
    signal,
    output: (to, piece) => {
      if (to === "stdout") return writer.write(piece);
      fault = printableLines(new TextDecoder().decode(piece)).replace(/^hotboot: /, "").trim() || fault;
    },
  });
  const read = async () => {
    const decoder = new TextDecoder();
    let text = "";
    let pause = Promise.resolve();
    let isShown = true;
    for await (const piece of bytes.readable.pipeThrough(printableOutput())) {
      text = (text + printableLines(decoder.decode(piece, { stream: true }))).slice(-KEPT);
      if (!isShown) continue; // it will be
      isShown = false;
      pause = pause.then(() => sleep(PAUSE_MS)).then(() => {
        isShown = true;
        shown.value = { text };
      });
    }
    await pause;
    shown.value = { text, ...(!signal.aborted && fault && { fault }) };
  };
  try {
    const reading = read();
    await asked.catch((error) => fault = messageOf(error)).finally(() => writer.close().catch(() => {}));
    await reading;
  } catch {
    // the browser has gone
  }
}
