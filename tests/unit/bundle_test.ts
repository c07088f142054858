/** The program as one file. */

import { assertEquals } from "@std/assert";
import { minified } from "../../dev/bundle.ts";

Deno.test("bundle: what a minified program disposes of is what the program disposes of", async () => {
  const program = `
    const told = [];
    const held = { [Symbol.dispose]: () => told.push("released") };
    function work() {
      using taken = held;
      if (!taken) return;
      told.push("worked");
    }
    work();
    globalThis.told = told;`;
  const told = (code: string) => new Function(`${code}; return globalThis.told;`)();
  assertEquals(told(await minified(program)), ["worked", "released"]);
});
