/** How a command ends: the error message and the exit code. */

import { HostError, HotbootError, isDiskFull, messageOf } from "../../base/error.ts";
import { NoAnswerError } from "../../base/wait.ts";
import { printError, printFailure } from "../ui/console.ts";
import { UsageError } from "./command.ts";

/** The exit codes that scripts can rely on. */
export const [OK, FAILURE, USAGE, INTERRUPTED] = [0, 1, 2, 130];

/** What is known of a command that failed. */
export interface Failed {
  signal: AbortSignal;
  isVerbose: boolean;
  /** With `--json`, also standard output says why, unless something is there already. */
  isJson: boolean;
}

/** Prints why the command `name` failed, in one line, and returns the exit code. */
export async function reportFailure(error: unknown, name: string | undefined, failed: Failed): Promise<number> {
  const { signal, isVerbose, isJson } = failed;
  if (signal.aborted) {
    await printFailure("interrupted", { exitCode: INTERRUPTED, isJson });
    return INTERRUPTED;
  }
  if (error instanceof Deno.errors.BrokenPipe) return OK; // the reader has seen enough: hotboot logs | head
  const exitCode = error instanceof UsageError ? USAGE : FAILURE;
  const text = error instanceof Deno.errors.NotCapable
    ? refused(error, name)
    : !(error instanceof HotbootError) && isDiskFull(error) // nothing that knows more has caught it
    ? `the disk is full (${messageOf(error)}): free some space, and try again`
    : messageOf(error);
  const more = error instanceof HostError && name !== "doctor"
    ? "; run 'hotboot doctor'"
    : error instanceof NoAnswerError
    ? ": try again; 'hotboot logs' shows what the guest prints"
    : "";
  await printFailure(text + more, { exitCode, isJson });
  if (isVerbose) await printError(String((error as Error)?.stack));
  return exitCode;
}

/** Deno says: Requires read access to "/etc/shadow", run again with the --allow-read flag. */
function refused({ message }: Error, name = ""): string {
  const variable = message.match(/spawn subprocess with (\w+) environment variable/)?.[1];
  if (variable) {
    return `${variable} is set, so Deno lets no sandboxed command start a program: unset it ('env -u ${variable} hotboot ${name}')`;
  }
  const what = message.replace(/^Requires (.*?),? (run again|specify) .*$/s, "$1");
  return `'${name}' does not have ${what}: 'hotboot permissions ${name}' shows what it has`;
}
