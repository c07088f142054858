/** The environment's variables in a profile's texts: `${env.NAME}` and `${env.NAME:-default}`. */

import { HotbootError } from "../base/error.ts";
import { isNotRead } from "./closed_variables.ts";

/** A variable that is set, with its value. */
export interface Variable {
  /** Its name. */
  name: string;
  /** Its value, which is not empty. */
  value: string;
}

/** Returns a variable's value; `undefined`, or an empty text, if it is not set. */
export type ReadVariable = (name: string) => string | undefined;

type Part = string | { name: string; otherwise?: Part[] };

const VARIABLE = String.raw`\$\{env\.([A-Za-z_]\w*)(\}|:-)|\$\{env\.`;
const OTHERS = String.raw`\$\{[^}]*\}|\}`;
/** `$$` means `$` only before a variable: elsewhere it may be a shell's. */
const TOKEN = new RegExp(String.raw`\$\$(?=\{env\.)|${VARIABLE}|${OTHERS}`, "g");
const TOKEN_FILLED_AGAIN = new RegExp(String.raw`\$\$|${VARIABLE}|${OTHERS}`, "g");

/**
 * The text with the variables' values in it, and `${env.NAME}` itself in place of `$${env.NAME}`. Values are taken
 * literally: nothing in them is filled in again.
 *
 * @param isFilledAgain The result will be filled in again later: keeps `$$`, and escapes a `$` in a value.
 * @returns The text, and the variables in it.
 * @returns The text, and the variables that it was made with.
 * @throws {HotbootError} if a variable is not set and has no default, or is closed to profiles.
 */
export function fillVariables(
  text: string,
  isFilledAgain: boolean,
  read: ReadVariable = readVariable,
): { filled: string; variables: Variable[] } {
  const variables: Variable[] = [];
  const fill = (parts: Part[]): string =>
    parts.map((part) => {
      if (typeof part === "string") return part;
      if (isNotRead(part.name)) {
        throw new HotbootError(
          `the variable ${part.name} is closed to profiles, as all whose names end in TOKEN or _PROXY: choose another name`,
        );
      }
      const value = read(part.name);
      if (value) {
        variables.push({ name: part.name, value });
        return isFilledAgain ? value.replaceAll("$", "$$$$") : value;
      }
      if (part.otherwise) return fill(part.otherwise);
      throw new HotbootError(`the variable ${part.name} is not set: set it`);
    }).join("");
  return { filled: fill(parse(text, 0, false, isFilledAgain).parts), variables };
}

/** The parts from `start` on, to the end of the text or, `within` a variable, to its closing brace. */
function parse(text: string, start: number, within: boolean, isFilledAgain: boolean): { parts: Part[]; end: number } {
  const parts: Part[] = [];
  const token = new RegExp(isFilledAgain ? TOKEN_FILLED_AGAIN : TOKEN);
  token.lastIndex = start;
  let from = start;
  for (let found; (found = token.exec(text));) {
    const [whole, name, end] = found;
    const before = text.slice(from, found.index);
    if (whole === "}" && within) return { parts: [...parts, before], end: token.lastIndex };
    if (whole === "${env.") {
      throw new HotbootError(`'${text.slice(found.index)}' is not a variable: write \${env.NAME} or \${env.NAME:-…}`);
    }
    if (whole === "$$" && !isFilledAgain) parts.push(`${before}$`);
    else if (name === undefined) continue; // stays in the text
    else {
      const inner = end === ":-" ? parse(text, token.lastIndex, true, isFilledAgain) : undefined;
      parts.push(before, { name, ...(inner && { otherwise: inner.parts }) });
      if (inner) token.lastIndex = inner.end;
    }
    from = token.lastIndex;
  }
  if (within) throw new HotbootError(`'${text}' lacks a closing brace: add it`);
  return { parts: [...parts, text.slice(from)], end: text.length };
}

/** A variable of this program's environment. @throws {HotbootError} if the program may not read it. */
export function readVariable(name: string): string | undefined {
  try {
    return Deno.env.get(name);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
    throw new HotbootError(
      `hotboot may not read the variable ${name}: its binary reads variables that begin with EMULATOR_, HOTBOOT_ or STACK_, other programs those in --allow-env; choose another name`,
    );
  }
}
