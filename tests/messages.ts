/** The messages of lib/, from its syntax trees. Only `deno test` has Deno's parser. */

import { walk } from "@std/fs/walk";
import { ROOT } from "../dev/deno.ts";

const LIB = `${ROOT}lib/`;

/** Classes whose errors no user meets as they are. */
const CAUGHT: Record<string, string> = {
  CutOff: "exec says why",
  EndedStream: "not an error",
  Error: "caught, or a defect",
  NoPorts: "exec takes another way, or adds the advice",
  NoRanges: "the whole file is downloaded",
  ProxyError: "its message has come with the advice",
  ReadableStream: "not an error",
  TooLate: "the memory is saved in another way",
  TooMuch: "the whole image is downloaded",
  TransientError: "tried again; the error after the last attempt has the advice",
  UnknownStream: "the memory is saved in another way",
  Unproven: "the error about the image has its reason, and the advice",
};

/** Classes whose errors' texts have two parts, and what stands between them. */
const BY_PARTS: Record<string, string> = { UnusableSnapshot: "; ", HostError: ": ", NoSockets: ": " };

const CLASS = /^(?:export )?class (\w+) extends (\w+) \{(\}|[^]*?^\})/gm;

interface Node {
  type: string;
  range: [number, number];
  // deno-lint-ignore no-explicit-any
  [field: string]: any;
}

/** The texts that an expression may be: both of a condition, and variables as in the source. */
function textsOf(node: Node, source: string): string[] {
  if (node.type === "ConditionalExpression") {
    return [node.consequent, node.alternate].flatMap((each) => textsOf(each, source));
  }
  if (node.type === "LogicalExpression") return [node.left, node.right].flatMap((each) => textsOf(each, source));
  if (node.type === "BinaryExpression" && node.operator === "+") {
    const [before, after] = [node.left, node.right].map((each) => textsOf(each, source));
    return before.flatMap((one) => after.map((other) => one + other));
  }
  const text = source.slice(...node.range).replaceAll(/\s+/g, " ");
  return [/^["`]/.test(text) ? text.slice(1, -1) : `\${${text}}`];
}

/** Visits the nodes of a file's syntax tree. */
function visit(file: string, source: string, visitor: Record<string, (node: Node) => void>): void {
  const plugin = { name: "messages", rules: { all: { create: () => visitor } } };
  Deno.lint.runPlugin(plugin as unknown as Deno.lint.Plugin, file, source);
}

/** What is thrown or warned of in a file. */
export function messagesIn(file: string, source: string): string[] {
  const found: string[] = [];
  const take = ({ arguments: [first] }: Node, todo: string[] = [""]) => {
    if (!first) return;
    found.push(...textsOf(first, source).flatMap((text) => todo.map((each) => `${file}: ${text}${each}`)));
  };
  visit(file, source, {
    NewExpression: (node: Node) => {
      const { name = "" } = node.callee;
      const between = BY_PARTS[name];
      if (between) take(node, textsOf(node.arguments[1], source).map((todo) => between + todo));
      else if (ERRORS.get(name)?.isTextGiven) take(node);
    },
    CallExpression: (node: Node) => {
      if (node.callee.property?.name === "warn") take(node);
      if (node.callee.type === "Super" && node.arguments[0]?.type !== "Identifier") {
        const name = classAround(node);
        if (ERRORS.has(name) && !BY_PARTS[name]) take(node);
      }
    },
  });
  return found;
}

function classAround({ parent }: Node): string {
  return parent.type === "ClassDeclaration" ? parent.id.name : classAround(parent as Node);
}

/** The classes of lib/ whose errors users meet, and whether who makes one gives its text. */
const ERRORS = await errorClasses();

async function errorClasses(): Promise<Map<string, { isTextGiven: boolean }>> {
  const declared = new Map<string, { parent: string; body: string }>();
  for await (const { path } of walk(LIB, { includeDirs: false })) {
    for (const [, name, parent, body] of (await Deno.readTextFile(path)).matchAll(CLASS)) {
      declared.set(name, { parent, body });
    }
  }
  const isError = (name = ""): boolean => name === "Error" || declared.has(name) && isError(declared.get(name)!.parent);
  const isTextGiven = (name: string): boolean => {
    const { parent, body } = declared.get(name) ?? {};
    if (parent === undefined) return true;
    return body!.includes("constructor(") ? !/\bsuper\([`"]/.test(body!) : isTextGiven(parent);
  };
  const names = declared.keys().filter((name) => isError(name) && !Object.hasOwn(CAUGHT, name));
  return new Map(names.map((name) => [name, { isTextGiven: isTextGiven(name) }]));
}

/** What is said by parts: why an accelerator is passed over, as {@linkcode describePassedOver} says it, and what a start lacks. */
function saidByParts(file: string, source: string): string[] {
  const found: string[] = [];
  visit(file, source, {
    ObjectExpression({ properties }: Node) {
      const textOf = (name: string): string => {
        const value = properties.find(({ key }: Node) => key?.name === name)?.value;
        return value ? textsOf(value, source).at(-1)! : "";
      };
      const [why, remedy, what, todo] = ["why", "remedy", "what", "todo"].map(textOf);
      if (why && remedy) {
        found.push(`${file}: the guest's CPUs are emulated, without \${accelerator}: ${why}; ${remedy}`);
      }
      if (what && todo) found.push(`${file}: ${what}: ${todo}`);
    },
  });
  return found;
}

/** What is thrown or warned of in lib/: `FILE: TEXT`, with variables as in the source. */
export function allMessages(): Promise<string[]> {
  return fromLib(messagesIn);
}

async function fromLib(read: (file: string, source: string) => string[]): Promise<string[]> {
  const found: string[] = [];
  for await (const { path } of walk(LIB, { includeDirs: false })) {
    if (path.endsWith(".ts")) found.push(...read(path.slice(LIB.length), await Deno.readTextFile(path)));
  }
  return found;
}

/** A message as a person sees it. */
export interface Message {
  /** The file of lib/ that it comes from. */
  file: string;
  /** With `…` for each variable part. */
  text: string;
}

/** What a person can meet: each message once, without those that are only another's text. */
export async function shownMessages(): Promise<Message[]> {
  const all = [...await allMessages(), ...await fromLib(saidByParts)];
  const shown = all.map((each) => {
    const [, file, text] = each.match(/^(\S+): ([^]*)$/)!;
    return { file, text: withoutExpressions(text) };
  });
  const seen = new Set<string>();
  return shown.filter(({ file, text }) => {
    const isNew = !seen.has(`${file} ${text}`);
    seen.add(`${file} ${text}`);
    return isNew && /[a-z]{2,}.* [a-z]{2,}/i.test(text.replaceAll("…", ""));
  });
}

/** The text of a string literal with `…` in place of each expression. */
function withoutExpressions(literal: string): string {
  let text = "";
  for (let at = 0; at < literal.length; at++) {
    if (literal[at] === "\\") text += literal[++at] === "n" ? " " : literal[at];
    else if (literal.startsWith("${", at)) {
      let depth = 0;
      do depth += Number(literal[at] === "{") - Number(literal[at] === "}"); while (literal[at++] !== "}" || depth > 0);
      at--;
      text += "…";
    } else text += literal[at];
  }
  return text.replaceAll(/…(?:…|\s(?=…))+/g, "…").trim();
}
