// needs: micro

import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { copy } from "@std/fs/copy";
import { toText } from "@std/streams/to-text";
import { GuestHome } from "./guest_home.ts";
import { assertCode, hotboot, type Run } from "./program.ts";
import { qemuEnv } from "./qemu.ts";
import { killLater, moments, rounds, until } from "./pace.ts";

/** One line on standard error, nothing on standard output. */
function assertRefused(run: Run, code: number, why: RegExp): void {
  assertCode(run, code);
  assertMatch(run.stderr, why);
  assertMatch(run.stderr, /^hotboot: [^\n]+\n$/);
  assertEquals(run.stdout, "");
}

Deno.test("a changed snapshot is named, and never resumed", async (t) => {
  await using micro = await GuestHome.make({ captured: true });
  const other = `${micro.directory}/other`; // another snapshot of the same image on the same machine
  await Deno.rename(await micro.snapshot(), other);
  await micro.succeed("capture");
  const directory = await micro.snapshot();
  const aside = `${micro.directory}/aside`;
  await copy(directory, aside);
  /** Runs `damage`, expects a refusal, and puts everything back. */
  const refuses = (title: string, damage: () => Promise<unknown>, why: RegExp) =>
    t.step(title, async () => {
      await damage();
      assertRefused(await micro.run("start", ["--no-fallback", "--quiet"]), 1, why);
      assertEquals(await micro.qemusLeft(), []);
      await copy(aside, directory, { overwrite: true });
    });
  const damage = async (name: string) => {
    const bytes = await Deno.readFile(`${directory}/${name}`);
    for (let at = 0; at < bytes.length; at += 4096) bytes[at] ^= 0xff;
    await Deno.writeFile(`${directory}/${name}`, bytes);
  };
  for (const name of ["ram", "device.state", "disk.qcow2"]) {
    const path = `${directory}/${name}`;
    await refuses(`${name} truncated`, () => Deno.truncate(path, 8192), new RegExp(`'${name}' has 8192 bytes`));
    await refuses(`${name} emptied`, () => Deno.truncate(path, 0), new RegExp(`'${name}' has 0 bytes`));
    await refuses(`${name} damaged`, () => damage(name), new RegExp(`'${name}' differs from what was captured`));
    const exchange = () => Deno.copyFile(`${other}/${name}`, path);
    await refuses(
      `${name} of another snapshot`,
      exchange,
      new RegExp(`'${name}' (differs from what was captured|has \\d+ bytes)`),
    );
    await refuses(`${name} missing`, () => Deno.remove(path), new RegExp(`'${name}' is missing`));
  }
  await refuses("manifest missing", () => Deno.remove(`${directory}/manifest.json`), /manifest\.json is missing/);
  await refuses("manifest cut", () => Deno.truncate(`${directory}/manifest.json`, 50), /manifest\.json is damaged/);
  await refuses("another machine", () => micro.writeProfile({ memory: 320 }), /the memory was 256 MiB and is 320 MiB/);
  await micro.writeProfile();

  await t.step("an undamaged snapshot resumes", async () => {
    assertEquals((await micro.start("--no-fallback")).origin, "resume");
    await micro.succeed("stop", ["--discard"]);
  });

  await t.step("without --no-fallback, a message gives the reason and a new snapshot replaces it", async () => {
    await Deno.truncate(`${directory}/ram`, 8192);
    const run = await micro.run("start", ["--quiet"]);
    assertCode(run, 0);
    assertMatch(run.stderr, /^hotboot: warning: not resumed: [^\n]*'ram' has 8192 bytes[^\n]*\n$/);
    assertNotEquals(await micro.snapshot(), directory);
    assertEquals((await micro.health()).uptime > 0, true);
  });
});

Deno.test("if QEMU refuses the device state, the start boots cold", async () => {
  await using micro = await GuestHome.make({ captured: true });
  const directory = await micro.snapshot();
  // What a bug could leave: garbage with a matching manifest.
  const state = await Deno.readFile(`${directory}/device.state`);
  crypto.getRandomValues(state.subarray(100, 1000));
  await Deno.writeFile(`${directory}/device.state`, state);
  const manifest = JSON.parse(await Deno.readTextFile(`${directory}/manifest.json`));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", state));
  manifest.files["device.state"].sample = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  await Deno.writeTextFile(`${directory}/manifest.json`, JSON.stringify(manifest));

  assertRefused(await micro.run("start", ["--no-fallback", "-q"]), 1, /not resumed: .+/);
  const run = await micro.run("start", ["--json", "-q"]);
  assertCode(run, 0);
  assertMatch(run.stderr, /^hotboot: warning: not resumed: [^\n]+\n$/);
  assertEquals(JSON.parse(run.stdout).origin, "cold boot");
});

Deno.test("bad input gives one line that says what, why and what to do", async (t) => {
  await using micro = await GuestHome.make();
  const refuses = (title: string, run: () => Promise<Run>, code: number, why: RegExp) =>
    t.step(title, async () => assertRefused(await run(), code, why));

  await refuses(
    "no QEMU",
    () => micro.run("start", [], { env: { PATH: "/nowhere" } }),
    1,
    /apt install qemu-system.*brew install qemu/,
  );
  await refuses(
    "a program that is not QEMU",
    () => micro.run("start", [], { env: qemuEnv("/bin/false") }),
    1,
    /qemu-system-\w+ does not start here/,
  );
  await refuses(
    "a variable that prevents programs from starting",
    () => micro.run("build", ["--force"], { env: { LD_LIBRARY_PATH: "/nowhere" } }),
    1,
    /LD_LIBRARY_PATH is set.*env -u LD_LIBRARY_PATH hotboot build/,
  );
  await refuses(
    "unknown profile",
    () => hotboot(["start", "--profile", "nope", "--home", micro.home]),
    1,
    /no profile 'nope': use demo, stack, which are built in/,
  );
  await refuses(
    "profile without a file",
    () => hotboot(["start", "--profile", "./nope.json", "--home", micro.home]),
    1,
    /no profile at \.\/nope\.json/,
  );
  await refuses("bad instance", () => micro.run("start", ["--instance", "../x"]), 1, /not a valid instance name/);
  await refuses(
    "unknown option",
    () => micro.run("start", ["--fast"]),
    2,
    /start has no option --fast: see 'hotboot start --help'/,
  );
  await refuses("unknown short option", () => micro.run("start", ["-x"]), 2, /no option -x/);
  await refuses("option without its value", () => hotboot(["start", "--profile"]), 2, /--profile needs a value/);
  await refuses("superfluous operand", () => micro.run("start", ["fast"]), 2, /start does not take 'fast'/);
  await refuses("not a number", () => micro.run("logs", ["--lines", "many"]), 2, /--lines takes a whole number/);
  await refuses("no command to run", () => micro.run("exec", ["--"]), 2, /exec needs a command/);
  await refuses("unknown command", () => hotboot(["begin"]), 2, /no command 'begin'/);

  await t.step("a profile's bad field is named by its path", async () => {
    const profile = JSON.parse(await Deno.readTextFile(micro.profile));
    profile.ports.web.host = "8080";
    await Deno.writeTextFile(`${micro.directory}/bad.json`, JSON.stringify(profile));
    const args = ["start", "--home", micro.home, "--profile", `${micro.directory}/bad.json`];
    assertRefused(await hotboot(args), 1, /bad\.json: ports\.web\.host: /);
  });

  await t.step("a port that is taken is named before anything starts", async () => {
    using _taken = Deno.listen({ hostname: "127.0.0.1", port: micro.port });
    assertRefused(await micro.run("start"), 1, new RegExp(`port ${micro.port} \\('web'\\) is taken`));
    assertEquals(await micro.qemusLeft(), []);
  });

  await t.step("a changed image is refused", async () => {
    const kernel = `${micro.home}/images/micro-${Deno.build.arch === "aarch64" ? "arm64" : "amd64"}.kernel`;
    const original = await Deno.readLink(kernel);
    const bytes = await Deno.readFile(kernel);
    bytes[bytes.length - 1] ^= 1;
    await Deno.remove(kernel);
    await Deno.writeFile(kernel, bytes);
    assertRefused(
      await micro.run("start"),
      1,
      /image of 'micro' is damaged: its kernel differs from what was put there.*--force/,
    );
    await Deno.truncate(kernel, 100);
    assertRefused(await micro.run("start"), 1, /its kernel has 100 bytes instead of/);
    await Deno.remove(kernel);
    assertRefused(await micro.run("start"), 1, /its kernel is missing/);
    await Deno.symlink(original, kernel);
  });

  await t.step("a call without arguments prints help as an error; --help prints it as a result", async () => {
    const none = await hotboot([]);
    assertEquals([none.code, none.stdout], [2, ""]);
    for (const args of [["--help"], ["start", "--help"], ["exec", "-h"]]) {
      const help = await hotboot(args);
      assertEquals([help.code, help.stderr], [0, ""]);
      assertMatch(help.stdout, /Usage: hotboot/);
    }
    assertMatch((await hotboot(["--version"])).stdout, /^hotboot \d+\.\d+\.\d+( \([0-9a-f]{12}\+?\))?\n$/);
  });
});

Deno.test("a home with spaces, commas, non-ASCII letters and 150 characters works", async () => {
  const name = "my home, größer,=als ünsere ホーム ".padEnd(150, "x, ").slice(0, 149) + "y";
  await using micro = await GuestHome.make({ name });
  assertEquals((await micro.start()).origin, "resume");
  assertMatch(await micro.exec("uname"), /Linux/);
  await micro.succeed("stop", ["--discard"]);
  assertEquals((await micro.start("--no-fallback")).origin, "resume");
  assertEquals((await micro.status()).state, "running");
});

Deno.test("stop touches only this instance's QEMU, whatever instance.json says", async () => {
  await using micro = await GuestHome.started();
  const real = await micro.record();
  const bystander = new Deno.Command("sleep", { args: ["1000"] }).spawn();
  try {
    // An old run's record, whose socket and process id now belong to others.
    const stale = { ...real, uuid: crypto.randomUUID(), pid: bystander.pid };
    const directory = `${micro.home}/instances/stale`;
    await Deno.mkdir(directory);
    await Deno.writeTextFile(`${directory}/instance.json`, JSON.stringify(stale));
    for (const verb of ["stop", "reset"]) {
      assertCode(await micro.run(verb, ["--instance", "stale"]), 0);
      assert((await micro.health()).uptime > 0);
      Deno.kill(bystander.pid, "SIGCONT"); // throws when it has ended
    }
    assertEquals(await micro.qemuProcesses(), [real.pid]);
  } finally {
    bystander.kill("SIGKILL");
    await bystander.status;
  }
});

Deno.test("if QEMU ends by itself, the user's disk stays, and the next start boots it", async (t) => {
  await using micro = await GuestHome.started();
  const ends = {
    "QEMU is killed": async () => Deno.kill((await micro.record()).pid!, "SIGKILL"),
    "the guest powers itself off": async () => {
      await micro.exec("sh", "-c", "(sleep 0.2; poweroff) >/dev/null 2>&1 &");
    },
    "QEMU is killed after a suspension and a start": async () => {
      await micro.succeed("stop");
      await micro.start();
      Deno.kill((await micro.record()).pid!, "SIGKILL");
    },
  };
  for (const [name, end] of Object.entries(ends)) {
    await t.step(name, async () => {
      await micro.exec("sh", "-c", `echo '${name}' >>/data/seen; sync`);
      await end();
      await until(async () => (await micro.qemuProcesses()).length === 0, "QEMU's end");
      assertEquals((await micro.status()).state, "crashed");
      assertMatch((await micro.run("stop")).stderr, /does not run; it is crashed/);
      const run = await micro.run("start", ["--json"]);
      assertMatch(run.stderr, /ended by itself: booting its disk, as after a power cut/);
      assertEquals(JSON.parse(run.stdout).origin, "cold boot");
      assertMatch(await micro.exec("cat", "/data/seen"), new RegExp(`${name}\n$`));
    });
  }
  await t.step("reset drops it", async () => {
    Deno.kill((await micro.record()).pid!, "SIGKILL");
    await until(async () => (await micro.qemuProcesses()).length === 0, "QEMU's end");
    await micro.succeed("reset");
    assertEquals((await micro.start("--no-fallback")).origin, "resume");
    assertEquals(await micro.exec("ls", "/data"), "lost+found\n");
  });
});

Deno.test("every command reports a hanging QEMU, and only reset ends it", async () => {
  await using micro = await GuestHome.started();
  const { pid } = await micro.record();
  Deno.kill(pid!, "SIGSTOP");
  try {
    const status = await micro.status();
    assertEquals(status.state, "unresponsive");
    assertMatch(status.why!, new RegExp(`process ${pid}.*does not answer`));
    const stop = await micro.run("stop");
    assertCode(stop, 1);
    assertMatch(stop.stderr, /does not answer: .*'hotboot reset'/);
    assertEquals(await micro.qemuProcesses(), [pid!]);
    assertMatch((await micro.run("reset")).stderr, /did not answer and was killed/);
    assertEquals(await micro.qemusLeft(), []);
  } finally {
    try {
      Deno.kill(pid!, "SIGCONT");
    } catch {
      // it has ended
    }
  }
});

Deno.test("an interrupt at any moment leaves no process, and no files that a later command would trust", async (t) => {
  await using micro = await GuestHome.make();
  await micro.run("status"); // compiles it, so that the interrupts below come during the work itself

  /** Runs `verb`, and sends it a signal some time after it prints `begun`; without a time, never. */
  const interrupt = async (
    { begun = "", ms }: { begun?: string; ms?: number },
    signal: Deno.Signal,
    verb: string,
    ...args: string[]
  ) => {
    const child = micro.spawn(verb, ...args);
    const stdout = toText(child.stdout);
    let said = "";
    let begin: number | undefined;
    let sending: ReturnType<typeof setTimeout> | undefined;
    const look = () => {
      if (begin !== undefined || !said.includes(begun)) return;
      begin = performance.now();
      if (ms !== undefined) sending = killLater(child, signal, ms);
    };
    look();
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      said += text;
      look();
    }
    const { code } = await child.status;
    clearTimeout(sending);
    await stdout;
    return { code, said, tookMs: performance.now() - begin! };
  };

  await t.step("while it boots and captures", async () => {
    const booting = "to capture\n";
    const times = [
      ...[60, 90, 120, 150, 200].map((ms) => ({ ms })),
      ...[0, 300].map((ms) => ({ begun: booting, ms })),
    ];
    for (const [index, time] of times.entries()) {
      const { code, said } = await interrupt(time, index % 2 ? "SIGINT" : "SIGTERM", "start");
      assert(code === 130 || code === 143 && said === "", `exit code ${code} after ${time.ms} ms: ${said}`);
      assertEquals(await micro.qemuProcesses(), [], `after ${time.ms} ms`);
      assertEquals((await micro.status()).snapshot, undefined);
    }
  });

  await t.step("around the moment of the capture", async () => {
    const begun = "hotboot: capture\n";
    const { code, tookMs } = await interrupt({ begun }, "SIGINT", "capture", "--force");
    assertEquals(code, 0);
    for (const ms of moments(rounds(2, 8), tookMs)) {
      const { code } = await interrupt({ begun, ms }, "SIGINT", "capture", "--force");
      assert([0, 130].includes(code), `exit code ${code} after ${ms} ms`);
      assertEquals(await micro.qemuProcesses(), [], `after ${ms} ms`);
    }
    await micro.start(); // whatever is left is usable
    await micro.succeed("stop", ["--discard"]);
  });

  const { code, tookMs } = await interrupt({}, "SIGINT", "start", "--no-fallback");
  assertEquals(code, 0);
  await micro.succeed("stop", ["--discard"]);

  await t.step("while it resumes", async () => {
    for (const [index, ms] of moments(rounds(8, 24), tookMs).entries()) {
      const { code, said } = await interrupt({ ms }, index % 2 ? "SIGINT" : "SIGTERM", "start", "--no-fallback");
      assert([0, 130].includes(code) || code === 143 && said === "", `exit code ${code} after ${ms} ms: ${said}`);
      const { state } = await micro.status();
      const running = await micro.qemuProcesses();
      assertEquals([state, running.length], code === 0 ? ["running", 1] : ["stopped", 0], `after ${ms} ms`);
      if (code === 0) await micro.succeed("stop", ["--discard"]);
    }
    assertEquals((await micro.start("--no-fallback")).origin, "resume");
  });

  await t.step("even after a kill, which leaves no chance to clean up, the next start resumes", async () => {
    await micro.succeed("stop", ["--discard"]);
    for (const ms of moments(rounds(3, 12), tookMs)) {
      await interrupt({ ms }, "SIGKILL", "start", "--no-fallback");
      assertEquals((await micro.start("--no-fallback")).origin ?? "resume", "resume");
      assertEquals((await micro.qemuProcesses()).length, 1);
      await micro.succeed("stop", ["--discard"]);
      assertEquals(await micro.qemusLeft(), []);
    }
  });
});
