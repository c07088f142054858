import { assertEquals, assertRejects } from "@std/assert";
import { adviseOn, withOptions } from "../../lib/base/advice.ts";
import { HotbootError } from "../../lib/base/error.ts";

Deno.test("advice: a command gets the options that say which emulator is meant", () => {
  const options = { profile: "./my profile.json", home: "/h", instance: "b", timeout: "3" };
  const typed = "--profile './my profile.json' --home /h --instance b";
  for (
    const [text, wanted] of [
      ["it runs: stop it first ('hotboot stop')", `it runs: stop it first ('hotboot stop ${typed}')`],
      ["'hotboot stop' and then 'hotboot start'", `'hotboot stop ${typed}' and then 'hotboot start ${typed}'`],
      ["type 'hotboot exec -it -- CMD'", `type 'hotboot exec -it ${typed} -- CMD'`],
      [
        "'hotboot reset --instance a' drops it",
        "'hotboot reset --instance a --profile './my profile.json' --home /h' drops it",
      ],
      ["see 'hotboot start --help'", "see 'hotboot start --help'"],
      ["'hotboot permissions start' shows it", `'hotboot permissions start ${typed}' shows it`],
      ["it was not made by hotboot, 'hotboot' said", "it was not made by hotboot, 'hotboot' said"],
    ]
  ) {
    assertEquals(withOptions(text, options), wanted);
  }
  assertEquals(withOptions("'hotboot start' starts it", {}), "'hotboot start' starts it");
});

Deno.test("advice: what is added for an instance is not added again for the one that the user typed", async () => {
  const error = await assertRejects(
    () => adviseOn("source", () => Promise.reject(new HotbootError("it is paused: 'hotboot start' continues it"))),
    HotbootError,
  );
  assertEquals(
    withOptions(error.message, { instance: "fork", arch: "arm64" }),
    "it is paused: 'hotboot start --instance source --arch arm64' continues it",
  );
});
