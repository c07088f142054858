/** Asks the person at the terminal. */

import { within } from "../../base/wait.ts";
import { printError } from "./console.ts";

/** Whether there is somebody to ask. */
export function canAsk(): boolean {
  return Deno.stdin.isTerminal() && Deno.stderr.isTerminal();
}

/** The line that is typed in answer to the question, which is printed on standard error; empty at the end of the input. */
export async function ask(question: string, signal: AbortSignal): Promise<string> {
  await printError(new TextEncoder().encode(question));
  const answer = new Uint8Array(1000); // a terminal gives one line
  const length = await within(Deno.stdin.read(answer), "the answer", { signal });
  return new TextDecoder().decode(answer.subarray(0, length ?? 0)).trim();
}
