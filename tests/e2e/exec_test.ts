// needs: micro

import { assert, assertEquals, assertMatch } from "@std/assert";
import { assertCode, GuestHome } from "./harness.ts";
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

  await t.step("a pipe is its input, including NUL bytes; without one, the input is empty", async () => {
    const stdin = Uint8Array.from({ length: 700_000 }, (_, at) => at % 251);
    const expected = new Uint8Array(await crypto.subtle.digest("SHA-256", stdin));
    const digest = await micro.succeed("exec", ["--", "sha256sum"], { stdin });
    assertEquals(digest.slice(0, 64), Array.from(expected, (byte) => byte.toString(16).padStart(2, "0")).join(""));
    assertEquals(await micro.exec("wc", "-c"), "0\n");
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
    const left = () => micro.exec("sh", "-c", "ls -d /tmp/hotboot-exec.* | wc -l");
    await until(async () => await left() === "1\n", "the end of the files in the guest, except its own");
  });

  await t.step("--json prints one object with everything", async () => {
    const run = await micro.run("exec", ["--json", "--", "sh", "-c", "echo out; echo err >&2; exit 3"]);
    assertEquals(run.code, 3);
    assertEquals(JSON.parse(run.stdout), { exitCode: 3, stdout: "out\n", stderr: "err\n" });
  });
});

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
