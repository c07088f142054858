// needs: micro

/** Forks: new instances that continue where another one is, beside it. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { exists } from "@std/fs/exists";
import { toText } from "@std/streams/to-text";
import { assertCode } from "./program.ts";
import { rounds, until } from "./pace.ts";
import { ROTATE, secretMicro } from "./secret_micro.ts";

Deno.test("forks: running and suspended instances can be forked, also many times at once", async (t) => {
  await using micro = await secretMicro(ROTATE);
  const shell = async (instance: string, script: string) =>
    (await micro.succeed("exec", ["--instance", instance, "--", "sh", "-c", script])).trim();
  const names = (directory: string) =>
    Array.from(Deno.readDirSync(`${micro.home}/${directory}`), ({ name }) => name).sort();
  const fork = async (...args: string[]) => JSON.parse(await micro.succeed("fork", ["--json", ...args]));
  const checkpoints = () => names(`checkpoints/micro-${micro.arch}`);
  const SEEN = "cat /data/moment /run/moment /proc/sys/kernel/random/boot_id";
  /** What must differ in each instance: its token, a random number, its ports. */
  const own = async (instance: string, url: string) => [
    (await (await fetch(`${url}/token`)).text()).trim(),
    await shell(instance, "cat /proc/sys/kernel/random/uuid"),
    new URL(url).port,
  ];
  const first = await micro.start("--no-fallback");
  await shell("micro", "echo disk >/data/moment; sync; echo memory >/run/moment");
  const seen = await shell("micro", SEEN);
  const ours = await own("micro", first.urls.web);

  await t.step("a running instance and its fork both run, with the same past and separate futures", async () => {
    const { origin, urls, stoodStillMs } = await fork("second");
    assertEquals([origin, stoodStillMs > 0], ["resume", true]);
    assertEquals([await shell("second", SEEN), await shell("micro", SEEN)], [seen, seen]);
    const theirs = await own("second", urls.web);
    assertEquals(new Set([...ours, ...theirs]).size, 6);
    assertEquals(await own("micro", first.urls.web).then(([token]) => token), ours[0]);
    await shell("second", "echo second >/data/moment; sync; echo second >/run/moment");
    assertEquals(await shell("micro", SEEN), seen);
    for (const instance of ["micro", "second"]) {
      const offset = Number(await shell(instance, "date +%s")) - Date.now() / 1000;
      assert(Math.abs(offset) < 5, `${instance}: ${offset} s`);
    }
  });

  await t.step("a taken name is refused before the source pauses", async () => {
    const run = await micro.run("fork", ["micro", "second"]);
    assertCode(run, 1);
    assertMatch(run.stderr, /^hotboot: instance 'second' is running: choose another name, or drop it [^\n]*\n$/);
    assertCode(await micro.run("fork", ["nobody", "third"]), 1);
    assertCode(await micro.run("fork"), 2);
    assertEquals(checkpoints().length, 1);
  });

  await t.step("a fork that is killed has made nothing: it can be made again, or doctor removes it", async () => {
    for (const next of ["fork", "doctor"]) {
      const count = (await micro.qemuProcesses()).length;
      // A QEMU that is loading ends by itself then. Nothing tells from outside that it has begun.
      for (let state = "", tries = 5; state !== "abandoned"; tries--) {
        assert(tries > 0, state);
        await micro.run("reset", ["--instance", "half"]);
        const child = micro.spawn("fork", "micro", "half");
        const outputs = [toText(child.stdout), toText(child.stderr)]; // it writes as long as it lives
        await until(() => exists(`${micro.home}/instances/half/monitor.sock`), "the fork's QEMU");
        child.kill("SIGKILL");
        await Promise.all([child.status, ...outputs]);
        state = (await micro.states()).half ?? "stopped";
        assert(["abandoned", "stopped"].includes(state), state);
      }
      if (next === "fork") await fork("half").then(() => micro.succeed("reset", ["--instance", "half"]));
      else {
        const { findings } = JSON.parse((await micro.run("doctor", ["--fix", "--json"])).stdout);
        const named = findings.filter(({ id }: { id: string }) => id.endsWith("half"));
        assertEquals(named.map(({ fixed }: { fixed?: boolean }) => fixed), [true]);
      }
      assertEquals((await micro.states()).half, undefined);
      assertEquals([checkpoints().length, (await micro.qemuProcesses()).length], [1, count]);
    }
  });

  await t.step("a fork can be forked, and so can a suspended instance, which stays suspended", async () => {
    await micro.succeed("stop");
    const third = await fork("third");
    assertEquals([third.stoodStillMs, await shell("third", SEEN)], [0, seen]);
    const fourth = await fork("second", "fourth");
    assertEquals(await shell("fourth", "cat /data/moment /run/moment"), "second\nsecond");
    assertEquals(new Set([...await own("third", third.urls.web), ...await own("fourth", fourth.urls.web)]).size, 6);
    assertEquals((await micro.start("--no-fallback")).origin, "continue");
    assertEquals(await shell("micro", SEEN), seen);
  });

  await t.step("a fork's checkpoint is removed with its last user", async () => {
    assertEquals(checkpoints().length, 3);
    for (const instance of ["third", "fourth"]) {
      await micro.succeed("stop", ["--discard", "--instance", instance]);
    }
    assertEquals(checkpoints().length, 1);
    assertEquals(await shell("second", "cat /data/moment"), "second");
    await micro.succeed("reset", ["--instance", "second"]);
    assertEquals(checkpoints(), []);
    assertEquals(await shell("micro", SEEN), seen);
  });

  await t.step("many simultaneous forks of one moment share no secret, random number or port", async () => {
    await micro.succeed("snapshot save", ["moment"]);
    const instances = Array.from({ length: rounds(4, 16) }, (_, index) => `fork-${index}`);
    const started = await Promise.all(instances.map((instance) => fork("moment", instance)));
    const all = await Promise.all(instances.map((instance, index) => own(instance, started[index].urls.web)));
    assertEquals(new Set(all.flat()).size, 3 * instances.length);
    for (const instance of instances) assertEquals(await shell(instance, SEEN), seen);
    assertEquals(checkpoints().length, 1);
    await micro.succeed("stop", ["--all", "--discard"]);
    await micro.succeed("snapshot rm", ["moment"]);
    assertEquals(names("instances").filter((name) => name.startsWith(".")), []);
  });

  await t.step("run --fresh: each run has its own instance, which leaves nothing", async () => {
    const before = names("instances");
    const runs = await Promise.all(
      [3, 7].map((code) => micro.run("run", ["--fresh", "--quiet", "--", "sh", "-c", `echo $$; exit ${code}`])),
    );
    assertEquals(runs.map(({ code }) => code), [3, 7]);
    assertEquals(names("instances"), before);
    assertEquals(await micro.qemusLeft(), []);
    assertCode(await micro.run("run", ["--fresh", "--instance", "x", "--", "true"]), 2);
  });
});
