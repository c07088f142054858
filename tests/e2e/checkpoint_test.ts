// needs: micro

/** Checkpoints: a moment of a running or suspended instance, from which others can start. */

import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { disksUnder } from "../../lib/instance/layers.ts";
import { ramSize, saveLive } from "../../lib/snapshot/flat.ts";
import { stopMachine } from "../../lib/snapshot/migration.ts";
import { QmpClient } from "../../lib/vm/qmp.ts";
import { assertCode } from "./program.ts";
import { ROTATE, secretMicro } from "./secret_micro.ts";

Deno.test("checkpoints: an instance's moment is saved, returned to, protected while in use, and removed", async (t) => {
  await using micro = await secretMicro(ROTATE);
  const shell = async (script: string) => (await micro.exec("sh", "-c", script)).trim();
  const token = async () => (await (await fetch(`http://127.0.0.1:${micro.port}/token`)).text()).trim();
  const layers = () =>
    Array.from(Deno.readDirSync(`${micro.home}/instances`), ({ name }) => name).filter((name) =>
      name.startsWith(".layer-")
    );
  const list = async () => JSON.parse(await micro.succeed("snapshot ls", ["--json"]));
  await micro.start("--no-fallback");
  const boot = await shell("cat /proc/sys/kernel/random/boot_id");
  const first = await token();

  await t.step("the saved instance runs on with the same memory, disk and secrets, and the right time", async () => {
    await shell("echo disk >/data/moment; sync; echo memory >/run/moment");
    const saved = JSON.parse(await micro.succeed("snapshot save", ["before", "--json"]));
    assertEquals([saved.name, saved.stoodStillMs > 0], ["before", true]);
    assertEquals(
      await shell("cat /proc/sys/kernel/random/boot_id /data/moment /run/moment"),
      [boot, "disk", "memory"].join("\n"),
    );
    const offset = Number(await shell("date +%s")) - Date.now() / 1000;
    assert(Math.abs(offset) < 5, `${offset} s`);
    assertEquals(await token(), first);
    await shell("echo changed >/data/moment; sync; echo changed >/run/moment");
  });

  await t.step("most of its memory is saved while it runs, whatever the estimate of its size", async () => {
    await using qmp = await QmpClient.connect(micro.socket("monitor"));
    const isRunning = async () => (await qmp.execute<{ running: boolean }>("query-status")).running;
    for (const bytes of [100 << 20, 2 ** 40, 0]) {
      const directory = await Deno.makeTempDir({ dir: micro.directory });
      const seen: string[] = [];
      const prepare = async () => void seen.push(`prepared, runs: ${await isRunning()}`);
      const stop = async () => void seen.push(`stopped at ${await stopMachine(qmp) > 0}, runs: ${await isRunning()}`);
      const context = { socket: micro.socket("migration"), onProgress() {} };
      await saveLive(qmp, directory, context, { bytes, prepare, stop }, {});
      assertEquals(seen, ["prepared, runs: true", "stopped at true, runs: false"], `${bytes}`);
      const ram = await Deno.stat(`${directory}/ram`);
      assertEquals(ram.size, await ramSize(qmp, {}));
      assert(ram.blocks! * 512 > 30 << 20, `${ram.blocks} blocks`);
      await qmp.execute("cont");
      assertEquals(await isRunning(), true);
    }
  });

  await t.step("later writes go on top of the saved disk and survive a suspension", async () => {
    await micro.succeed("stop");
    assertEquals((await micro.start("--no-fallback")).origin, "continue");
    assertEquals(await shell("cat /data/moment /run/moment"), "changed\nchanged");
  });

  await t.step("a name must be valid, and can be used only once", async () => {
    const again = await micro.run("snapshot save", ["before"]);
    assertCode(again, 1);
    assertMatch(
      again.stderr,
      /^hotboot: there is a checkpoint 'before' already, of [^\n]*: remove it \('hotboot snapshot rm before'\)[^\n]*\n$/,
    );
    assertCode(await micro.run("snapshot save", ["../x"]), 1);
    assertCode(await micro.run("snapshot save", ["20260101"]), 1);
  });

  await t.step("a suspended instance is saved without a start, and continues afterwards", async () => {
    await micro.succeed("stop");
    const saved = JSON.parse(await micro.succeed("snapshot save", ["later", "--json"]));
    assertEquals(saved.stoodStillMs, 0);
    assertEquals((await micro.start("--no-fallback")).origin, "continue");
    assertEquals(await shell("cat /data/moment /run/moment"), "changed\nchanged");
  });

  await t.step("an instance with kept data is not replaced", async () => {
    const run = await micro.run("start", ["--from", "before"]);
    assertCode(run, 1);
    assertMatch(run.stderr, /^hotboot: instance 'micro' is running, which a start from 'before' would drop: [^\n]*\n$/);
  });

  await t.step("a start from a checkpoint has the memory, disk and boot of that moment, with new secrets", async () => {
    await micro.succeed("stop", ["--discard"]);
    assertEquals((await micro.start("--from", "before", "--no-fallback")).origin, "resume");
    assertEquals(
      await shell("cat /proc/sys/kernel/random/boot_id /data/moment /run/moment"),
      [boot, "disk", "memory"].join("\n"),
    );
    assertNotEquals(await token(), first);
    assertEquals(await token(), JSON.parse(await micro.succeed("credentials", ["--json"])).TOKEN);
    await shell("echo other >/data/moment; sync");
    await micro.succeed("stop", ["--discard"]);
    await micro.start("--from", "later");
    assertEquals(await shell("cat /data/moment /run/moment"), "changed\nchanged");
  });

  await t.step("it keeps its own secrets on request", async () => {
    await micro.succeed("stop", ["--discard"]);
    const run = await micro.run("start", ["--from", "before", "--keep-secrets", "--quiet"]);
    assertEquals([run.code, run.stderr], [0, ""]);
    assertEquals(await shell("cat /data/moment"), "disk");
    assertEquals([await token(), JSON.parse(await micro.succeed("credentials", ["--json"])).TOKEN], [first, first]);
  });

  await t.step("it is listed, and it and the layers below it stay while it is in use", async () => {
    const all = await list();
    assertEquals(all.map(({ name, engine, state }: Record<string, string>) => [name, engine, state]), [
      [undefined, "instant", "usable"],
      ["later", "flat", "usable"],
      ["before", "flat", "usable"],
    ]);
    const used = await micro.run("snapshot rm", ["before"]);
    assertCode(used, 1);
    assertMatch(used.stderr, /^hotboot: checkpoint 'before' stays: instance 'micro' \(running\) uses it; /);
    await micro.succeed("stop", ["--discard"]);
    const below = await micro.run("snapshot rm", [all[0].id]);
    assertCode(below, 1);
    assertMatch(
      below.stderr,
      /^hotboot: snapshot \S+ stays: checkpoint '(before|later)' uses it; 'hotboot snapshot rm /,
    );
    const build = await micro.run("snapshot prune", ["--json"]);
    assertEquals(JSON.parse(build.stdout).removed, []);
    assertEquals((await list()).length, 3);
  });

  await t.step("damage to a shared disk is found before anything starts", async () => {
    const [damaged] = all(await list(), "later");
    const { checkpoint } = JSON.parse(
      await Deno.readTextFile(`${micro.home}/checkpoints/micro-${micro.arch}/${damaged.id}/manifest.json`),
    );
    const disk = `${micro.home}/instances/.layer-${checkpoint.layer.name}/disk.qcow2`;
    const bytes = await Deno.readFile(disk);
    await Deno.truncate(disk, bytes.length - 4096);
    const run = await micro.run("start", ["--from", "later"]);
    assertCode(run, 1);
    assertMatch(
      run.stderr,
      /^hotboot: checkpoint \S+ is damaged: \S+disk\.qcow2 is missing, or has other content; 'hotboot snapshot rm \S+' removes it\n$/m,
    );
    await Deno.writeFile(disk, bytes);
    const deeper = (await disksUnder(disk))!.find((path) => path.includes("/.layer-"))!;
    await Deno.rename(deeper, `${deeper}.away`);
    const verified = await micro.run("snapshot verify", ["later"]);
    assertCode(verified, 1);
    assertMatch(
      verified.stderr,
      /is damaged: \S+\.layer-\S+\.qcow2 is missing, which its disk is on top of; 'hotboot snapshot rm \S+' removes it\n$/,
    );
    await Deno.rename(`${deeper}.away`, deeper);
    assertCode(await micro.run("snapshot verify", ["later"]), 0);
    await micro.start("--from", "later", "--no-fallback");
    const booted = await micro.run("restart", ["--discard", "--cold"]);
    assertCode(booted, 1);
    assertMatch(booted.stderr, /^hotboot: a start from '\S+' continues from memory, and --cold boots the image: /m);
    assertEquals((await micro.status()).state, "running");
    await micro.succeed("stop", ["--discard"]);
  });

  await t.step("removal leaves nothing", async () => {
    assertEquals(layers().length > 0, true);
    const { bytes } = JSON.parse(await micro.succeed("snapshot rm", ["before", "later", "--json"]));
    assert(bytes > 1 << 20, `${bytes}`);
    assertEquals(layers(), []);
    assertEquals((await list()).length, 1);
    const gone = await micro.run("start", ["--from", "before"]);
    assertCode(gone, 1);
    assertMatch(
      gone.stderr,
      /^hotboot: there is no checkpoint 'before' of 'micro': 'hotboot snapshot save NAME' makes one\n$/m,
    );
    assertEquals((await micro.start("--no-fallback")).origin, "resume");
  });
});

function all(list: { id: string; name?: string }[], name: string) {
  return list.filter((each) => each.name === name);
}
