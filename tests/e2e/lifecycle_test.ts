// needs: micro

import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { GuestHome } from "./guest_home.ts";
import { assertCode, hotboot } from "./program.ts";
import { CACHE } from "./qemu.ts";
import { until } from "./pace.ts";

Deno.test("the first start captures, and later ones resume without later changes", async (t) => {
  await using micro = await GuestHome.make();

  await t.step("nothing exists before the first start", async () => {
    const status = await micro.status();
    assertEquals([status.state, status.running, status.snapshot], ["stopped", undefined, undefined]);
    const stop = await micro.run("stop");
    assertEquals([stop.code, stop.stdout], [0, ""]);
    assertMatch(stop.stderr, /does not run/);
  });

  let snapshot: string | undefined;
  await t.step("the first start boots, captures and resumes", async () => {
    const run = await micro.run("start");
    assertEquals([run.code, run.stdout], [0, `web http://127.0.0.1:${micro.port}\n`], run.stderr);
    assertMatch(run.stderr, /cold boot .* to capture\n.*capture\n.*resume snapshot/s);
    snapshot = (await micro.record()).snapshot;
    assert(snapshot !== undefined);
    assert((await micro.health()).uptime > 1);
  });

  await t.step("a start of a running instance changes nothing", async () => {
    const before = await micro.record();
    assertEquals((await micro.start()).origin, undefined);
    assertEquals(await micro.record(), before);
    const capture = await micro.run("capture");
    assertEquals([capture.code, capture.stdout], [1, ""]);
    assertMatch(capture.stderr, /^hotboot: instance 'micro' runs: stop it first.*\n$/);
  });

  await t.step("status shows its state", async () => {
    const status = await micro.status();
    assertEquals(status.state, "running");
    assertEquals(status.running?.health, { web: true });
    assertEquals(status.running?.snapshot, snapshot);
    assertEquals([status.running?.pid], await micro.qemuProcesses());
    assertMatch(await micro.succeed("status"), /health +web ok/);
  });

  await t.step("QEMU has nothing of the caller's: no environment, no directory, no open file", async () => {
    const [pid] = await micro.qemuProcesses();
    assertEquals(await Deno.readTextFile(`/proc/${pid}/environ`), "");
    assertEquals(await Deno.readLink(`/proc/${pid}/cwd`), "/");
    const files = Array.from(Deno.readDirSync(`/proc/${pid}/fd`), ({ name }) => {
      const link = Deno.readLinkSync(`/proc/${pid}/fd/${name}`);
      return link.startsWith("/") && !link.startsWith("/dev/") ? link : undefined;
    }).filter((link) => link !== undefined);
    assertEquals(files.filter((path) => ![micro.home, CACHE].some((place) => path.startsWith(`${place}/`))), []);
  });

  await t.step("stop --discard ends it, and the next start resumes the snapshot", async () => {
    await micro.exec("sh", "-c", "echo changed >/data/changed; sync");
    const stop = await micro.run("stop", ["--discard"]);
    assertEquals([stop.code, stop.stdout], [0, ""]);
    assertMatch(stop.stderr, /without later changes/);
    assertEquals(await micro.qemusLeft(), []);

    const started = await micro.start();
    assertEquals([started.origin, started.snapshot], ["resume", snapshot]);
    assertEquals(await micro.exec("ls", "/data"), "lost+found\n");
  });

  await t.step("capture keeps a good snapshot, and --force replaces it", async () => {
    await micro.succeed("stop", ["--discard", "--quiet"]);
    assertEquals(await micro.succeed("capture"), `${snapshot} (up to date)\n`);
    const { snapshot: second, captured } = JSON.parse(await micro.succeed("capture", ["--force", "--json"]));
    assert(captured);
    assertNotEquals(second, snapshot);
    assert((await micro.snapshot()).endsWith(second));
    assertEquals((await micro.start()).snapshot, second);
  });

  await t.step("--cold boots and uses no snapshot", async () => {
    await micro.succeed("stop", ["--discard", "--quiet"]);
    const started = await micro.start("--cold");
    assertEquals([started.origin, started.snapshot], ["cold boot", undefined]);
    await micro.snapshot(); // it is still there
  });

  await t.step("reset ends it and removes its files, but no snapshot", async () => {
    await micro.succeed("reset");
    assertEquals(await Array.fromAsync(Deno.readDir(`${micro.home}/instances`)), []);
    assertEquals(await micro.qemusLeft(), []);
    await micro.snapshot();
  });
});

Deno.test("instances of one snapshot run side by side without seeing each other", async () => {
  await using micro = await GuestHome.make({ captured: true });
  const first = await micro.start();
  const other = `${micro.directory}/other.json`;
  const second = ["--home", micro.home, "--instance", "second", "--profile", other];
  await using neighbour = await GuestHome.make(); // for its free port
  await micro.writeProfile({ port: neighbour.port, path: other });

  const started = await hotboot(["start", ...second, "--json"]);
  assertEquals(JSON.parse(started.stdout).snapshot, first.snapshot, started.stderr);
  await micro.exec("sh", "-c", "echo first >/tmp/whose; echo first >/data/whose");
  const seen = await hotboot([
    "exec",
    ...second,
    "--",
    "sh",
    "-c",
    "ls /tmp/whose /data/whose; echo second >/data/whose",
  ]);
  assertEquals(seen.stdout, "");
  assertEquals(await micro.exec("cat", "/tmp/whose", "/data/whose"), "first\nfirst\n");

  assertEquals((await hotboot(["stop", "--discard", ...second])).code, 0);
  assertEquals((await micro.health()).uptime > 0, true);
});

Deno.test("no command touches another profile's instance, running or suspended", async (t) => {
  await using micro = await GuestHome.make();
  await micro.start("--cold");
  const demo = ["--home", micro.home, "--profile", "demo"];
  const statusOf = async (...args: string[]) =>
    JSON.parse((await hotboot(["status", "--json", ...demo, ...args])).stdout);
  assertEquals([(await statusOf()).instance, (await statusOf()).state], ["demo", "stopped"]);

  for (const state of ["running", "suspended"]) {
    await t.step(state, async () => {
      const { state: seen, of } = await statusOf("--instance", "micro");
      assertEquals([seen, of], [state, "micro"]);
      for (const args of [["start"], ["stop"], ["stop", "--discard"], ["reset"], ["credentials"], ["exec", "true"]]) {
        const [verb, ...rest] = args;
        const run = await hotboot([verb, ...demo, "--instance", "micro", ...rest]);
        assertEquals([run.code, run.stdout], [1, ""], args.join(" "));
        assertMatch(
          run.stderr,
          /^hotboot: instance 'micro' is \w+ and belongs to profile 'micro': type --profile micro, or name another --instance\n$/,
        );
      }
      assertEquals((await micro.status()).state, state);
    });
    if (state === "running") await micro.succeed("stop");
  }
});

Deno.test("a kernel panic is reported, and the next start boots the disk", async () => {
  await using micro = await GuestHome.started();
  await micro.exec("sh", "-c", "echo mine >/data/mine; sync");
  await micro.exec("sh", "-c", "(sleep 1; echo c >/proc/sysrq-trigger) </dev/null >/dev/null 2>&1 &");
  await until(async () => /Kernel panic/.test(await micro.succeed("logs")), "the panic");
  const status = await micro.run("status");
  assertCode(status, 1);
  assertMatch(
    status.stdout,
    /the guest crashed \(Kernel panic - not syncing: sysrq triggered crash\): 'hotboot logs'/,
  );
  const start = await micro.run("start", ["--json"]);
  assertCode(start, 0);
  assertMatch(
    start.stderr,
    /warning: the guest crashed \(Kernel panic[^\n]*\): booting its disk, as after a power cut\n/,
  );
  assertEquals(JSON.parse(start.stdout).origin, "cold boot");
  assertEquals(await micro.exec("cat", "/data/mine"), "mine\n");
});

for (const signal of ["ABRT", "SEGV"]) {
  Deno.test(`if QEMU crashes (SIG${signal}) while the guest boots, it starts once more`, async () => {
    await using micro = await GuestHome.make();
    const marker = `${micro.directory}/crashed`;
    const env = await micro.wrappedQemu((qemu) =>
      `case "$*" in *virtio-blk-pci*) ;; *) exec ${qemu} "$@";; esac
    [ ! -e '${marker}' ] || exec ${qemu} "$@"
    ${qemu} "$@" & until [ -S '${micro.socket("monitor")}' ]; do sleep 0.1; done; sleep 2
    touch '${marker}'; kill -9 $!; kill -${signal} $$`
    );
    const start = await micro.run("start", ["--json"], { env });
    assertCode(start, 0);
    assertMatch(
      start.stderr,
      RegExp(`warning: QEMU ended before the guest was healthy: [^\n]*SIG${signal}[^\n]*; booting again\n`),
    );
    assertEquals(JSON.parse(start.stdout).origin, "resume");
  });
}
