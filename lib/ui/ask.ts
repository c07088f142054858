/** The commands that the page asks for: each runs as if a user had typed it, in a sandbox of its own. */

import { HotbootError } from "../base/error.ts";
import { printableLines } from "../base/printable.ts";

/** A command that another one asks for. */
export interface Asked {
  /** Its name: `start`, `snapshot save`. */
  name: string;
  /** Its arguments, as a user would type them. */
  args: string[];
  /** Ends it, as Ctrl-C does. */
  signal?: AbortSignal;
  /** Gets what it prints, and takes its time: the command waits. */
  output(to: "stdout" | "stderr", bytes: Uint8Array): void | Promise<void>;
}

/** Runs a command, and gives its exit code. */
export type Ask = (asked: Asked) => Promise<number>;

/** The longest result, in characters. */
const MOST_LENGTH = 16 * 2 ** 20;

/**
 * The result of a command, from what it prints with `--json`.
 *
 * @param onLine Gets each line of what it reports meanwhile.
 * @throws {HotbootError} with its last line, if it fails.
 */
export async function resultOf<T>(
  ask: Ask,
  { name, args, signal }: Omit<Asked, "output">,
  onLine: (line: string) => void = () => {},
): Promise<T> {
  const [out, err] = [new TextDecoder(), new TextDecoder()];
  let result = "";
  let rest = "";
  let last = "";
  const output: Asked["output"] = (to, bytes) => {
    if (to === "stdout") {
      if (result.length <= MOST_LENGTH) result += out.decode(bytes, { stream: true });
      return;
    }
    const lines = (rest + err.decode(bytes, { stream: true })).split("\n");
    rest = lines.pop()!;
    for (const line of lines.map((line) => printableLines(line).replace(/^hotboot: /, ""))) {
      last = line || last;
      onLine(line);
    }
  };
  const code = await ask({ name, args: [...args, "--json"], output, ...(signal && { signal }) });
  if (code !== 0) throw new HotbootError(last || `'${name}' failed: use it in a terminal to see why`);
  if (result.length > MOST_LENGTH) throw new HotbootError(`'${name}' prints too much: use it in a terminal`);
  return JSON.parse(result);
}
