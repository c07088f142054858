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
  await printFailure(failureText(error, name), { exitCode, isJson });
  if (isVerbose) await printError(String((error as Error)?.stack));
  return exitCode;
}

/** Why the command `name` failed, and what to do: also where nothing that knows more has caught the system's own error. */
export function failureText(error: unknown, name?: string): string {
  const text = messageOf(error);
  if (error instanceof HostError && name !== "doctor") return `${text}; run 'hotboot doctor'`;
  if (error instanceof NoAnswerError) return `${text}: try again; 'hotboot logs' shows what the guest prints`;
  if (error instanceof HotbootError) return text;
  if (error instanceof Deno.errors.NotCapable) return refused(error, name);
  if (isDiskFull(error)) return `the disk is full (${text}): free some space, and try again`;
  if (error instanceof Deno.errors.PermissionDenied) {
    return `${text}: get access to it; if 'sudo hotboot' has made it, 'sudo chown -R "$USER"' gives you hotboot's home back`;
  }
  return text;
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
