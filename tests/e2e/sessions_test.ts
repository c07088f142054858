// needs: micro

/** What users of such tools have met in long sessions. */

import { assertEquals, assertMatch } from "@std/assert";
import { GuestHome, PROFILES } from "./guest_home.ts";
import { assertCode, HOTBOOT, hotboot } from "./program.ts";
import { lackOfSmallDisks, smallDisk, testUnless } from "./needs.ts";
import { until } from "./pace.ts";
import { tool } from "./tool.ts";

Deno.test("sessions: while a stop takes long, other commands say so, and nobody takes QEMU for dead", async () => {
  await using micro = await GuestHome.started();
  const stop = micro.spawn("stop");
  const ended = stop.output();
  await until(async () => (await micro.record()).phase === "stopping", "the stop");
  Deno.kill(stop.pid, "SIGSTOP"); // as a disk that takes minutes
  try {
    const { state, why } = await micro.status();
    assertEquals([state, why], ["stopping", undefined]);
    const exec = await micro.run("exec", ["-n", "--", "true"]);
    assertCode(exec, 1);
    assertEquals(exec.stderr, "hotboot: instance 'micro' is being stopped: try again when it has stopped\n");
  } finally {
    Deno.kill(stop.pid, "SIGCONT");
  }
  assertEquals((await ended).code, 0);
  assertEquals((await micro.status()).state, "suspended");
});

testUnless(await lackOfSmallDisks(), "sessions: a disk that is full pauses the guest, and loses nothing", async (t) => {
  await using micro = await GuestHome.make({ captured: true });
  const instances = `${micro.home}/instances`;
  await Deno.remove(instances, { recursive: true }).catch(() => {}); // a capture may have left some
  await using _disk = await smallDisk(instances, 12);
  await micro.start("--no-fallback");
  await micro.exec(
    "sh",
    "-c",
    "(head -c 30000000 /dev/urandom >/data/large; sync; md5sum </data/large >/data/part; mv /data/part /data/sum) >/dev/null 2>&1 &",
  );
  await until(async () => (await micro.status()).state === "paused", "the full disk");
  const advice =
    /its disk cannot be written: free some space for [^\n]*\/instances, or raise your quota there, then 'hotboot start' continues it/;
  await t.step("status, exec and start name the disk, and what to do", async () => {
    assertMatch((await micro.status()).why!, advice);
    for (const args of [["exec", "-n", "--", "true"], ["start"]]) {
      const [verb, ...rest] = args;
      const run = await micro.run(verb, rest);
      assertCode(run, 1);
      assertMatch(run.stderr, advice);
    }
  });
  await t.step("stop fails, and the session is still there", async () => {
    const run = await micro.run("stop");
    assertCode(run, 1);
    assertMatch(run.stderr, /not suspended, [^\n]*: free some space on the disk of hotboot's home/);
    assertEquals((await micro.qemuProcesses()).length, 1);
  });
  await t.step("with room again, it continues", async () => {
    await tool("mount", "-o", "remount,size=200m", instances);
    await micro.start();
    await until(async () => (await micro.exec("ls", "/data")).includes("sum"), "what the guest was writing");
    const [were, are] = (await micro.exec("sh", "-c", "cat /data/sum; md5sum </data/large")).trim().split("\n");
    assertEquals(were, are);
  });
  await micro.succeed("reset");
});

Deno.test("sessions: one whose home was moved while it ran says how it can be suspended", async () => {
  await using micro = await GuestHome.started();
  await micro.exec("sh", "-c", "echo memory >/run/here");
  const moved = `${micro.directory}/moved`;
  const args = ["--home", moved, "--profile", micro.profile];
  await Deno.rename(micro.home, moved);
  try {
    const refused = await hotboot(["stop", ...args]);
    assertCode(refused, 1);
    assertMatch(
      refused.stderr,
      RegExp(
        `the guest still runs: [^\\n]*; its disk was ${micro.home}/[^\\n]* and its home is ${moved} now: move the home back, or put`,
      ),
    );
    await Deno.symlink(moved, micro.home);
    assertCode(await hotboot(["stop", ...args]), 0);
    await Deno.remove(micro.home);
    const start = await hotboot(["start", "--json", ...args]);
    assertCode(start, 0);
    assertEquals(JSON.parse(start.stdout).origin, "continue");
    assertEquals((await hotboot(["exec", ...args, "-n", "--", "cat", "/run/here"])).stdout, "memory\n");
  } finally {
    await hotboot(["reset", ...args]);
    await Deno.remove(micro.home).catch(() => {});
    await Deno.rename(moved, micro.home);
  }
});

Deno.test("sessions: a home that is closed to this user is named, with what to do", async () => {
  const directory = await Deno.makeTempDir({ prefix: "hotboot-test-" });
  const home = `${directory}/closed/home`;
  await Deno.mkdir(home, { recursive: true });
  await Deno.chmod(`${directory}/closed`, 0o000);
  // Root may open everything, unless it gives that up.
  const modest = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"];
  try {
    for (const verb of ["status", "start", "stop", "logs"]) {
      const [program, ...args] = [
        ...(Deno.uid() === 0 ? modest : []),
        ...HOTBOOT,
        ...[verb, "--home", home, "--profile", PROFILES.micro],
      ];
      const { code, stderr } = await new Deno.Command(program, { args }).output();
      assertEquals(
        [code, new TextDecoder().decode(stderr)],
        [
          1,
          `hotboot: the home ${home} is closed to this user, or a directory above it is: name another with --home or HOTBOOT_HOME\n`,
        ],
      );
    }
  } finally {
    await Deno.chmod(`${directory}/closed`, 0o700);
    await Deno.remove(directory, { recursive: true });
  }
});
