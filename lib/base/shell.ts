/** Commands for a POSIX shell. */

/** A program and its arguments as one command, whatever characters are in them. */
export function shellCommand(words: string[]): string {
  return words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
}
