/** Looks at HTML and SVG that is XML, too. */

import { assert } from "@std/assert";
import { type Document, DOMParser, type Element } from "@xmldom/xmldom";

/** The document, which must be well-formed. */
export function parse(text: string): Document {
  const onError = (level: string, message: string) => {
    if (/replacement character/.test(message)) return; // it stands for what is not allowed
    throw new Error(`${level}: ${message}`);
  };
  return new DOMParser({ onError }).parseFromString(text, "application/xml");
}

/** All elements, in their order. */
export function elements(document: Document): Element[] {
  return Array.from(document.getElementsByTagName("*"));
}

/** Asserts that nothing in it runs, or loads anything. */
export function assertInert(document: Document): void {
  const allowed = new Set(
    "html head meta title style body main h1 h2 p section table caption thead tbody tr th td svg desc rect line text"
      .split(" "),
  );
  for (const element of elements(document)) {
    assert(allowed.has(element.tagName), element.tagName);
    for (const { name, value } of Array.from(element.attributes)) {
      assert(!/^on|href|^src|^style$/.test(name), name);
      assert(name === "xmlns" || !/:\/\/|url\(|javascript:/.test(value), value);
    }
    if (element.tagName === "style") assert(!/url\(|@import|<|&/.test(element.textContent!));
  }
}

/** The texts of the elements of this name. */
export const textsOf = (document: Document, tag: string) =>
  Array.from(document.getElementsByTagName(tag), ({ textContent }) => textContent);
