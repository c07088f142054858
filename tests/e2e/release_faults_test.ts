/** Pulling with obstacles, and listing what can be pulled. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { toText } from "@std/streams/to-text";
import { assertCode, hotboot, spawnHotboot } from "./program.ts";
import { ARCH } from "./qemu.ts";
import { until } from "./pace.ts";
import { disk, MIB, PullHome } from "./pull_home.ts";

Deno.test("pull: handles the API's limits, refusals and faults", async (t) => {
  await using pull = await PullHome.make();
  const { github } = pull;
  github.release("emulator-dev-latest", [{ name: `emulator-${ARCH}.qcow2`, bytes: disk(MIB, 1) }]);
  const soon = () => String(Math.floor(Date.now() / 1000) + 1800);
  await t.step("the error says when the rate limit ends", async () => {
    github.intercept = () =>
      Response.json({ message: "rate limit" }, {
        status: 403,
        headers: { "x-ratelimit-remaining": "0", "x-ratelimit-reset": soon() },
      });
    await pull.expectRefusal(
      pull.pull(),
      /rate limit is used up until \d\d:\d\d UTC: wait (29|30|31) min, or set GITHUB_ENTERPRISE_TOKEN/,
    );
  });
  await t.step("another refusal", async () => {
    github.intercept = () => Response.json({ message: "Resource not accessible" }, { status: 403 });
    await pull.expectRefusal(
      pull.pull(),
      /refuses release .* \(403, Resource not accessible\): set GITHUB_ENTERPRISE_TOKEN/,
    );
  });
  await t.step("no API at all", async () => {
    github.intercept = () => new Response("<html>hello</html>");
    await pull.expectRefusal(pull.pull(), /makes no sense: correct HOTBOOT_GITHUB_API/);
    github.intercept = () => Response.json({ hello: "world" });
    await pull.expectRefusal(pull.pull(), /makes no sense: correct HOTBOOT_GITHUB_API/);
    await pull.expectRefusal(pull.run("list-releases"), /makes no sense: correct HOTBOOT_GITHUB_API/);
    github.intercept = undefined;
    pull.env.HOTBOOT_GITHUB_API = "ftp://example.com";
    await pull.expectRefusal(pull.pull(), /HOTBOOT_GITHUB_API is 'ftp:\/\/example\.com'/);
    pull.env.HOTBOOT_GITHUB_API = github.api;
  });
  await t.step("it waits out a short limit and temporary faults", async () => {
    const answers = [
      new Response(null, { status: 502 }),
      new Response(null, { status: 429, headers: { "retry-after": "0" } }),
      Response.json({}, { status: 403, headers: { "retry-after": "1" } }),
    ];
    github.intercept = () => answers.shift();
    assertCode(await pull.pull(), 0);
    assertEquals(answers.length, 0);
  });
  await t.step("usage errors", async () => {
    await pull.expectRefusal(pull.pull("--pr", "1", "--tag", "x"), /--tag and --pr name two images/, 2);
    await pull.expectRefusal(pull.pull("--pr", "x"), /--pr takes a whole number/, 2);
    await pull.expectRefusal(pull.pull("--repo", "x"), /--repo takes OWNER\/NAME/, 2);
    await pull.expectRefusal(pull.run("list-releases", "--repo", "x"), /--repo takes OWNER\/NAME/, 2);
    await pull.expectRefusal(pull.pull("--branch", "a$&b"), /there is no release 'emulator-a\$&b-latest' of/);
    await pull.expectRefusal(pull.pull("--arch", "riscv"), /Invalid architecture 'riscv'/);
    await pull.expectRefusal(
      hotboot(["pull", "--home", pull.home, "--profile", "demo"]),
      /profile 'demo' names no release to pull/,
    );
    await pull.expectRefusal(pull.run("build"), /has no recipe to build/);
    const text = await Deno.readTextFile(pull.profile);
    await Deno.writeTextFile(pull.profile, text.replace("emulator-{branch}-latest", "emulator-dev-latest"));
    await pull.expectRefusal(pull.pull("--branch", "x"), /has one release for all branches: name another with --tag/);
    await Deno.writeTextFile(pull.profile, text);
    await pull.expectRefusal(pull.pull("--tag", "none"), /there is no release 'none' of acme\/emulator \(404\)/);
    github.release("empty", [{ name: "readme", bytes: new Uint8Array(1) }]);
    await pull.expectRefusal(
      pull.pull("--tag", "empty"),
      /release 'empty' of acme\/emulator has no emulator-.*, only readme/,
    );
  });
});

Deno.test("pull: after an interrupt, a kill or a broken connection, the download continues; the old image stays", async (t) => {
  await using pull = await PullHome.make();
  const { github } = pull;
  const name = `emulator-${ARCH}.qcow2`;
  const [old, bytes] = [disk(MIB, 1), disk(24 * MIB, 2)];
  github.release("emulator-dev-latest", [{ name, bytes: old }]);
  assertCode(await pull.pull(), 0);
  github.release("emulator-dev-latest", [{ name, bytes }]);
  github.storage.options.bytesPerSecond = 2 * MIB;

  /** How much of the file's beginning is recorded for the next download. */
  const kept = async () => {
    const directory = `${pull.home}/images/.pull-pulled-${ARCH}`;
    const names = await Array.fromAsync(Deno.readDir(directory), ({ name }) => name).catch(() => []);
    const state = names.find((each) => each.endsWith(".json"));
    const text = state && await Deno.readTextFile(`${directory}/${state}`).catch(() => undefined);
    const [first] = text ? JSON.parse(text).done : [];
    return first?.start === 0 ? first.end : 0;
  };
  for (const [signal, enough] of [["SIGINT", MIB], ["SIGKILL", 4.1 * MIB]] as const) {
    await t.step(signal, async () => {
      const child = spawnHotboot(pull.arguments("pull", "--skip-snapshot"), { env: pull.env });
      const output = Promise.all([toText(child.stdout), toText(child.stderr)]);
      await until(async () => await kept() > enough, `${enough} bytes`);
      child.kill(signal);
      const { code } = await child.status;
      assertEquals(code, signal === "SIGINT" ? 130 : 137, (await output).join());
      assertEquals(await pull.image(), old);
    });
  }
  await t.step("the next one continues", async () => {
    github.storage.options.bytesPerSecond = Infinity;
    github.storage.options.fault = () => {
      github.storage.options.fault = undefined;
      return { cutAfter: 2 * MIB };
    };
    const before = github.storage.seen.length;
    const run = await pull.pull();
    assertCode(run, 0);
    assertMatch(run.stderr, /warning: .*trying again/);
    const ranges = github.storage.seen.slice(before).map(({ headers }) => Number(headers.get("range")!.match(/\d+/)));
    assert(ranges[0] > 4 * MIB, String(ranges));
    assert(ranges.length >= 2 && ranges.every((from) => from >= ranges[0]), String(ranges)); // nothing is fetched twice
    assertEquals(await pull.image(), bytes);
  });
});

Deno.test("pull: without a terminal, it prints a plain line every few seconds", async () => {
  await using pull = await PullHome.make();
  pull.github.release("emulator-dev-latest", [{ name: `emulator-${ARCH}.qcow2`, bytes: disk(28 * MIB, 1) }]);
  pull.github.storage.options.bytesPerSecond = 4 * MIB;
  pull.github.storage.options.connections = 1;
  const run = await pull.pull();
  assertCode(run, 0);
  const lines = run.stderr.split("\n").filter((line) => line.includes("%"));
  assert(lines.length >= 2 && lines.length <= 4, run.stderr);
  assertMatch(lines[0], /^hotboot: emulator-\S+ +\d+\.\d% {2}[\d.]+ MB \/ 28 MB {2}[\d.]+ MB\/s {2}eta \d+s$/);
  assertMatch(lines.at(-1)!, /100\.0%/);
  assert(!run.stderr.includes("\r"));
});

Deno.test("list-releases: shows tag, status, date and size from all pages, also as JSON", async () => {
  await using pull = await PullHome.make();
  const name = `emulator-${ARCH}.qcow2`;
  for (let at = 0; at < 205; at++) {
    pull.github.release(`emulator-v${at}-latest`, [{ name, bytes: new Uint8Array(1536) }]);
  }
  pull.github.release("v1.2", [{ name, bytes: new Uint8Array(1) }]); // another program's
  pull.github.release("emulator-next-latest", [{ name: "else", bytes: new Uint8Array(1) }], { prerelease: true });
  const run = await pull.run("list-releases");
  assertCode(run, 0);
  const lines = run.stdout.trimEnd().split("\n");
  assertEquals(lines.length, 1 + 206);
  assertMatch(lines[0], /^tag +status +date +size$/);
  assertMatch(lines[1], /^emulator-v0-latest +release +2026-05-06 +1\.5 KB$/);
  assertMatch(lines.at(-1)!, /^emulator-next-latest +pre-release +2026-05-06 +no image$/);
  const json = JSON.parse((await pull.run("list-releases", "--json")).stdout);
  assertEquals(json.length, 206);
  assertEquals(json[0], { tag: "emulator-v0-latest", status: "release", date: "2026-05-06T07:08:09Z", bytes: 1536 });
});
