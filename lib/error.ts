/**
 * The errors that a person can act on.
 *
 * @module
 */

/**
 * Something hotboot could not do. The message is one line that says what, why and what to do about it; it never
 * holds a secret. Programs that show it need nothing else, so the CLI prints it without a stack.
 *
 * @example
 * ```ts
 * import { HotbootError } from "@hotboot/hotboot";
 *
 * try {
 *   throw new HotbootError("no image of 'demo': run 'hotboot build --profile demo'");
 * } catch (error) {
 *   if (error instanceof HotbootError) console.error(error.message);
 * }
 * ```
 */
export class HotbootError extends Error {
  /** The class's name, for logs. */
  override name = "HotbootError";
}

/** The one-line text of whatever was thrown. */
export function messageOf(error: unknown): string {
  const text = (error instanceof Error ? error.message : String(error)).trim().replaceAll(/\s*\n\s*/g, "; ");
  // deno-lint-ignore no-control-regex -- other programs' words may hold what a terminal obeys
  return text.replaceAll(/\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x1f\x7f]/g, "");
}
