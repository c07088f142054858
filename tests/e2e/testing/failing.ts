import { withStack } from "@hotboot/hotboot/testing";
import { shell } from "./meeting.ts";

Deno.test("fails", () =>
  withStack({}, async (stack) => {
    await shell(stack, "echo evidence >/data/mark; sync");
    throw new Error("as it was to");
  }));
