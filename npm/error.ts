/**
 * Something hotboot could not do. The message is one line that says what happened, why, and what to do; it never contains a
 * secret.
 */
export class HotbootError extends Error {
  /** The class's name, for logs. */
  override name = "HotbootError";
  /** The command's exit code: 1 if it failed, 2 for a wrong command line, 130 if it was interrupted. */
  readonly exitCode: number;

  constructor(message: string, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}
