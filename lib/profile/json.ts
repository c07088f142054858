/** Reads JSON that a person writes, and says what is wrong with it in their words. */

import { HotbootError, messageOf } from "../base/error.ts";

/** What decides about its form: texts, comments, brackets, colons and commas. */
const TOKENS = /"(?:[^"\\]|\\.)*"|\/\/|\/\*|[{}[\]:,]/g;

/**
 * The value of a JSON text, which may begin with a byte-order mark.
 *
 * @throws {HotbootError} if it is no JSON, or has a field twice. The message begins with a verb: "is not JSON: …".
 */
export function parseJson(text: string): unknown {
  text = text.replace(/^\ufeff/, "");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new HotbootError(`is not JSON: ${extension(text) ?? `${messageOf(error)}: correct that`}`);
  }
  const twice = repeatedField(text);
  if (twice) throw new HotbootError(`has the field '${twice}' twice in one object: remove one of them`);
  return value;
}

/** The first thing in it that other languages allow, and JSON does not. */
function extension(text: string): string | undefined {
  let last = "";
  for (const { 0: token, index } of text.matchAll(TOKENS)) {
    const line = `line ${text.slice(0, index).split("\n").length}`;
    if (token === "//" || token === "/*") return `${line} has a comment: remove it`;
    if (last === "," && (token === "}" || token === "]")) {
      return `${line} has '${token}' after a comma: remove the comma`;
    }
    last = token;
  }
}

/** The name of the first field that an object has twice; the last one would win. */
function repeatedField(json: string): string | undefined {
  const objects: (Set<string> | undefined)[] = []; // of an array: none
  let text = "";
  for (const [token] of json.matchAll(TOKENS)) {
    if (token === "{") objects.push(new Set());
    else if (token === "[") objects.push(undefined);
    else if (token === "}" || token === "]") objects.pop();
    else if (token === ":") {
      const [name, names] = [JSON.parse(text) as string, objects.at(-1)!];
      if (names.has(name)) return name;
      names.add(name);
    } else text = token;
  }
}
