/** Reads JSON that a person writes: with comments and trailing commas. Says where something is, and what is wrong with it. */

import {
  findNodeAtLocation,
  getNodeValue,
  type Node,
  type ParseError,
  parseTree,
  printParseErrorCode,
} from "jsonc-parser";
import { HotbootError } from "../base/error.ts";

/** A place in a text, as editors count: from 1. */
export interface Place {
  line: number;
  column: number;
}

/** Something wrong, and where. */
export interface JsonFault extends Place {
  /** It begins with a verb: "is not JSON: …". */
  why: string;
}

/** A JSON text that was read as far as possible. */
export interface JsonText {
  /** Its value; what is wrong may be missing in it. */
  value: unknown;
  /** What is wrong, in the text's order. */
  faults: JsonFault[];
  /** Where the value at a JSON pointer such as `#/health/0/path` begins; if there is none, the innermost one around it. */
  placeOf(pointer: string): Place;
}

/** What the parser's errors mean. */
const WHY: Record<string, string> = {
  InvalidSymbol: "this is no JSON value: put texts in double quotes",
  InvalidNumberFormat: "this is no number: correct it",
  PropertyNameExpected: "a field's name must be here: write it in double quotes",
  ValueExpected: "a value must be here: add it",
  ColonExpected: "a colon must be here: add it",
  CommaExpected: "a comma must be here: add it",
  CloseBraceExpected: "a '}' must be here: add it",
  CloseBracketExpected: "a ']' must be here: add it",
  EndOfFileExpected: "the value has already ended: remove the rest",
  UnexpectedEndOfComment: "a comment does not end: add '*/'",
  UnexpectedEndOfString: "a text does not end: add a double quote",
  UnexpectedEndOfNumber: "a number does not end: complete it",
  InvalidUnicode: "this is no character: write \\u and four hexadecimal digits",
  InvalidEscapeCharacter: "this is no escape sequence: write \\\\ for a backslash",
  InvalidCharacter: "this character must be escaped: use \\t, \\n or \\u",
};

/** Reads a JSON text, which may begin with a byte-order mark. */
export function readJson(text: string): JsonText {
  const errors: ParseError[] = [];
  const marked = text.startsWith("\ufeff");
  const body = marked ? text.slice(1) : text;
  const root = parseTree(body, errors, { allowTrailingComma: true });
  const placeAt = (offset: number): Place => {
    const before = body.slice(0, offset).split("\n");
    return { line: before.length, column: before.at(-1)!.length + 1 };
  };
  const wrong = errors.map(({ error, offset }) => {
    const place = placeAt(offset);
    const why = WHY[printParseErrorCode(error)] ?? "this is not allowed: correct it";
    return { offset, ...place, why: `is not JSON: line ${place.line}, column ${place.column}: ${why}` };
  });
  const twice = (root ? repeated(root) : []).map(({ value, offset }) => {
    const place = placeAt(offset);
    const where = `line ${place.line}, column ${place.column}`;
    return {
      offset,
      ...place,
      why: `has the field '${value}' twice in one object, again at ${where}: remove one of them`,
    };
  });
  return {
    value: root && getNodeValue(root),
    // One mistake may have led to the next.
    faults: [...wrong, ...twice].sort((a, b) => a.offset - b.offset).map(({ offset: _, ...fault }) => fault),
    placeOf: (pointer) => placeAt(root ? nodeAt(root, pointer).offset : 0),
  };
}

/**
 * The value of a JSON text.
 *
 * @throws {HotbootError} if it is no JSON, or has a field twice. The message begins with a verb: "is not JSON: …".
 */
export function parseJson(text: string): unknown {
  const { value, faults: [fault] } = readJson(text);
  if (fault) throw new HotbootError(fault.why);
  return value;
}

/** The names of fields that an object has already, as nodes; the last one would win. */
function repeated(node: Node): Node[] {
  const seen = new Set<string>();
  return (node.children ?? []).flatMap((child) => {
    if (node.type === "array") return repeated(child);
    const [name, value] = child.children!; // of a field
    const isAgain = seen.has(name.value);
    seen.add(name.value);
    return [...isAgain ? [name] : [], ...value ? repeated(value) : []];
  });
}

/** The node at a pointer, or the innermost one around it; of a field, its name. */
function nodeAt(root: Node, pointer: string): Node {
  const steps = pointer.split("/").slice(1).map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
  let found = root;
  for (const step of steps) {
    const next = findNodeAtLocation(found, [found.type === "array" ? Number(step) : step]);
    if (!next) break;
    found = next;
  }
  return found.parent?.type === "property" ? found.parent : found;
}
