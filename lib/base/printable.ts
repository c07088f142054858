/**
 * What a terminal obeys, kept out of texts that others have written: guests, servers, archives, file names.
 *
 * Sources: ECMA-48, 5.2 to 5.4: C0, C1 and control sequences; Unicode Standard Annex 9, 2: directional formatting characters.
 */

/** Control characters, line and paragraph separators, and what changes the direction of text. */
const CONTROL = "\\x00-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ufeff";
const SEQUENCE = "\\x1b\\[[0-9;?]*[A-Za-z]";

const IN_A_LINE = new RegExp(`${SEQUENCE}|[${CONTROL}]`, "g");
const IN_LINES = new RegExp(`${SEQUENCE}|(?![\\n\\t])[${CONTROL}]`, "g");
/** Of a console's output, colours and ends of lines stay. */
const IN_OUTPUT = new RegExp(`(?!\\x1b\\[[0-9;]*m)(?:${SEQUENCE}|(?![\\n\\r\\t])[${CONTROL}])`, "g");
const HAS = new RegExp(`[${CONTROL}]`);
const EACH = new RegExp(`[${CONTROL}]`, "g");

/** The text in one line, without anything that a terminal obeys. */
export function printable(text: string): string {
  return text.replaceAll(IN_A_LINE, "");
}

/** The same, with its lines and tabs. */
export function printableLines(text: string): string {
  return text.replaceAll(IN_LINES, "");
}

/** The text as it is or, if a terminal would obey some of it, as a JSON string that names each such character. */
export function quoted(text: string): string {
  return HAS.test(text) ? escapedJson(JSON.stringify(text)) : text;
}

/** JSON text of the same value, in which a terminal obeys nothing. Line feeds between the values stay. */
export function escapedJson(json: string): string {
  return json.replaceAll(
    EACH,
    (each) => each === "\n" ? each : `\\u${each.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Bytes of a console for a terminal: the text with its colours and lines, and nothing else that a terminal obeys. */
export function printableOutput(): TransformStream<Uint8Array, Uint8Array> {
  let held = "";
  const decode = new TextDecoderStream();
  const filter = new TransformStream<string, string>({
    transform(text, controller) {
      const all = held + text;
      // deno-lint-ignore no-control-regex -- the escape character
      const end = all.search(/\x1b(?:\[[0-9;?]*)?$/); // a sequence that is not over
      held = end < 0 ? "" : all.slice(end);
      controller.enqueue((end < 0 ? all : all.slice(0, end)).replaceAll(IN_OUTPUT, ""));
    },
  });
  const encode = new TextEncoderStream();
  return {
    writable: decode.writable as WritableStream<Uint8Array>,
    readable: decode.readable.pipeThrough(filter).pipeThrough(encode),
  } as TransformStream<Uint8Array, Uint8Array>;
}
