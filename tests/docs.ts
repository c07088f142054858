/** What the documentation's tests read in README.md and docs/: fenced blocks, and the commands in them. */

import { walk } from "@std/fs/walk";
import { ROOT } from "../dev/deno.ts";
import { VERBS } from "../lib/cli/commands/verbs.ts";

/** A fenced block of a page. */
export interface Block {
  /** The page's path in the checkout. */
  page: string;
  /** The line of its first fence. */
  line: number;
  /** What stands behind that fence: `sh`, `yaml` … */
  language: string;
  text: string;
  /** Why its commands are parsed but not run: the comment `<!-- only parsed: WHY -->` before the block. */
  onlyParsed?: string;
}

/** README.md and the pages of docs/, by their paths in the checkout. */
export async function pages(): Promise<string[]> {
  const found = await Array.fromAsync(walk(`${ROOT}docs`, { includeDirs: false }));
  const paths = found.map(({ path }) => path.slice(ROOT.length)).filter((path) => path.endsWith(".md"));
  return ["README.md", ...paths.sort()];
}

/** The fenced blocks of a page. */
export async function blocksOf(page: string): Promise<Block[]> {
  const source = await Deno.readTextFile(ROOT + page);
  const fenced = /^(?:<!-- only parsed: (.+) -->\n\n?)?```(.*)\n([^]*?)^```$/gm;
  return Array.from(source.matchAll(fenced), ({ 0: all, 1: onlyParsed, 2: language, 3: text, index }) => {
    const before = source.slice(0, index + all.indexOf("```"));
    return { page, line: before.split("\n").length, language, text, onlyParsed };
  });
}

/** The simple commands of a shell script, as lists of words. Quotes are removed, and variables stay as they are. */
export function commandsIn(script: string): string[][] {
  const commands: string[][] = [[]];
  const token =
    /\\\n|[ \t]+|#[^\n]*|(\n|;|&&|\|\|?|&|[()])|\d*[<>]+&?[ \t]*\S+|((?:'[^']*'|"(?:\\.|[^"])*"|\\.|[^\s;&|()<>'"\\])+)/gy;
  for (const [all, end, word] of script.matchAll(token)) {
    if (end) commands.push([]);
    else if (word) commands.at(-1)!.push(unquoted(word));
    else if (all === "") break;
  }
  return commands.filter((words) => words.length > 0);
}

function unquoted(word: string): string {
  return word.replaceAll(
    /'([^']*)'|"((?:\\.|[^"])*)"|\\(.)/g,
    (_, single, double, escaped) => single ?? double ?? escaped,
  );
}

/** The commands of hotboot in a page's text, outside of its blocks: `hotboot start`, or just `start --cold`. */
export async function inlineCommandsOf(page: string): Promise<string[][]> {
  const source = await Deno.readTextFile(ROOT + page);
  const text = source.replaceAll(/^```[^]*?^```$/gm, "");
  const spans = Array.from(text.matchAll(/`([^`]+)`/g), ([, span]) => commandsIn(span.replaceAll("\n", " "))[0] ?? []);
  return spans.flatMap((words) => {
    if (words[0] === "hotboot") return words.length > 1 ? [words] : [];
    const isCommand = Object.hasOwn(VERBS, words[0]) && words.some((word) => word.startsWith("--"));
    return isCommand ? [["hotboot", ...words]] : [];
  });
}
