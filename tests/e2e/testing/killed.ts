import { fork } from "@hotboot/hotboot/testing";
import { say, sleep } from "./meeting.ts";

Deno.test("is killed", async () => {
  await using stack = await fork();
  await say("killed", stack.instance);
  for (;;) await sleep(1000);
});
