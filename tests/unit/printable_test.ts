/** Texts of guests, servers and archives on their way to a terminal. */

import { assertEquals } from "@std/assert";
import { messageOf } from "../../lib/base/error.ts";
import { escapedJson, printable, printableLines, printableOutput, quoted } from "../../lib/base/printable.ts";

/** Writes the clipboard, sets the title, clears the screen, turns the text around: ECMA-48, xterm's OSC 52. */
const HOSTILE = [
  "\x1b]52;c;ZXZpbA==\x07",
  "\x9d0;title\x9c",
  "\x1b[2J",
  "\x1bc",
  "\u202egpj.exe",
  "\u2066x\u2069",
  "\r",
  "\x08",
];
// deno-lint-ignore no-control-regex -- what must not be left
const OBEYED = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/;

Deno.test("printable: nothing that a terminal obeys is left in a line, in lines, in a message", () => {
  for (const text of HOSTILE) {
    for (
      const shown of [
        printable(`a${text}b`),
        printableLines(`a${text}b`),
        messageOf(new Error(`a${text}b`)),
        quoted(text),
      ]
    ) {
      assertEquals(OBEYED.test(shown), false, JSON.stringify(shown));
    }
  }
  assertEquals(printable("\x1b[1mbold\x1b[0m\ttext\n"), "boldtext");
  assertEquals(printableLines("a\n\tb \x1b[31mred\x1b[0m"), "a\n\tb red");
  assertEquals(quoted("größer 👩‍👩‍👧 العربية"), "größer 👩‍👩‍👧 العربية");
  assertEquals(quoted("a\x1bb\x9d"), '"a\\u001bb\\u009d"');
});

Deno.test("printable: JSON keeps its value", () => {
  const value = { text: HOSTILE.join(""), list: ["\n", "é"] };
  const json = escapedJson(JSON.stringify(value, null, 2));
  assertEquals([JSON.parse(json), OBEYED.test(json)], [value, false]);
});

Deno.test("printable: a console keeps its lines and colours, however it is cut", async () => {
  const text = `[  \x1b[0;32mOK\x1b[0m  ] größer\r\n${HOSTILE.join("")}\x1b[1;31mred\x1b[0m\n`;
  const bytes = new TextEncoder().encode(text);
  const expected = "[  \x1b[0;32mOK\x1b[0m  ] größer\r\n]52;c;ZXZpbA==0;titlecgpj.exex\r\x1b[1;31mred\x1b[0m\n";
  for (const size of [1, 2, 3, 5, 7, bytes.length]) {
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.slice(at, at + size));
    const shown = await new Response(ReadableStream.from(pieces).pipeThrough(printableOutput())).text();
    assertEquals(shown, expected, String(size));
  }
});
