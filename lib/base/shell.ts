/** Commands for a POSIX shell. */

/** A program and its arguments as one command, whatever characters are in them. */
export function shellCommand(words: string[]): string {
  return words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
}

/** A value as a word of a shell, in quotes only if it needs them. */
export function shellWord(value: string): string {
  return /^[\w@%+=:,./-]+$/.test(value) ? value : shellCommand([value]);
}

/** Lines `NAME=value` that a shell and readers of `.env` files understand. */
export function assignments(values: Record<string, string>): string {
  return Object.entries(values).map(([name, value]) => `${name}=${shellWord(value)}`).join("\n");
}
