/** Texts with blanks in them. */

import { HotbootError } from "./error.ts";

/**
 * The text with what `value` gives for NAME in place of each `${NAME}`, and `$` in place of `$$`.
 *
 * @throws {HotbootError} when there is no such value.
 */
export function fill(text: string, value: (name: string) => string | undefined): string {
  return text.replaceAll(/\$(\$|\{([^}]*)\})/g, (_, what, name) => {
    if (what === "$") return "$";
    const found = value(name);
    if (found === undefined) throw new HotbootError(`\${${name}} stands for nothing`);
    return found;
  });
}
