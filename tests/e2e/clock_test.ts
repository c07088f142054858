// needs: micro

/** A guest's clock is right after whatever its host and its users do. */

import { assertEquals, assertMatch } from "@std/assert";
import { sleep } from "../../lib/base/wait.ts";
import { QmpClient } from "../../lib/vm/qmp.ts";
import { GuestHome } from "./guest_home.ts";
import { assertCode } from "./program.ts";
import { until } from "./pace.ts";

const WAS_SET = /hotboot: the guest's clock was [^\n]+ (behind|ahead); it is set\n/;

Deno.test("clock: a command that finds the guest with a wrong clock sets it and says so", async (t) => {
  await using micro = await GuestHome.started();
  for (
    const [command, offset] of [["status", -3600], ["wait", 7], ["start", -7], ["run", 3600], ["exec", -7]] as const
  ) {
    await t.step(`${command}, ${offset} s`, async () => {
      await micro.exec("date", "-s", `@${Math.round(Date.now() / 1000) + offset}`);
      const run = await micro.run(command, command === "run" || command === "exec" ? ["--", "true"] : []);
      assertCode(run, 0);
      assertMatch(run.stderr, WAS_SET);
      assertEquals(run.stderr.match(WAS_SET)![1], offset < 0 ? "behind" : "ahead");
      await micro.assertOnTime();
      assertEquals(
        WAS_SET.test((await micro.run(command, command === "run" || command === "exec" ? ["--", "true"] : [])).stderr),
        false,
      );
    });
  }
  await t.step("a guest that was paused by hand", async () => {
    {
      await using qmp = await QmpClient.connect(micro.socket("monitor"));
      await qmp.execute("stop");
    }
    await sleep(3000);
    const run = await micro.run("start");
    assertMatch(run.stderr, /it was paused, and continues\n/);
    assertMatch(run.stderr, WAS_SET);
    await micro.assertOnTime();
  });
});

Deno.test("clock: a start that was killed after the guest ran on is made up for by the next one", async () => {
  await using micro = await GuestHome.started();
  let said = "";
  for (let left = 5; left > 0 && !WAS_SET.test(said); left--) { // it may have come to the clock before the kill
    await micro.succeed("stop");
    await sleep(3000);
    const start = micro.spawn("start");
    await until(async () => (await micro.record()).phase === "running", "the guest");
    start.kill("SIGKILL");
    await start.output();
    const run = await micro.run("start");
    assertCode(run, 0);
    said = run.stderr;
    await micro.assertOnTime();
  }
  assertMatch(said, WAS_SET);
});
