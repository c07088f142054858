// needs: micro

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { RecordedRun } from "../../lib/instance/history.ts";
import { assertInert, parse, textsOf } from "../unit/markup.ts";
import { GuestHome } from "./guest_home.ts";
import { assertCode } from "./program.ts";
import { assertRefused } from "./snapshots.ts";

const names = ({ timeline }: RecordedRun) => timeline.map(({ name }) => name);

Deno.test("timeline shows where the time of each start and stop went, also of those that failed", async (t) => {
  await using micro = await GuestHome.make({ captured: true });
  const shown = async (...args: string[]): Promise<RecordedRun[]> =>
    JSON.parse(await micro.succeed("timeline", ["--json", ...args]));

  await t.step("nothing is recorded yet", async () => {
    const none = ["--instance", "none"];
    assertEquals(await shown(...none), []);
    assertMatch(
      (await micro.run("timeline", none)).stderr,
      /^hotboot: nothing is recorded of instance 'none': 'hotboot start/,
    );
    assertRefused(await micro.run("timeline", ["--compare", ...none]), /has no two recorded runs/);
  });

  const first = await micro.start("--no-fallback");
  await micro.succeed("stop");
  const second = await micro.start();

  await t.step("start, stop and start are there with their steps", async () => {
    assertEquals((await shown()).map(({ how }) => how), ["continue"]);
    const [resumed, stopped, continued] = await shown("--last", "3");
    assertEquals([resumed, stopped, continued].map(({ command, how, outcome }) => [command, how, outcome]), [
      ["start", "resume", "done"],
      ["stop", "suspended", "done"],
      ["start", "continue", "done"],
    ]);
    assertEquals(names(resumed).toSorted(), first.timeline.map(({ name }) => name).toSorted());
    assertEquals(names(continued).toSorted(), second.timeline.map(({ name }) => name).toSorted());
    assertEquals(names(stopped), ["quiesce", "memory", "on disk", "quit"]);
    for (const { ms, timeline } of [resumed, stopped, continued]) {
      assert(ms > 0 && timeline.every(({ startMs, endMs }) => startMs <= endMs && endMs <= ms));
    }
  });

  await t.step("they are drawn, in ASCII where there is no terminal, and compared", async () => {
    const text = await micro.succeed("timeline", ["micro", "--last", "2"]);
    assertMatch(
      text,
      /^#2 stop \(suspended\), [^\n]+\n {2}quiesce .*\n\n#1 start \(continue\), .*\n {2}incoming .*#\n/s,
    );
    // deno-lint-ignore no-control-regex -- all of ASCII
    assertMatch(text, /^[\x00-\x7f]*$/);
    assertEquals(text.split("\n").filter((line) => line.length > 80), []);
    const compared = await micro.succeed("timeline", ["--compare"]);
    assertMatch(
      compared,
      /^ {2}older: #3 start \(resume\), .*\n {2}newer: #1 start \(continue\), .*\n +older +newer +ratio/,
    );
    assertMatch(compared, /^ {2}process +[\d.]+ m?s +[\d.]+ m?s +\d+\.\d+ {2}#/m);
    const { older, total } = JSON.parse(await micro.succeed("timeline", ["--compare", "--json"]));
    assertEquals([older.how, total.ratio], ["resume", total.newerMs / total.olderMs]);
    assertRefused(await micro.run("timeline", ["--run", "9"]), /has \d recorded runs, and no number 9/);
  });

  await t.step("as a page and as a picture they are well-formed, and nothing there runs or loads", async () => {
    const [page, picture] = [`${micro.directory}/page.html`, `${micro.directory}/picture.svg`];
    await micro.succeed("timeline", ["--compare", "--html", page]);
    await micro.succeed("timeline", ["--svg", picture]);
    for (const path of [page, picture]) {
      const document = parse(await Deno.readTextFile(path));
      assertInert(document);
      assertEquals(textsOf(document, "desc").length, path === page ? 2 : 1);
      assert(textsOf(document, "text").includes("incoming"));
    }
  });

  await t.step("what failed is recorded with its reason", async () => {
    const failed = await micro.run("start", ["--from", "nothing"]);
    assertCode(failed, 1);
    const text = await micro.succeed("timeline");
    assertMatch(text, /^#1 start, .*\n {2}failed before the first step: instance 'micro' is running/);
  });

  await t.step("what is dropped keeps it; reset does not", async () => {
    await micro.succeed("stop", ["--discard"]);
    const [{ how, timeline }] = await shown();
    assertEquals([how, timeline.map(({ name }) => name)], ["discarded", ["quit", "drop"]]);
    assertEquals((await micro.status()).state, "stopped");
    await micro.succeed("reset");
    assertEquals(await shown("--all"), []);
  });

  await t.step("what the command line asks for must make sense", async () => {
    for (
      const [args, why] of [
        [["--last", "1", "--all"], /contradict each other/],
        [["--run", "x"], /takes the number of a run, not 'x'/],
        [["a", "b"], /takes one NAME/],
        [["a", "--instance", "b"], /contradict each other/],
        [["--last", "0"], /from 1 on/],
      ] as const
    ) assertRefused(await micro.run("timeline", [...args]), why, 2);
  });
});
