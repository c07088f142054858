import { assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { HotbootError, stackPool, withStack } from "@hotboot/hotboot/testing";
import { describe, meet, type Said, shell } from "./meeting.ts";

const pool = await stackPool({ noFallback: true });
Deno.test.afterAll(() => pool[Symbol.asyncDispose]());
let first: Said;

Deno.test("a pool's stack, which another test gets after this one", async () => {
  await using stack = await pool.take();
  await shell(stack, "test ! -e /data/mark");
  await shell(stack, "echo second >/data/mark; sync");
  await meet("second", stack);
  assertEquals(await shell(stack, "cat /data/mark"), "second");
  first = await describe(stack);
});

Deno.test("the pool's stack at its beginning, with other secrets", async () => {
  const waiting = await withStack(pool, async (stack) => {
    await shell(stack, "test ! -e /data/mark");
    const { instance, port, token } = await describe(stack);
    assertEquals([instance, port], [first.instance, first.port]);
    assertNotEquals(token, first.token);
    return [pool.take()]; // there is one stack, so that this one waits
  });
  await using next = await waiting[0];
  assertEquals(next.instance, first.instance);
});

Deno.test("a stack that was dropped, and one of another name, is no longer the pool's", async () => {
  const other = await stackPool();
  {
    await using _stack = await other.take();
    const waiting = assertRejects(() => other.take(), HotbootError, "disposed of");
    await other[Symbol.asyncDispose](); // with the one that is still taken
    await waiting;
  }
  await assertRejects(() => other.take(), HotbootError, "disposed of");
  await assertRejects(() => stackPool({ size: 0 }), HotbootError, "1 or more");
});
