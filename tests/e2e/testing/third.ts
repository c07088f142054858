import { assertEquals, assertNotEquals } from "@std/assert";
import { withStack } from "@hotboot/hotboot/testing";
import { describe, meet, shell } from "./meeting.ts";

Deno.test("a fork of an instance that runs, and that one's moment again", async () => {
  const gave = await withStack({ source: "micro" }, async (stack) => {
    assertEquals(await shell(stack, "cat /data/mark /run/mark"), "disk\nmemory");
    await shell(stack, "echo third >/data/mark; sync; rm /run/mark");
    await meet("third", stack);
    assertEquals(await shell(stack, "cat /data/mark"), "third");
    const { token, port } = await describe(stack);
    for (let time = 0; time < 2; time++) {
      await stack.reset();
      assertEquals(await shell(stack, "cat /data/mark /run/mark"), "disk\nmemory");
      await shell(stack, "rm /data/mark; sync");
    }
    const after = await describe(stack);
    assertEquals(after.port, port);
    assertNotEquals(after.token, token);
    return 3;
  });
  assertEquals(gave, 3);
});
