/** What hotboot does when others change its home, or when it gets many commands at once. */
// needs: micro

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { ensureDir } from "@std/fs/ensure-dir";
import { exists } from "@std/fs/exists";
import { toText } from "@std/streams/to-text";
import { importArguments, ROOT } from "../../dev/deno.ts";
import { HotbootError } from "../../lib/base/error.ts";
import { replaceFile } from "../../lib/base/files.ts";
import { listenUnix, NoSocketError } from "../../lib/vm/connect.ts";
import { GuestHome } from "./guest_home.ts";
import { assertCode, hotboot } from "./program.ts";
import { freePort } from "./shared.ts";
import { until } from "./pace.ts";
import { lackOfSmallDisks, smallDisk, testUnless } from "./needs.ts";

/** Copies a directory with everything in it; links stay links. */
async function copyHome(from: string, to: string): Promise<void> {
  const { success } = await new Deno.Command("cp", { args: ["-a", from, to] }).output();
  assert(success);
}

Deno.test("many simultaneous commands on one instance all get their turn", async () => {
  await using micro = await GuestHome.started();
  const states = await Promise.all(Array.from({ length: 8 }, () => micro.run("status", ["--json"])));
  for (const run of states) assertCode(run, 0);
  const outputs = await Promise.all(
    Array.from({ length: 6 }, (_, at) => micro.exec("sh", "-c", `sleep 1; echo ${at}`)),
  );
  assertEquals(outputs, ["0\n", "1\n", "2\n", "3\n", "4\n", "5\n"]);
});

Deno.test("exec with endless input can be interrupted", async () => {
  await using micro = await GuestHome.started();
  const child = micro.spawnWith({ openStdin: true }, "exec", "-i", "--", "sh", "-c", "cat >/tmp/in");
  const output = toText(child.stderr);
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode("begun"));
  const isRead = async () => (await micro.exec("sh", "-c", "cat /tmp/in || true")) === "begun";
  await until(isRead, "exec's input in the guest");
  child.kill("SIGTERM");
  assertEquals((await child.status).code, 130);
  assertEquals(await output, "hotboot: interrupted\n");
  await child.stdout.cancel();
  await writer.close();
});

Deno.test("operands are passed on unchanged, including --verbose", async () => {
  await using micro = await GuestHome.make({ captured: true });
  const stopped = await micro.run("exec", ["--", "grep", "-v", "x"]);
  assertMatch(stopped.stderr, /^hotboot: [^\n]*does not run[^\n]*\n$/);
  await micro.start();
  const args = ["exec", "--home", micro.home, "--profile", micro.profile, "echo", "a", "--", "-b"];
  assertEquals((await hotboot(args)).stdout, "a -- -b\n");
});

Deno.test("a copied home ignores the original's machine, and a moved home keeps its own", async () => {
  await using micro = await GuestHome.started();
  const copy = `${micro.directory}/copy`;
  await copyHome(micro.home, copy);
  for (const verb of ["stop", "reset"]) {
    assertCode(await hotboot([verb, "--home", copy, "--profile", micro.profile]), 0);
    assertEquals((await micro.health()).uptime > 0, true);
  }
  const moved = `${micro.directory}/moved`;
  await Deno.rename(micro.home, moved);
  const args = ["--home", moved, "--profile", micro.profile];
  assertEquals(JSON.parse((await hotboot(["status", "--json", ...args])).stdout).state, "running");
  assertEquals((await hotboot(["exec", ...args, "--", "echo", "here"])).stdout, "here\n");
  assertCode(await hotboot(["stop", "--discard", ...args]), 0);
  assertEquals(await micro.qemusLeft(), []);
  // The snapshot has moved along, too.
  assertEquals(JSON.parse((await hotboot(["start", "--no-fallback", "--json", ...args])).stdout).origin, "resume");
  assertCode(await hotboot(["stop", "--discard", ...args]), 0);
  await Deno.rename(moved, micro.home);
});

Deno.test("an instance without its record is refused by all commands but reset, which ends it", async () => {
  await using micro = await GuestHome.make({ captured: true });
  for (const text of ["{", "", "{}", "[]", '"x"', "null"]) {
    await micro.start();
    await Deno.writeTextFile(`${micro.instance}/instance.json`, text);
    for (const verb of ["start", "stop", "credentials"]) {
      const run = await micro.run(verb);
      assertCode(run, 1);
      assertMatch(
        run.stderr,
        /^hotboot: instance 'micro' cannot be used: it runs, but [^\n]*instance.json [^\n]*reset[^\n]*\n$/,
      );
    }
    assertEquals((await micro.status()).state, "damaged");
    assertMatch((await micro.run("reset")).stderr, /was reset; it was running/);
    assertEquals(await micro.qemuProcesses(), [], text);
  }
});

Deno.test("an image that is rebuilt during a start is not mixed with the old one", async () => {
  await using micro = await GuestHome.make({ captured: true });
  // QEMU's wrapper waits before a resume; meanwhile the image's description changes.
  const [begins, goesOn] = [`${micro.directory}/begins`, `${micro.directory}/goes-on`];
  const env = await micro.wrappedQemu((qemu) =>
    `case "$*" in *incoming*) : >${begins}; until [ -e ${goesOn} ]; do sleep 0.05; done;; esac\nexec ${qemu} "$@"`
  );
  await Deno.writeTextFile(goesOn, "");
  assertCode(await micro.run("start", ["--no-fallback"], { env }), 0); // now the wrapper has been probed
  await micro.succeed("stop", ["--discard"]);

  const record = `${micro.home}/images/${(await firstName(`${micro.home}/images`, ".json"))}`;
  for (const path of [begins, goesOn]) await Deno.remove(path);
  const started = micro.run("start", ["--no-fallback"], { env });
  await until(() => exists(begins), "QEMU's start");
  const changed = JSON.parse(await Deno.readTextFile(record));
  changed.files.disk.sha256 = changed.files.disk.sha256.replace(/^./, "z");
  await Deno.writeTextFile(record, JSON.stringify(changed));
  await Deno.writeTextFile(goesOn, "");
  const run = await started;
  assertCode(run, 1);
  assertMatch(run.stderr, /the image of 'micro' was just replaced: try again/);
  assertEquals(await micro.qemusLeft(), []);
});

Deno.test("a QEMU that comes up after its hotboot was killed ends by itself, and disturbs no other", async () => {
  await using micro = await GuestHome.make({ captured: true });
  // QEMU's wrapper waits, as on a machine that is busy.
  const [begins, goesOn, ended] = ["begins", "goes-on", "ended"].map((name) => `${micro.directory}/${name}`);
  const env = await micro.wrappedQemu((qemu) =>
    `case "$*" in *incoming*) if [ ! -e ${begins} ]; then
      : >${begins}; until [ -e ${goesOn} ]; do sleep 0.05; done
      ${qemu} "$@" 2>${ended}.tmp; mv ${ended}.tmp ${ended}; exit
    fi;; esac
    exec ${qemu} "$@"`
  );
  await Deno.writeTextFile(begins, "");
  assertCode(await micro.run("start", ["--no-fallback"], { env }), 0); // now the wrapper has been probed
  await micro.succeed("stop", ["--discard"]);

  await Deno.remove(begins);
  const child = micro.spawnWith({ env }, "start", "--no-fallback");
  const outputs = [toText(child.stdout), toText(child.stderr)]; // it writes as long as it lives
  await until(() => exists(begins), "QEMU's start");
  child.kill("SIGKILL");
  await Promise.all([child.status, ...outputs]);
  assertEquals((await micro.status()).state, "stopped");
  assertCode(await micro.run("start", ["--no-fallback"], { env }), 0);
  await Deno.writeTextFile(goesOn, "");
  await until(() => exists(ended), "the late QEMU's end");
  assertMatch(await Deno.readTextFile(ended), /launcher.sock': (No such file or directory|Connection refused)/);
  assertEquals([(await micro.status()).state, (await micro.qemuProcesses()).length], ["running", 1]);
});

async function firstName(directory: string, end: string): Promise<string> {
  for await (const { name } of Deno.readDir(directory)) if (name.endsWith(end)) return name;
  throw new Error(`nothing in ${directory} ends in ${end}`);
}

Deno.test("a changed image file is noticed, even with the same size and time", async () => {
  await using micro = await GuestHome.make();
  const images = `${micro.home}/images`;
  const kernel = `${images}/${await firstName(images, ".kernel")}`;
  const bytes = await Deno.readFile(kernel);
  const { atime, mtime } = await Deno.stat(kernel);
  await Deno.remove(kernel);
  bytes[5000] ^= 1;
  await Deno.writeFile(kernel, bytes);
  await Deno.utime(kernel, atime!, mtime!);
  const run = await micro.run("start");
  assertCode(run, 1);
  assertMatch(run.stderr, /its kernel differs from what was put there/);
});

Deno.test("a snapshot with a damaged manifest is replaced, and unrelated files are ignored", async () => {
  await using micro = await GuestHome.make({ captured: true });
  const directory = await micro.snapshot();
  await Deno.mkdir(`${micro.home}/instances`, { recursive: true });
  await Deno.writeTextFile(`${micro.home}/instances/.DS_Store`, "").catch(() => {});
  await Deno.writeTextFile(`${directory}/manifest.json`, '{"format": 1, "id": "x", "identity": null}');
  const run = await micro.run("start", ["-q"]);
  assertCode(run, 0);
  assertMatch(run.stderr, /^hotboot: warning: not resumed: snapshot [^\n]*manifest\.json[^\n]*\n$/);
  await micro.succeed("stop", ["--discard"]);
  assert(await micro.snapshot() !== directory);
  assertEquals((await micro.start("--no-fallback")).origin, "resume");
});

Deno.test("hotboot reaches its guest directly, even with a proxy in the environment", async () => {
  await using micro = await GuestHome.make();
  const proxy = `http://127.0.0.1:${freePort()}`;
  const env = { HTTP_PROXY: proxy, http_proxy: proxy, ALL_PROXY: proxy };
  assertCode(await micro.run("start", [], { env }), 0);
});

Deno.test("directories that are open to others are closed before they get a socket", async () => {
  await using micro = await GuestHome.make();
  await Deno.mkdir(micro.instance, { recursive: true, mode: 0o755 });
  await Deno.chmod(micro.instance, 0o755);
  await micro.start();
  for (const path of [micro.instance, `${micro.home}/cache`, `${micro.home}/locks`]) {
    assertEquals((await Deno.stat(path)).mode! & 0o777, 0o700, path);
  }
  for await (const { name } of Deno.readDir(await micro.snapshot())) {
    assertEquals((await Deno.stat(`${await micro.snapshot()}/${name}`)).mode! & 0o077, 0, name);
  }
});

Deno.test("a home behind a link, and its snapshots behind another to another disk, captures and resumes", async () => {
  await using micro = await GuestHome.make();
  await Deno.rename(micro.home, `${micro.directory}/real`);
  await Deno.symlink("real", micro.home);
  await ensureDir(`${micro.directory}/elsewhere/deep`);
  await Deno.symlink(`${micro.directory}/elsewhere/deep`, `${micro.home}/snapshots`);
  await micro.succeed("capture");
  assertEquals((await micro.start("--no-fallback")).origin, "resume");
  assertEquals(await micro.exec("ls", "/data"), "lost+found\n");
  await micro.succeed("stop");
  assertEquals((await micro.start()).origin, "continue");
  assertCode(await micro.run("doctor"), 0);
});

Deno.test("a console log that is a link to another file is not written", async () => {
  await using micro = await GuestHome.started();
  await micro.succeed("stop");
  const [log, precious] = [`${micro.instance}/serial.log`, `${micro.directory}/precious`];
  await Deno.writeTextFile(precious, "do not write here");
  await Deno.remove(log);
  await Deno.symlink(precious, log);
  for (const verb of ["start", "stop", "restart", "run"]) {
    const run = await micro.run(verb, verb === "run" ? ["--", "true"] : []);
    assertCode(run, 1);
    assertMatch(run.stderr, /serial\.log is a link, and hotboot makes none there/);
  }
  await Deno.remove(log);
  assertEquals((await micro.start()).origin, "continue"); // nothing was lost
  await micro.succeed("stop", ["--discard"]);
  await Deno.remove(log);
  await Deno.symlink(precious, log);
  await micro.succeed("reset");
  await micro.start("--no-fallback");
  assert((await Deno.lstat(log)).isFile);
  assertEquals(await Deno.readTextFile(precious), "do not write here");
});

testUnless(await lackOfSmallDisks(), "the error says that the home's disk is full", async () => {
  await using micro = await GuestHome.make();
  const small = `${micro.directory}/small`;
  await using _disk = await smallDisk(small, 60);
  await copyHome(`${micro.home}/images`, `${small}/images`);
  const run = await hotboot(["capture", "--home", small, "--profile", micro.profile]);
  assertCode(run, 1);
  assertMatch(run.stderr, /disk of hotboot's home is full|No space left/);
});

testUnless(
  await lackOfSmallDisks(),
  "nobody is told that a full disk has no sockets, or to name another path",
  async () => {
    const directory = await Deno.makeTempDir({ prefix: "hotboot-test-" });
    const small = `${directory}/small`;
    try {
      await using _disk = await smallDisk(small, 1);
      const shrink = new Deno.Command("mount", { args: ["-o", "remount,nr_inodes=2", small] });
      assertEquals((await shrink.output()).code, 0);
      await Deno.writeTextFile(`${small}/last`, "");
      const unbound = await assertRejects(() => listenUnix(`${small}/s.sock`), Error, "No space left on device");
      assert(!(unbound instanceof NoSocketError));
      const unwritten = await assertRejects(
        () => replaceFile(`${small}/record`, () => Promise.resolve()),
        HotbootError,
      );
      assertMatch(unwritten.message, /record cannot be written \(No space left on device.*\): free some space$/);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  },
);

Deno.test("the project's tasks work in a directory with spaces and letters of all kinds", async () => {
  const directory = await Deno.makeTempDir({ prefix: "hotböot test " });
  try {
    await Deno.mkdir(`${directory}/my projé`);
    for await (const { name } of Deno.readDir(ROOT)) {
      if (![".git", ".cache", "dist"].includes(name)) await copyHome(ROOT + name, `${directory}/my projé/${name}`);
    }
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["task", "-q", "hotboot", "--version"],
      cwd: `${directory}/my projé`,
      env: { HOTBOOT_IMPORTS: (await importArguments()).length > 0 ? "npm" : "jsr" }, // otherwise .cache would decide
    }).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
    assertMatch(new TextDecoder().decode(stdout), /^hotboot \d+\.\d+\.\d+\n$/);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
