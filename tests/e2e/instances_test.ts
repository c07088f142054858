/** Many instances of one profile, side by side: their ports, and the commands for several instances. */
// needs: micro

import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import type { InstanceInfo } from "../../lib/emulator/list.ts";
import type { StartResult } from "../../lib/emulator/start.ts";
import type { GuestHome } from "./guest_home.ts";
import { assertCode } from "./program.ts";
import { ROTATE, secretMicro } from "./secret_micro.ts";
import { freePort } from "./shared.ts";
import { assertRefused } from "./snapshots.ts";

/** A micro guest whose rotation also serves the port that it got. */
function portMicro(): Promise<GuestHome> {
  return secretMicro(`${ROTATE}; echo "$HOTBOOT_PORT_WEB" >/www/port`, () => {}, { captured: true });
}

async function startOf(micro: GuestHome, instance: string, ...args: string[]): Promise<StartResult> {
  return await micro.start("--no-fallback", "--instance", instance, ...args);
}

async function text(url: string, path: string): Promise<string> {
  return (await (await fetch(url + path)).text()).trim();
}

async function tokenOf(micro: GuestHome, instance: string): Promise<string> {
  return JSON.parse(await micro.succeed("credentials", ["--json", "--instance", instance])).TOKEN;
}

async function listed(micro: GuestHome): Promise<InstanceInfo[]> {
  return JSON.parse(await micro.succeed("list", ["--json"]));
}

function urlOf(port: number): string {
  return `http://127.0.0.1:${port}`;
}

Deno.test("instances: three run from one snapshot, each with its own ports, health and secrets", async (t) => {
  await using micro = await portMicro();
  const names = ["micro", "b", "c"];
  const started = await Promise.all(names.map((name) => startOf(micro, name)));
  const [own, b, c] = started.map(({ urls }) => urls.web);

  await t.step("they are up, each with unique secrets and ports", async () => {
    assertEquals(started.map(({ origin }) => origin), ["resume", "resume", "resume"]);
    assertEquals(new Set(started.map(({ snapshot }) => snapshot)).size, 1);
    assertEquals(own, urlOf(micro.port));
    assertEquals(new Set([own, b, c]).size, 3);
    const tokens = await Promise.all([own, b, c].map((url) => text(url, "/token")));
    assertEquals(tokens, await Promise.all(names.map((name) => tokenOf(micro, name))));
    assertEquals(new Set(tokens).size, 3);
    assertEquals(await Promise.all([own, b, c].map(async (url) => urlOf(Number(await text(url, "/port"))))), [
      own,
      b,
      c,
    ]);
    for (const name of names) assertCode(await micro.run("status", ["--instance", name]), 0);
  });

  await t.step("list shows them, and contacts only those that it may", async () => {
    const all = await listed(micro);
    assertEquals(all.map(({ instance, state, running }) => [instance, state, running?.urls.web]), [
      ["b", "running", b],
      ["c", "running", c],
      ["micro", "running", own],
    ]);
    assert(all.every(({ bytes, profile }) => bytes > 0 && profile === "micro"));
    const [titles, ...rows] = (await micro.succeed("list")).trimEnd().split("\n");
    assertMatch(titles, /^instance +profile +state +since +on disk +services$/);
    assertMatch(rows[0], /^b +micro \w+ +running +resumed \S+ ago +[\d.]+ \S+ +web http:/);
    assertEquals(rows.length, 3);
  });

  await t.step("a port survives a suspension and a discard", async () => {
    const token = await text(b, "/token");
    await micro.succeed("stop", ["--instance", "b"]);
    const { origin, urls } = await startOf(micro, "b");
    assertEquals([origin, urls.web, await text(b, "/token")], ["continue", b, token]);
    await micro.succeed("stop", ["--discard", "--instance", "b"]);
    const again = await startOf(micro, "b");
    assertEquals([again.origin, again.urls.web], ["resume", b]);
    assertNotEquals(await text(b, "/token"), token);
  });

  await t.step(
    "--port: a suspended instance gets another port; a running one, and an invalid value, are refused",
    async () => {
      const port = freePort();
      assertRefused(
        await micro.run("start", ["--instance", "b", "--port", `web=${port}`]),
        /^hotboot: instance 'b' runs, .*: stop it first \('hotboot stop --instance b'\)$/,
      );
      const wrong =
        /^hotboot: --port takes NAME=N with a port of the profile \(web\) and a number from 1 to 65535, not 'x'$/;
      assertRefused(await micro.run("start", ["--instance", "b", "--port", "x"]), wrong, 2);
      const token = await text(b, "/token");
      await micro.succeed("stop", ["--instance", "b"]);
      const { origin, urls } = await startOf(micro, "b", "--port", `web=${port}`);
      assertEquals([origin, urls.web, await text(urlOf(port), "/token")], ["continue", urlOf(port), token]);
      assertCode(await micro.run("status", ["--instance", "b"]), 0);
      await micro.succeed("stop", ["--discard", "--instance", "b"]);
      assertEquals((await startOf(micro, "b")).urls.web, urlOf(port));
      assertEquals(await text(urlOf(port), "/port"), String(port));
    },
  );

  await t.step("a taken port is an error if something is kept, else it is replaced", async () => {
    await micro.succeed("stop", ["--instance", "c"]);
    const port = Number(new URL(c).port);
    using _other = Deno.listen({ hostname: "127.0.0.1", port });
    assertRefused(
      await micro.run("start", ["--instance", "c"]),
      new RegExp(
        `^hotboot: port ${port} \\('web'\\) is taken by another program: .*--instance c --port web=N'\\); run 'hotboot doctor --instance c'$`,
      ),
    );
    assertEquals((await micro.status("--instance", "c")).state, "suspended");
    await micro.succeed("stop", ["--discard", "--instance", "c"]);
    assertNotEquals((await startOf(micro, "c")).urls.web, c);
  });

  await t.step("stop --all stops the running instances, and names them", async () => {
    await micro.succeed("stop", ["--instance", "c"]);
    const run = await micro.run("stop", ["--all"]);
    assertCode(run, 0);
    assertEquals(run.stderr.match(/^hotboot: instance '\w+': suspended/gm)?.map((line) => line.split("'")[1]), [
      "b",
      "micro",
    ]);
    assertEquals((await listed(micro)).map(({ state }) => state), ["suspended", "suspended", "suspended"]);
    assertEquals(await micro.qemusLeft(), []);
    assertMatch((await micro.run("stop", ["--all"])).stderr, /no instance of profile 'micro' runs\n$/);
    assertCode(await micro.run("stop", ["--all", "--instance", "b"]), 2);
  });
});

Deno.test("instances: wait, restart and --port work", async (t) => {
  await using micro = await portMicro();

  await t.step("wait: waits until it is up, with a limit, and until it no longer runs", async () => {
    const late = await micro.run("wait", ["--timeout", "0"]);
    assertRefused(late, /^hotboot: instance 'micro' is not up after 0 s: it is stopped; wait longer \(--timeout\)$/);
    const waiting = micro.run("wait", ["--instance", "b", "--json"]);
    const { urls } = await startOf(micro, "b");
    const { state, running } = JSON.parse((await waiting).stdout);
    assertEquals([state, running.urls, running.health], ["running", urls, { web: true }]);
    const stopping = micro.run("wait", ["--instance", "b", "--stopped", "--json"]);
    await micro.succeed("stop", ["--discard", "--instance", "b"]);
    assertEquals(JSON.parse((await stopping).stdout), { state: "stopped" });
  });

  await t.step("restart: keeps the disk and drops the memory, also of a suspended instance", async () => {
    const first = JSON.parse(await micro.succeed("restart", ["--json"])); // it was not running
    assertEquals(first.origin, "resume");
    for (const isSuspended of [false, true]) {
      await micro.exec("sh", "-c", `echo ${isSuspended} >/data/mine; touch /tmp/mine`);
      const token = await text(first.urls.web, "/token");
      if (isSuspended) await micro.succeed("stop");
      const { origin, urls } = JSON.parse(await micro.succeed("restart", ["--json"]));
      assertEquals([origin, urls], ["cold boot", first.urls]);
      assertEquals(
        await micro.exec("sh", "-c", "cat /data/mine; ls /tmp/mine 2>/dev/null || true"),
        `${isSuspended}\n`,
      );
      assertNotEquals(await text(urls.web, "/token"), token);
    }
  });

  await t.step("restart: a run that started the instance still ends it", async () => {
    await micro.succeed("stop", ["--discard"]);
    const marker = `${micro.directory}/enough`;
    const running = micro.run("run", ["--", "sh", "-c", 'until [ -e "$1" ]; do sleep 0.1; done', "sh", marker]);
    await micro.succeed("wait");
    assertEquals(JSON.parse(await micro.succeed("restart", ["--json"])).origin, "cold boot");
    await Deno.writeTextFile(marker, "");
    assertCode(await running, 0);
    assertEquals((await micro.status()).state, "suspended");
  });

  await t.step("--port: the profile's own instance keeps it until a reset, and run takes it, too", async () => {
    const port = freePort();
    const restarted = JSON.parse(await micro.succeed("restart", ["--json", "--port", `web=${port}`]));
    assertEquals(restarted.urls.web, urlOf(port));
    await micro.succeed("stop", ["--discard"]);
    assertEquals((await micro.start()).urls.web, urlOf(port));
    await micro.succeed("reset");
    const other = freePort();
    await micro.succeed("run", ["--port", `web=${other}`, "--", "bash", "-c", `exec 3<>/dev/tcp/127.0.0.1/${other}`]);
    await micro.succeed("reset");
    assertEquals((await micro.start()).urls.web, urlOf(micro.port));
  });
});
