/** Reads JSON that a person writes: with comments and trailing commas. Says where something is, and what is wrong with it. */

import { evaluate, parse, type ValueNode } from "@humanwhocodes/momoa";
import { HotbootError, messageOf } from "../base/error.ts";
import { quoted } from "../base/printable.ts";

/** A place in a text, as editors count: from 1. */
export interface Place {
  line: number;
  column: number;
}

/** Something wrong, and where. */
export interface JsonFault extends Place {
  /** It begins with a verb: "is not JSON". */
  what: string;
  /** Why, or what to do. */
  more: string;
  /** There is no value then, because nothing could work with it. */
  spoils?: true;
}

/** A profile needs eight levels. Programs that go through a value by recursion end somewhere above a thousand. */
const DEEPEST = 100;

/** A JSON text that was read. */
export interface JsonText {
  /** Its value; `undefined` if it is not JSON. */
  value?: unknown;
  /** What is wrong, in the text's order. */
  faults: JsonFault[];
  /** Where the field or item at a JSON pointer such as `#/health/0/path` is; if there is none, the innermost one around it. */
  placeOf(pointer: string): Place;
}

/** Reads a JSON text, which may begin with a byte-order mark. */
export function readJson(text: string): JsonText {
  const body = text.replace(/^\ufeff/, "");
  try {
    const root = parse(body, { mode: "jsonc", allowTrailingCommas: true }).body;
    const faults = Array.from(faultsIn(root, body));
    const value = faults.some(({ spoils }) => spoils) ? undefined : evaluate(root);
    return { value, faults, placeOf: (at) => placeIn(root, at) };
  } catch (error) {
    if (error instanceof RangeError) { // the parser's stack, or that of what goes through the tree
      const place = { line: 1, column: 1 };
      return { faults: [tooDeep(place)], placeOf: () => place };
    }
    const { line, column, offset } = error as Partial<Place & { offset: number }>;
    if (line === undefined || column === undefined || offset === undefined) throw error;
    const place = { line, column };
    return { faults: [notJson(place, stopped(messageOf(error), body.slice(offset)))], placeOf: () => place };
  }
}

/**
 * The value of a JSON text.
 *
 * @throws {HotbootError} if it is no JSON, or has a field twice. The message begins with a verb: "is not JSON (line 1, column 2): …".
 */
export function parseJson(text: string): unknown {
  const { value, faults: [fault] } = readJson(text);
  if (fault) {
    const { what, line, column, more } = fault;
    throw new HotbootError(`${what} (line ${line}, column ${column}): ${more}`);
  }
  return value;
}

function notJson({ line, column }: Place, more: string): JsonFault {
  return { line, column, what: "is not JSON", more };
}

function tooDeep(place: Place): JsonFault {
  return { ...notJson(place, `it is nested more than ${DEEPEST} levels deep: make it flatter`), spoils: true };
}

/** Why the parser stopped at this place, in front of the rest of the text. */
function stopped(message: string, rest: string): string {
  if (message.includes("end of input")) return "the text ends too early: complete it";
  const [found] = rest.match(/^(?:"(?:[^"\\\n]|\\.)*"|[\w.+-]+|[^])/) ?? [""];
  const left = rest.slice(found.length).replaceAll(/\/\/.*|\/\*[^]*?(?:\*\/|$)/g, "").trim();
  if (message.includes("token") && left === "") return "the text is not complete here, or has too much: correct it";
  const shown = found.length > 40 ? `${found.slice(0, 40)}…` : found;
  return `${quoted(shown)} cannot be here, or something is missing before it: correct that`;
}

/** What the parser accepts and is wrong all the same: a field that an object has already, as the last one would win; raw control characters. */
function* faultsIn(node: ValueNode, text: string, depth = 0): Generator<JsonFault> {
  if (depth > DEEPEST) return yield tooDeep(node.loc.start);
  if (node.type === "String") {
    if (!node.value.isWellFormed()) { // RFC 7493, 2.1; no address can be made of it
      yield {
        ...notJson(node.loc.start, "this text has half a character in it, such as \\ud800: complete it"),
        spoils: true,
      };
    }
    // deno-lint-ignore no-control-regex -- what JSON does not allow in texts
    if (/[\x00-\x1f]/.test(text.slice(node.loc.start.offset, node.loc.end.offset))) {
      yield notJson(
        node.loc.start,
        "this text has a line's end or another control character in it: write \\n, \\t or \\u0000",
      );
    }
  } else if (node.type === "Array") {
    for (const { value } of node.elements) yield* faultsIn(value, text, depth + 1);
  } else if (node.type === "Object") {
    const seen = new Set<string>();
    for (const { name, value } of node.members) {
      const key = nameOf(name);
      const { line, column } = name.loc.start;
      if (seen.has(key)) {
        yield { line, column, what: `has the field '${key}' twice in one object`, more: "remove one of them" };
      }
      seen.add(key);
      if (name.type === "String") yield* faultsIn(name, text);
      yield* faultsIn(value, text, depth + 1);
    }
  }
}

/** The place of the field or item at a pointer, or of the innermost one around it. */
function placeIn(root: ValueNode, pointer: string): Place {
  const steps = pointer.split("/").slice(1).map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
  let node = root;
  let place: Place = root.loc.start;
  for (const step of steps) {
    const found = node.type === "Array"
      ? node.elements[Number(step)]
      : node.type === "Object"
      ? node.members.findLast(({ name }) => nameOf(name) === step)
      : undefined;
    if (!found) break;
    node = found.value;
    place = found.loc.start;
  }
  return { line: place.line, column: place.column };
}

function nameOf(name: { value: string } | { name: string }): string {
  return "value" in name ? name.value : name.name;
}
