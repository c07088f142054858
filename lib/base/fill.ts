/** Templates. */

import { HotbootError } from "./error.ts";

/**
 * Replaces each `${NAME}` in the text with `value` of NAME, and `$$` with `$`.
 *
 * @throws {HotbootError} if there is no such value.
 */
export function fill(text: string, value: (name: string) => string | undefined): string {
  return text.replaceAll(/\$(\$|\{([^}]*)\})/g, (_, what, name) => {
    if (what === "$") return "$";
    const found = value(name);
    if (found === undefined) throw new HotbootError(`\${${name}} is not defined: correct that name`);
    return found;
  });
}
