// needs: micro

import { assert, assertEquals, assertMatch } from "@std/assert";
import { copy } from "@std/fs/copy";
import { ensureDir } from "@std/fs/ensure-dir";
import { basename } from "@std/path/basename";
import { fingerprint } from "../../lib/snapshot/fingerprint.ts";
import { QmpClient } from "../../lib/vm/qmp.ts";
import { sleep } from "../../lib/base/wait.ts";
import { GuestHome } from "./guest_home.ts";
import { assertCode } from "./program.ts";
import { killLater, moments, rounds, until } from "./pace.ts";

const files = (home: GuestHome) =>
  Array.fromAsync(Deno.readDir(home.instance), ({ name }) => name).then((names) => names.sort());
const stateOf = async (home: GuestHome) => (await home.status()).state;
const SUSPENDED = ["disk.qcow2", "instance.json", "memory.ram", "memory.state", "serial.log", "timeline.jsonl"];

Deno.test("a suspended instance continues exactly where it was, any number of times", async (t) => {
  await using micro = await GuestHome.started();
  const { snapshot } = await micro.record();
  await micro.exec("sh", "-c", "echo memory >/run/here; echo disk >/data/here; exec sleep 1000 >/dev/null 2>&1 &");
  for (const round of [1, 2, 3]) {
    await t.step(`round ${round}`, async () => {
      const [before, begin] = [await micro.health(), performance.now()];
      const stop = await micro.run("stop");
      assertCode(stop, 0);
      assertMatch(stop.stderr, /suspended; the next start continues where it was\n$/);
      assertEquals(await micro.qemusLeft(), []);
      assertEquals(await files(micro), SUSPENDED);
      assertEquals(await stateOf(micro), "suspended");
      assertMatch((await micro.run("stop")).stderr, /does not run; it is suspended\n$/);
      await sleep(2000); // without a correction, its clock would be late by this

      const started = await micro.start("--no-fallback");
      assertEquals([started.origin, started.snapshot], ["continue", snapshot]);
      const [{ uptime }, seconds] = [await micro.health(), (performance.now() - begin) / 1000];
      assert(uptime > before.uptime && uptime < before.uptime + seconds, `${before.uptime} ${seconds} ${uptime}`);
      await micro.assertOnTime();
      assertEquals(await micro.exec("cat", "/run/here", "/data/here"), "memory\ndisk\n");
      assertMatch(await micro.exec("ps"), /sleep 1000/);
      assertEquals((await files(micro)).filter((name) => name.startsWith("memory.")), []);
    });
  }
});

Deno.test("stop --shutdown keeps the disk; --discard and reset keep nothing", async (t) => {
  await using micro = await GuestHome.started();
  await micro.exec("sh", "-c", "echo memory >/run/here; echo disk >/data/here; sync");
  await t.step("the guest shuts itself down", async () => {
    const run = await micro.run("stop", ["--shutdown"]);
    assertCode(run, 0);
    assertEquals(run.stderr, "hotboot: shut down; the next start boots its disk\n");
    assertEquals(await stateOf(micro), "shut down");
    assertEquals(await files(micro), ["disk.qcow2", "instance.json", "serial.log", "timeline.jsonl"]);
  });
  await t.step("the next start boots it, also after a crash on the way", async () => {
    const killed = micro.spawn("start");
    await until(async () => (await micro.qemuProcesses()).length > 0, "QEMU's start");
    killed.kill("SIGKILL");
    await killed.output();
    const started = await micro.start();
    assertEquals(started.origin, "cold boot");
    assertEquals(
      await micro.exec("sh", "-c", "cat /data/here; ls /run/here 2>&1 || true"),
      "disk\nls: /run/here: No such file or directory\n",
    );
  });
  await t.step("afterwards it can be suspended", async () => {
    await micro.succeed("stop");
    assertEquals((await micro.start()).origin, "continue");
    assertEquals(await micro.exec("cat", "/data/here"), "disk\n");
  });
  for (const [verb, ...args] of [["stop", "--discard"], ["reset"]]) {
    await t.step(`${verb} drops a suspended instance`, async () => {
      await micro.succeed("stop");
      await micro.succeed(verb, args);
      assertEquals(await stateOf(micro), "stopped");
      assertEquals((await micro.start("--no-fallback")).origin, "resume");
      assertEquals(await micro.exec("ls", "/data"), "lost+found\n");
    });
  }
});

Deno.test("a suspended instance that cannot continue is kept, and the error says why", async (t) => {
  await using micro = await GuestHome.started();
  await micro.exec("sh", "-c", "echo disk >/data/here; sync");
  await micro.succeed("stop");
  const directory = micro.instance;
  const aside = `${micro.directory}/aside`;
  await copy(directory, aside);
  const refuses = (title: string, damage: () => Promise<unknown>, why: RegExp) =>
    t.step(title, async () => {
      await damage();
      const run = await micro.run("start", ["--quiet"]);
      assertCode(run, 1);
      assertMatch(run.stderr, why);
      assertMatch(run.stderr, /^hotboot: [^\n]*\n$/);
      assertEquals(await micro.qemusLeft(), []);
      assertEquals(await stateOf(micro), "suspended");
      await copy(aside, directory, { overwrite: true });
    });
  const [state, ram] = ["state", "ram"].map((kind) => `${directory}/memory.${kind}`);
  await refuses(
    "another machine",
    () => micro.writeProfile({ memory: 320 }),
    /the memory was 256 MiB and is 320 MiB; change that back [^\n]*'hotboot start --cold'/,
  );
  await micro.writeProfile();
  for (const path of [state, ram]) {
    const name = basename(path);
    const say = (what: string) => new RegExp(`${name.replace(".", "\\.")} ${what}`);
    await refuses(`${name} cut`, () => Deno.truncate(path, 1 << 18), say("has 262144 bytes instead of"));
    await refuses(`${name} missing`, () => Deno.remove(path), say("is missing"));
    await refuses(`${name} changed`, async () => {
      const bytes = await Deno.readFile(path);
      for (let at = 0; at < bytes.length; at += 512) bytes[at] ^= 0xff;
      await Deno.writeFile(path, bytes);
    }, say("differs from what was saved"));
  }

  await t.step("capture refuses, because it would drop it", async () => {
    const run = await micro.run("capture", ["--force"]);
    assertCode(run, 1);
    assertMatch(run.stderr, /instance 'micro' is suspended, and a capture would drop it/);
  });
  await t.step("if QEMU ends while it loads, nothing is lost", async () => {
    const env = await micro.wrappedQemu((qemu) =>
      `case "$*" in *incoming*) ;; *) exec ${qemu} "$@";; esac
      ${qemu} "$@" &
      # It is there for some 20 ms, so a shell that starts "sleep" may miss it.
      perl -e 'select undef, undef, undef, 0.001 until -S $ARGV[0] or not kill 0, $ARGV[1]' '${
        micro.socket("migration")
      }' $!
      kill -9 $! $$`
    );
    const start = await micro.run("start", ["--quiet"], { env });
    assertCode(start, 1);
    assertMatch(start.stderr, /(SIGKILL|closed its monitor)[^\n]*; try again \('hotboot start'\), or boot/);
    assertEquals(await stateOf(micro), "suspended");
  });
  await t.step("its disk boots without its memory", async () => {
    await Deno.remove(state);
    assertEquals((await micro.start("--cold")).origin, "cold boot");
    assertEquals(await micro.exec("cat", "/data/here"), "disk\n");
  });
});

Deno.test("a suspension that fails, or is interrupted or killed at any moment, loses nothing", async (t) => {
  await using micro = await GuestHome.started();
  await micro.exec("sh", "-c", "echo memory >/run/here; echo disk >/data/here; sync");
  const alive = async () => assertEquals(await micro.exec("cat", "/run/here", "/data/here"), "memory\ndisk\n");

  await t.step("no room for the memory", async () => {
    await ensureDir(`${micro.instance}/memory.state/x`);
    const run = await micro.run("stop");
    assertCode(run, 1);
    assertMatch(
      run.stderr,
      /not suspended, the guest still runs: [^\n]*; 'hotboot stop --shutdown' saves only its disk\n$/,
    );
    await Deno.remove(`${micro.instance}/memory.state`, { recursive: true });
    await alive();
  });
  const took = async (verb: string) => {
    const begin = performance.now();
    await micro.succeed(verb);
    return performance.now() - begin;
  };
  const [stopMs, startMs] = [await took("stop"), await took("start")];
  /** Sends the signal after this time, and waits for the end. */
  const cut = async (verb: string, signal: Deno.Signal, ms: number) => {
    const child = micro.spawn(verb);
    const sending = killLater(child, signal, ms);
    await child.output();
    clearTimeout(sending);
  };
  for (const signal of ["SIGINT", "SIGKILL"] as const) {
    for (const ms of moments(rounds(4, 12), stopMs)) {
      await t.step(`stop, ${signal} after ${ms.toFixed()} ms`, async () => {
        await cut("stop", signal, ms);
        const state = await stateOf(micro);
        // A killed stop may leave the guest paused, or saved but not ended; then another stop ends it properly.
        if (state !== "running" && state !== "suspended") await micro.succeed("stop");
        if (state !== "running") assertEquals((await micro.start()).origin, "continue");
        await alive();
      });
    }
  }
  for (const ms of moments(rounds(4, 12), startMs)) {
    await t.step(`start, SIGKILL after ${ms.toFixed()} ms`, async () => {
      await micro.succeed("stop");
      await cut("start", "SIGKILL", ms);
      await micro.start();
      assertEquals(await micro.exec("cat", "/data/here"), "disk\n");
      await micro.exec("sh", "-c", "echo memory >/run/here");
    });
  }
  await t.step("a stop that was killed after the save", async () => {
    {
      await using qmp = await QmpClient.connect(micro.socket("monitor"));
      await qmp.execute("stop");
      const saved = `${micro.directory}/saved.sock`;
      using listener = Deno.listen({ transport: "unix", path: saved });
      const completed = qmp.waitForEvent(({ event, data }) => event === "MIGRATION" && data.status === "completed", "");
      await qmp.execute("migrate-set-capabilities", { capabilities: [{ capability: "events", state: true }] });
      await qmp.execute("migrate", { uri: `unix:${saved}` });
      await (await listener.accept()).readable.pipeTo(new WritableStream());
      await completed;
      assertEquals((await qmp.execute<{ status: string }>("query-status")).status, "postmigrate");
    }
    await micro.succeed("stop");
    assertEquals((await micro.start()).origin, "continue");
    await alive();
  });
  await t.step("a guest that was paused from outside", async () => {
    {
      await using qmp = await QmpClient.connect(micro.socket("monitor"));
      await qmp.execute("stop");
    }
    assertEquals(await stateOf(micro), "paused");
    assertMatch((await micro.run("start")).stderr, /it was paused, and continues\n/);
    await alive();
    {
      await using qmp = await QmpClient.connect(micro.socket("monitor"));
      await qmp.execute("stop");
    }
    await micro.succeed("stop");
    assertEquals((await micro.start()).origin, "continue");
    await alive();
  });
});

Deno.test("the image of a suspended instance is not replaced", async () => {
  await using micro = await GuestHome.started();
  await micro.succeed("stop");
  const run = await micro.run("build", ["--force"]);
  assertCode(run, 1);
  assertMatch(run.stderr, /^hotboot: instance 'micro' is suspended and uses the current image[^\n]*\n$/);
  assertEquals((await micro.start()).origin, "continue");
});

Deno.test("devices and memory of different moments are refused, and neither is lost", async () => {
  await using micro = await GuestHome.started();
  const [state, record] = ["memory.state", "instance.json"].map((name) => `${micro.instance}/${name}`);
  await micro.succeed("stop");
  const earlier = await Deno.readFile(state);
  await micro.start();
  await micro.exec("sh", "-c", "for n in 1 2 3 4 5; do head -c 1000000 /dev/urandom >/data/x; sync; done"); // fills its queues
  await micro.succeed("stop");
  const later = await Promise.all([Deno.readFile(state), Deno.readTextFile(record)]);

  await Deno.writeFile(state, earlier);
  const mixed = JSON.parse(later[1]);
  mixed.memory.state = await fingerprint(state); // as if it belonged to the memory
  await Deno.writeTextFile(record, JSON.stringify(mixed));
  const run = await micro.run("start", ["--quiet"]);
  assertCode(run, 1);
  assertMatch(run.stderr, /cannot continue, [^\n]*(inconsistent with Host index|VQ \d+ size 0x100 < last_avail_idx)/);
  assertEquals([await stateOf(micro), await micro.qemusLeft()], ["suspended", []]);

  await Deno.writeFile(state, later[0]);
  await Deno.writeTextFile(record, later[1]);
  assertEquals((await micro.start()).origin, "continue");
});
