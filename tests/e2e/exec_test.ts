// needs: micro

import { assert, assertEquals, assertMatch } from "@std/assert";
import { exec } from "../../lib/guest/exec.ts";
import { openEmulator } from "../../lib/instance/emulator.ts";
import { GuestHome } from "./guest_home.ts";
import { assertCode } from "./program.ts";
import { until } from "./pace.ts";

Deno.test("exec runs programs in the guest", async (t) => {
  await using micro = await GuestHome.make({ captured: true });
  const missing = await micro.run("exec", ["--", "true"]);
  assertCode(missing, 1);
  assertMatch(missing.stderr, /^hotboot: instance 'micro' does not run.*\n$/);
  await micro.start();

  await t.step("arguments, output, errors and the exit code arrive unchanged", async () => {
    const run = await micro.run("exec", ["--", "sh", "-c", 'echo "$1|$2"; echo no >&2; exit 7', "sh", "a  'b", '$x"']);
    assertEquals(run, { code: 7, stdout: `a  'b|$x"\n`, stderr: "no\n" });
    assertEquals((await micro.run("exec", ["--", "sh", "-c", "kill -KILL $$"])).code, 137);
    assertEquals((await micro.run("exec", ["--", "no-such-program"])).code, 127);
  });

  await t.step("options after -- belong to the program", async () => {
    assertEquals(await micro.exec("echo", "--json", "-n", "--", "--help"), "--json -n -- --help\n");
  });

  await t.step("variables and the directory are set", async () => {
    const script = 'echo "$ONE|$TWO|$(pwd)"';
    const args = ["-e", "ONE=a ' , b=c", "--env", "TWO=", "-w", "/tmp", "--", "sh", "-c", script];
    assertEquals(await micro.succeed("exec", args), "a ' , b=c||/tmp\n");
    const nowhere = await micro.run("exec", ["-w", "/nowhere", "--", "true"]);
    assertCode(nowhere, 126);
    assertMatch(nowhere.stderr, /nowhere/);
    assertCode(await micro.run("exec", ["-e", "ONE", "--", "true"]), 2);
  });

  await t.step("with -i a pipe is its input, including NUL bytes, and the pipe's end its end", async () => {
    const stdin = Uint8Array.from({ length: 700_000 }, (_, at) => at % 251);
    const expected = new Uint8Array(await crypto.subtle.digest("SHA-256", stdin));
    const digest = await micro.succeed("exec", ["-i", "--", "sha256sum"], { stdin });
    assertEquals(digest.slice(0, 64), Array.from(expected, (byte) => byte.toString(16).padStart(2, "0")).join(""));
    assertEquals(await micro.succeed("exec", ["--", "wc", "-c"], { stdin }), "0\n");
    assertEquals(await micro.succeed("exec", ["-i", "--", "head", "-c", "1"], { stdin }), "\0");
    const open = micro.spawnWith({ openStdin: true }, "exec", "--", "cat");
    assertEquals((await open.status).code, 0); // it does not wait for the end of what it does not read
    await Promise.all([open.stdin.close(), open.stdout.cancel(), open.stderr.cancel()]);
  });

  await t.step("with -i it answers while it is talked to", async () => {
    const child = micro.spawnWith(
      { openStdin: true },
      "exec",
      "-i",
      "--",
      "sh",
      "-c",
      'while read word; do echo "got $word"; done',
    );
    const [writer, reader] = [child.stdin.getWriter(), child.stdout.pipeThrough(new TextDecoderStream()).getReader()];
    for (const word of ["one", "two"]) {
      await writer.write(new TextEncoder().encode(`${word}\n`));
      assertEquals((await reader.read()).value, `got ${word}\n`);
    }
    await writer.close();
    assertEquals((await child.status).code, 0);
    await Promise.all([reader.cancel(), child.stderr.cancel()]);
  });

  await t.step("all bytes arrive, on both streams", async () => {
    const octal = Array.from({ length: 256 }, (_, at) => `\\${at.toString(8).padStart(3, "0")}`).join("");
    const child = micro.spawn("exec", "--", "sh", "-c", 'printf "$1"; printf "$1" >&2', "sh", octal);
    const [stdout, stderr] = await Promise.all([
      new Response(child.stdout).bytes(),
      new Response(child.stderr).bytes(),
    ]);
    assertEquals(stdout, Uint8Array.from({ length: 256 }, (_, at) => at));
    assertEquals(stderr, stdout);
    await child.status;
  });

  await t.step("output beyond the agent's limit (16 MiB) arrives whole", async () => {
    const size = 20 << 20;
    const output = await micro.exec("sh", "-c", `yes | head -c ${size}`);
    assertEquals(output.length, size);
    assert(output === "y\n".repeat(size / 2));
  });

  await t.step("output arrives while the program runs, and an interrupt ends the program, too", async () => {
    const child = micro.spawn("exec", "--", "sh", "-c", "echo begun; sleep 1000; echo over");
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    assertEquals((await reader.read()).value, "begun\n");
    assertMatch(await micro.exec("ps"), /sleep 1000/); // so a second exec gets its turn
    child.kill("SIGINT");
    assertEquals((await child.status).code, 130);
    await reader.cancel();
    await child.stderr.cancel();
    await until(async () => !/sleep 1000/.test(await micro.exec("ps")), "the program's end");
    assertEquals(await portsIn(micro), 3); // the agent's and its own
  });

  await t.step("the ports of a killed hotboot are removed by the next one", async () => {
    const child = micro.spawnWith({ openStdin: true }, "exec", "-i", "--", "sh", "-c", "echo begun; cat; sleep 1000");
    const reader = child.stdout.getReader();
    await reader.read();
    assertEquals(await portsIn(micro), 6);
    child.kill("SIGKILL");
    await Promise.all([child.status, reader.cancel(), child.stderr.cancel()]);
    await child.stdin.close().catch(() => {});
    assertEquals(await portsIn(micro), 3);
  });

  await t.step("when all ports are in use, the agent passes the streams on", async () => {
    const end = new AbortController();
    const profile = micro.profile;
    let missing = 9; // a busy guest may not find its ports in time, and then the agent does it
    const detail = (text: string) => void (/agent passes/.test(text) && missing++);
    const report = { step() {}, detail, warn() {}, progress() {} };
    const emulator = await openEmulator({ home: micro.home, profile, signal: end.signal, report });
    const all: Promise<number>[] = [];
    for (; missing > 0; missing--) {
      const { promise: begun, resolve } = Promise.withResolvers<void>();
      all.push(exec(emulator, { command: ["sh", "-c", "echo; sleep 1000"], stdout: () => resolve() }));
      await Promise.race([begun, all.at(-1)]);
    }
    const settled = Promise.allSettled(all);
    const script = "cat; echo no >&2; exit 5";
    const run = await micro.run("exec", ["-v", "-i", "--", "sh", "-c", script], {
      stdin: new TextEncoder().encode("in"),
    });
    end.abort();
    assertEquals((await settled).filter(({ status }) => status === "fulfilled"), []);
    assertEquals([run.code, run.stdout], [5, "in"]);
    assertMatch(run.stderr, /agent passes.*all ports are in use[^]*no\n/);
    assertEquals(await portsIn(micro), 3);
  });

  await t.step("a guest without 'script' has no terminal, and hotboot says what to install", async () => {
    const run = await micro.run("exec", ["-t", "--", "true"]);
    assertCode(run, 1);
    assertMatch(run.stderr, /install 'script'/);
  });

  await t.step("--json prints one object with everything", async () => {
    const run = await micro.run("exec", ["--json", "--", "sh", "-c", "echo out; echo err >&2; exit 3"]);
    assertEquals(run.code, 3);
    assertEquals(JSON.parse(run.stdout), { exitCode: 3, stdout: "out\n", stderr: "err\n" });
  });
});

Deno.test("exec and what saves the guest", async (t) => {
  await using micro = await GuestHome.started();

  await t.step("a checkpoint and a fork say what is in the way, and it works on", async () => {
    const child = micro.spawnWith({ openStdin: true }, "exec", "-i", "--", "sh", "-c", "echo begun; cat");
    const [writer, reader] = [child.stdin.getWriter(), child.stdout.pipeThrough(new TextDecoderStream()).getReader()];
    assertEquals((await reader.read()).value, "begun\n");
    for (const [verb, name] of [["snapshot save", "saved"], ["fork", "second"]]) {
      const run = await micro.run(verb, [name]);
      assertCode(run, 1);
      assertMatch(run.stderr, /instance 'micro' is not saved: an 'exec' or a 'shell' is at work in it: end that first/);
    }
    await writer.write(new TextEncoder().encode("still here\n"));
    assertEquals((await reader.read()).value, "still here\n");
    await writer.close();
    assertEquals((await child.status).code, 0);
    await Promise.all([reader.cancel(), child.stderr.cancel()]);
    await micro.succeed("snapshot save", ["saved"]);
  });

  await t.step("'stop' ends it, and what is saved continues without its ports", async () => {
    const child = micro.spawn("exec", "--", "sh", "-c", "echo begun; sleep 1000");
    const reader = child.stdout.getReader();
    await reader.read();
    const said = new Response(child.stderr).text();
    await micro.succeed("stop");
    assertEquals((await child.status).code, 1);
    await reader.cancel();
    assertMatch(await said, /^hotboot: [^\n]*(is being stopped|it is suspended)[^\n]*\n$/);
    assertEquals((await micro.start("--no-fallback")).origin, "continue");
    assertEquals(await portsIn(micro), 3);
  });

  await t.step("a checkpoint is without the ports that a killed hotboot has left", async () => {
    const child = micro.spawn("exec", "--", "sh", "-c", "echo begun; sleep 1000");
    const reader = child.stdout.getReader();
    await reader.read();
    child.kill("SIGKILL");
    await Promise.all([child.status, reader.cancel(), child.stderr.cancel()]);
    await micro.succeed("snapshot save", ["clean"]);
    await micro.succeed("stop", ["--discard"]);
    await micro.start("--from", "clean", "--no-fallback");
    assertEquals(await portsIn(micro), 3);
  });
});

/** How many ports the guest sees, with those of the question: the agent's, and two of this one. */
async function portsIn(micro: GuestHome): Promise<number> {
  return Number(await micro.exec("sh", "-c", "ls /sys/class/virtio-ports | wc -l"));
}

Deno.test("logs: prints the guest's console, its last lines, and new lines as they come", async () => {
  await using micro = await GuestHome.make();
  const none = await micro.run("logs");
  assertCode(none, 1);
  assertMatch(none.stderr, /has never been started/);
  await micro.start("--cold");
  assertMatch(await micro.succeed("logs"), /micro is up/);
  await micro.exec("sh", "-c", "printf 'one\\ntwo\\nthree\\n' >/dev/console");
  assertEquals((await micro.succeed("logs", ["--lines", "2"])).replaceAll("\r", ""), "two\nthree\n");
  assertEquals(await micro.succeed("logs", ["-n", "0"]), "");

  const follow = micro.spawn("logs", "-f", "-n", "1");
  const reader = follow.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let seen = "";
  const until = async (text: string) => {
    while (!seen.includes(text)) seen += (await reader.read()).value ?? assert(false, `the log ended: ${seen}`);
  };
  await until("three");
  await micro.exec("sh", "-c", "echo four >/dev/console");
  await until("four");
  assertEquals(seen.replaceAll("\r", ""), "three\nfour\n");
  follow.kill("SIGINT");
  assertEquals((await follow.status).code, 0);
  await reader.cancel();
  await follow.stderr.cancel();
});
