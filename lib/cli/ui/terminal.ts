/** The user's terminal as the screen and the keyboard of a program elsewhere. */

import { print } from "./console.ts";

/** The size if it is unknown: that of the terminals that all others imitate. */
const USUAL = { columns: 80, rows: 24 };
const [LF, VT, CR] = [0x0a, 0x0b, 0x0d];

/** The terminal's size, in characters. */
export function terminalSize(): { columns: number; rows: number } {
  try {
    const { columns, rows } = Deno.consoleSize();
    return columns > 0 && rows > 0 ? { columns, rows } : USUAL;
  } catch {
    return USUAL;
  }
}

/** The terminal's size each time that it changes. */
export function terminalSizes(): ReadableStream<{ columns: number; rows: number }> {
  return new ReadableStream({
    start: (controller) => Deno.addSignalListener("SIGWINCH", () => controller.enqueue(terminalSize())),
  });
}

/** Until it is disposed of, each key is passed on as it is typed: also Ctrl-C. */
export class RawKeyboard implements Disposable {
  constructor() {
    Deno.stdin.setRaw(true);
  }
  [Symbol.dispose](): void {
    Deno.stdin.setRaw(false);
  }
}

/**
 * Prints what another terminal has already prepared for the screen. Deno's raw mode leaves it on that the host's terminal goes
 * to the line's begin at each line feed. So a line feed that is to stay in its column is written as a vertical tab, which
 * terminals treat as one ("VT100 User Guide", control characters) and which is left alone.
 */
export function screen(): (bytes: Uint8Array) => Promise<void> {
  let last = 0;
  return async (bytes) => {
    for (let at = bytes.indexOf(LF); at >= 0; at = bytes.indexOf(LF, at + 1)) {
      if ((at > 0 ? bytes[at - 1] : last) !== CR) bytes[at] = VT;
    }
    last = bytes.at(-1) ?? last;
    await print(bytes);
  };
}
