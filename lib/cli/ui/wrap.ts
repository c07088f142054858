/** Fits texts into a width. */

/**
 * The text's words in lines of at most `columns` characters. Its own line ends count as spaces. A longer word is not broken.
 *
 * @param indent What each line but the first begins with.
 */
export function wrap(text: string, columns: number, indent = ""): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/\s+/).filter((word) => word !== "")) {
    const begin = lines.length === 0 ? "" : indent;
    if (line === "") line = begin + word;
    else if (line.length + 1 + word.length <= columns) line += ` ${word}`;
    else {
      lines.push(line);
      line = indent + word;
    }
  }
  return [...lines, line].join("\n");
}

/** Pairs of a term and its explanation: beside each other if there is room, otherwise below each other. */
export function wrapPairs(pairs: [string, string][], columns: number, indent = "  "): string[] {
  const width = Math.max(...pairs.map(([term]) => term.length)) + indent.length + 2;
  const hasRoom = columns - width >= LEAST_EXPLANATION;
  const under = " ".repeat(hasRoom ? width : indent.length + 4);
  return pairs.map(([term, text]) =>
    hasRoom
      ? (indent + term).padEnd(width) + wrap(text, columns - width).replaceAll("\n", `\n${under}`)
      : `${indent}${term.trimStart()}\n${under}${wrap(text, columns - under.length).replaceAll("\n", `\n${under}`)}`
  );
}

/** An explanation in fewer columns than these is hard to read. */
const LEAST_EXPLANATION = 30;
