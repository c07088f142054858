/** What is recorded of the commands on an instance: bounded, in its directory only, and never in the way of the command. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { ensureDir } from "@std/fs/ensure-dir";
import { HotbootError } from "../../lib/base/error.ts";
import type { Timeline } from "../../lib/base/timeline.ts";
import { instancePath } from "../../lib/instance/channels.ts";
import type { Emulator } from "../../lib/instance/emulator.ts";
import { endedAt, history, recorded, type RecordedRun } from "../../lib/instance/history.ts";
import { testEmulator } from "./emulators.ts";
import { withDirectory } from "./temporary.ts";

type Test = (emulator: Emulator & { told: string[] }, path: string, directory: string) => Promise<void>;

/** Uses an instance that has a directory, and the path of its history. */
const withInstance = (test: Test, options: { signal?: AbortSignal } = {}) =>
  withDirectory(async (directory) => {
    const emulator = await testEmulator(directory, options);
    await ensureDir(emulator.home.instance(emulator.instance));
    await test(emulator, instancePath(emulator, "timeline"), directory);
  });

const start = (emulator: Emulator, work = (_: Timeline) => Promise.resolve("resume")) =>
  recorded(emulator, "start", work, (origin) => origin);

const RUN: RecordedRun = {
  command: "stop",
  how: "suspended",
  began: "2026-01-01T00:00:00.000Z",
  ms: 100,
  outcome: "done",
  timeline: [{ name: "memory", startMs: 10, endMs: 90 }],
};

Deno.test("history: a run is recorded with its steps, for its owner only", () =>
  withInstance(async (emulator, path) => {
    await start(emulator, async (timeline) => {
      await timeline.phase("process", () => Promise.resolve());
      return "resume";
    });
    const [{ began, ms, timeline, ...rest }] = await history(emulator);
    assertEquals(rest, { command: "start", how: "resume", outcome: "done" });
    assert(Date.now() - Date.parse(began) < 60_000 && ms >= timeline[0].endMs, `${began} ${ms}`);
    assertEquals(timeline.map(({ name }) => name), ["process"]);
    assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);
  }));

Deno.test("history: a failed run says where it ended and why, and passes its error on", () =>
  withInstance(async (emulator) => {
    const failing = start(emulator, async (timeline) => {
      await timeline.phase("process", () => Promise.resolve());
      const slow = timeline.phase("healthy", () => new Promise<string>(() => {})); // is still going on
      await timeline.phase("incoming", () => Promise.reject(new HotbootError("no such\n\x1b[31mdevice")));
      return await slow;
    });
    await assertRejects(() => failing, HotbootError, "no such");
    const [run] = await history(emulator);
    assertEquals([run.outcome, run.why, run.how], ["failed", "no such; device", undefined]);
    const steps = Object.fromEntries(run.timeline.map(({ name, failed }) => [name, failed]));
    assertEquals(steps, { process: undefined, healthy: true, incoming: true });
    assert(["healthy", "incoming"].includes(endedAt(run)!.step));

    await assertRejects(() => start(emulator, () => Promise.reject(new HotbootError("at once"))), HotbootError);
    assertEquals(endedAt((await history(emulator))[1]), undefined);
    assertEquals(endedAt(RUN), { step: "memory", within: false });
  }));

Deno.test("history: an interrupted run was cancelled", () => {
  const interrupt = new AbortController();
  return withInstance(async (emulator) => {
    const work = start(emulator, (timeline) =>
      timeline.phase("healthy", () => {
        interrupt.abort(new HotbootError("interrupted by SIGINT"));
        return Promise.reject(interrupt.signal.reason);
      }));
    await assertRejects(() => work, HotbootError, "interrupted");
    const [run] = await history(emulator);
    assertEquals([run.outcome, run.why], ["cancelled", "interrupted by SIGINT"]);
    assertEquals(endedAt(run), { step: "healthy", within: true });
  }, { signal: interrupt.signal });
});

Deno.test("history: the last 20 are kept, and nothing is written if there was nothing to do", () =>
  withInstance(async (emulator, path) => {
    for (let run = 0; run < 25; run++) await start(emulator, () => Promise.resolve(`run ${run}`));
    const before = await Deno.readTextFile(path);
    await recorded(emulator, "stop", () => Promise.resolve(), () => undefined);
    assertEquals(await Deno.readTextFile(path), before);
    assertEquals(
      (await history(emulator)).map(({ how }) => how),
      Array.from({ length: 20 }, (_, at) => `run ${at + 5}`),
    );
  }));

Deno.test("history: what a run has of a guest's and a profile's has limits", () =>
  withInstance(async (emulator) => {
    await start(emulator, (timeline) => {
      for (let step = 0; step < 10_000; step++) timeline.record(`\x1b]0;${"x".repeat(5000)}`, 0, step);
      timeline.record("never", NaN, Infinity);
      return Promise.reject(new HotbootError("y".repeat(1e6)));
    }).catch(() => {});
    const [{ timeline, why, ms }] = await history(emulator);
    assertEquals([timeline.length, why!.length], [100, 500]);
    for (const { name, endMs } of timeline) {
      assertMatch(name, /^\]0;x{77}$/);
      assert(endMs <= ms);
    }
  }));

Deno.test("history: lines that are none of hotboot's are left out, and the next run drops them", () =>
  withInstance(async (emulator, path) => {
    const wrong = [
      "",
      "not JSON",
      "null",
      "[]",
      '{"command":"start"}',
      JSON.stringify({ ...RUN, command: "rm" }),
      JSON.stringify({ ...RUN, ms: "long" }),
      JSON.stringify({ ...RUN, began: "yesterday" }),
      JSON.stringify({ ...RUN, timeline: {} }),
      JSON.stringify(RUN).slice(0, 50),
    ];
    const odd = { ...RUN, why: 7, timeline: [null, { name: 1 }, { name: "x", startMs: 5, endMs: 1 }, ...RUN.timeline] };
    await Deno.writeTextFile(path, [...wrong, JSON.stringify(odd), ...wrong].join("\n"));
    assertEquals(await history(emulator), [RUN]);
    await start(emulator);
    assertEquals((await Deno.readTextFile(path)).trim().split("\n").length, 2);

    await Deno.writeTextFile(path, `${JSON.stringify(RUN)}\n`.repeat(10_000));
    assertEquals(await history(emulator), []);
    await start(emulator);
    assertEquals((await history(emulator)).length, 1);
  }));

Deno.test("history: nothing is written through links, and no such thing fails the command", () =>
  withInstance(async (emulator, path, directory) => {
    const outside = `${directory}/outside`;
    await Deno.writeTextFile(outside, `${JSON.stringify(RUN)}\n`);
    await Deno.symlink(outside, path);
    assertEquals(await history(emulator), []);
    assertEquals(await start(emulator), "resume");
    assertMatch(emulator.told.join("\n"), /no timeline is kept: .* is a link/);
    assertEquals(await Deno.readTextFile(outside), `${JSON.stringify(RUN)}\n`);

    await Deno.remove(path);
    await new Deno.Command("mkfifo", { args: [path] }).output();
    assertEquals(await history(emulator), []); // opening it would wait for ever
    await Deno.remove(path);
    await Deno.mkdir(path);
    assertEquals(await start(emulator), "resume");
  }));

Deno.test("history: an instance without a directory gets none", () =>
  withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    await assertRejects(() => start(emulator, () => Promise.reject(new HotbootError("no QEMU"))), HotbootError);
    assertEquals(await Array.fromAsync(Deno.readDir(directory), ({ name }) => name), []);
    assertEquals(await history(emulator), []);
  }));
