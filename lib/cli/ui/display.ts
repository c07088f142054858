/** How to write to the terminal: in colour or not, and how wide it is. */

/** When to use colours. */
export const COLORS = ["auto", "always", "never"] as const;

/** What the user's options and variables say. The launcher finds it out, and the command's sandbox is told. */
export interface Display {
  color: (typeof COLORS)[number];
  /** How wide, whatever the terminal says. */
  columns?: number;
}

/** What can be a terminal. */
type Stream = { isTerminal(): boolean };

let display: Display = { color: "auto" };

/** From now on, write so. */
export function useDisplay(wanted: Display): void {
  display = wanted;
}

/**
 * What the environment says, where `--color` does not.
 *
 * Sources: no-color.org; force-color.org; bixense.com/clicolors; POSIX.1-2017, 8.3 (COLUMNS, TERM).
 */
export function displayOf(color: string | undefined): Display {
  const isForced = [Deno.env.get("FORCE_COLOR"), Deno.env.get("CLICOLOR_FORCE")].some((value) =>
    value && value !== "0"
  );
  const byVariables = Deno.env.get("NO_COLOR")
    ? "never"
    : isForced
    ? "always"
    : Deno.env.get("TERM") === "dumb"
    ? "never"
    : "auto";
  const columns = Number(Deno.env.get("COLUMNS"));
  return {
    color: COLORS.find((each) => each === color) ?? byVariables,
    ...(Number.isInteger(columns) && columns > 0 && { columns }),
  };
}

/** The width of a stream's lines, in characters; `Infinity` if it is no terminal, and `COLUMNS` is not set. */
export function columnsOf(stream: Stream): number {
  if (display.columns !== undefined) return display.columns;
  if (!stream.isTerminal()) return Infinity;
  try {
    return Deno.consoleSize().columns || Infinity; // 0: the terminal's size was never set
  } catch {
    return Infinity;
  }
}

/** Colours and weights, by their parameter of SGR. Source: ECMA-48, 8.3.117. */
const STYLES = { bold: "1", dim: "2", red: "31", green: "32", yellow: "33" };

/** How a text looks. */
export type Style = keyof typeof STYLES;

/** The text in that style, if the stream shows colours. What others have written must be made printable first. */
export function paint(text: string, style: Style | undefined, stream: Stream): string {
  const isColored = display.color === "always" || (display.color === "auto" && stream.isTerminal());
  return style && isColored && text !== "" ? `\x1b[${STYLES[style]}m${text}\x1b[0m` : text;
}
