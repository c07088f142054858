import { assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { fork, HotbootError } from "@hotboot/hotboot/testing";
import { describe, meet, shell } from "./meeting.ts";

Deno.test("a stack of its own, and the same one back at its beginning", async () => {
  await using stack = await fork();
  await shell(stack, "test ! -e /data/mark");
  await shell(stack, "echo first >/data/mark; sync; echo first >/run/mark");
  await meet("first", stack);
  assertEquals(await shell(stack, "cat /data/mark /run/mark"), "first\nfirst");

  const { token, ...before } = await describe(stack);
  assertEquals(await stack.env(), { WEB_URL: stack.url("web"), WEB_TOKEN: token });
  assertEquals(await stack.credentials(), { TOKEN: token });
  assertThrows(() => stack.url("api"), HotbootError, "has no port 'api': name one of web");
  assertEquals(await stack.exec("sh", "-c", "echo out; echo err >&2; exit 3"), {
    code: 3,
    stdout: "out\n",
    stderr: "err\n",
  });

  await stack.reset();
  await shell(stack, "test ! -e /data/mark -a ! -e /run/mark");
  const after = await describe(stack);
  assertEquals([after.instance, after.port, stack.url("web")], [
    before.instance,
    before.port,
    `http://127.0.0.1:${before.port}`,
  ]);
  assertNotEquals(after.token, token);
  assertNotEquals(after.random, before.random);
});
