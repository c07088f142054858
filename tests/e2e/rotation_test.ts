// needs: micro

import { assert, assertEquals, assertMatch, assertNotEquals, assertNotMatch } from "@std/assert";
import { exists } from "@std/fs/exists";
import type { Profile } from "../../lib/profile/profile.ts";
import type { GuestHome } from "./guest_home.ts";
import { assertCode } from "./program.ts";
import { until } from "./pace.ts";
import { PLACEHOLDER, ROTATE, secretMicro } from "./secret_micro.ts";

const credentialsOf = async (home: GuestHome) => JSON.parse(await home.succeed("credentials", ["--json"]));

Deno.test("rotation: each start gets a new secret, which 'credentials' shows while it is valid", async (t) => {
  await using micro = await secretMicro(ROTATE);
  const served = async () => (await (await fetch(`http://127.0.0.1:${micro.port}/token`)).text()).trim();
  const file = `${micro.instance}/credentials.json`;
  const seen = new Set<string>();

  for (const [title, ...args] of [["captured"], ["resumed", "--no-fallback"], ["booted", "--cold"]]) {
    await t.step(title, async () => {
      const run = await micro.run("start", ["--json", ...args]);
      assertCode(run, 0);
      const { TOKEN } = await credentialsOf(micro);
      assertMatch(TOKEN, /^[0-9a-f]{64}$/);
      assertEquals(await served(), TOKEN);
      assert(!seen.has(TOKEN));
      seen.add(TOKEN);
      assertEquals(JSON.parse(run.stdout).credentials, file);
      assert(!(run.stdout + run.stderr).includes(TOKEN));
      assertEquals((await Deno.stat(file)).mode! & 0o777, 0o600);
      assertEquals(await micro.succeed("credentials", ["--env"]), `TOKEN=${TOKEN}\n`);
      assertEquals((await micro.status()).running?.secrets, "rotated");
      assertEquals(JSON.parse(await micro.succeed("start", ["--json"])).credentials, file); // it is already running
      await micro.succeed("stop", ["--discard"]);
      assert(!await exists(file));
      assertMatch((await micro.run("credentials")).stderr, /does not run: 'hotboot start' starts it/);
    });
  }

  for (
    const [title, args, env] of [["--no-rotation", ["--no-rotation"], {}], ["the variable", [], {
      EMULATOR_NO_ROTATION: "1",
    }]] as const
  ) {
    await t.step(`${title}: gives a warning, even with --quiet, and status shows it`, async () => {
      const run = await micro.run("start", ["--quiet", ...args], { env });
      assertCode(run, 0);
      assertMatch(run.stderr, /^hotboot: warning: secrets were NOT rotated: [^\n]*placeholders[^\n]*$/m);
      const credentials = await micro.run("credentials");
      assertCode(credentials, 1);
      assertMatch(credentials.stderr, /started without rotation and has the image's placeholders/);
      assertMatch(await micro.succeed("status"), /secrets +the image's placeholders/);
      await micro.succeed("stop", ["--discard"]);
    });
  }
});

Deno.test("rotation: an error in the guest is reported without the secret, and no emulator is left", async (t) => {
  const faults: [title: string, command: string, why: RegExp, timeout?: number][] = [
    ["no such command", "exec /usr/sbin/nothing", /rotation command failed in the guest \(exit code 127\): .*nothing/],
    ["exit code 3", "cat >&2; exit 3", /\(exit code 3\): TOKEN=<TOKEN>/],
    ["a signal", "kill -9 $$", /\(exit code 137\): it said nothing|exit code 137/],
    ["it hangs", "sleep 60", /the rotation did not answer within 3 s/, 3],
    [
      "it changes nothing",
      "echo a >/www/token",
      /the new secrets are not in effect everywhere within 3 s: the token is served \(it lacks \$\{secret\.TOKEN\}\)/,
      3,
    ],
    [
      "the placeholder stays",
      `${ROTATE}; echo ${PLACEHOLDER} >>/www/token`,
      /the token is served \(it still has \$\{placeholder\.TOKEN\}\)/,
      3,
    ],
  ];
  let [command, timeout] = ["", 30];
  const change = (profile: Profile) => {
    profile.rotation!.command = ["sh", "-c", command];
    profile.rotation!.timeout = timeout;
  };
  await using micro = await secretMicro("", change, { captured: true });
  for (const [title, fault, why, limit = 30] of faults) {
    await t.step(title, async () => {
      [command, timeout] = [fault, limit];
      await micro.writeProfile();
      const run = await micro.run("start", ["--quiet", "--no-fallback"]);
      assertCode(run, 1);
      assertMatch(run.stderr, why);
      assertMatch(run.stderr, /^hotboot: not resumed: /m);
      assertNotMatch(run.stderr, /[0-9a-f]{64}/);
      assertEquals(await micro.qemusLeft(), []);
      assertEquals((await micro.status()).state, "stopped");
    });
  }

  await t.step("a cold boot that cannot rotate fails, too", async () => {
    [command, timeout] = ["exit 3", 30];
    await micro.writeProfile();
    const run = await micro.run("start", ["--quiet"]);
    assertCode(run, 1);
    assertMatch(run.stderr, /warning: not resumed: [^\n]*exit code 3[^\n]*\nhotboot: the rotation command failed/);
    assertEquals(await micro.qemusLeft(), []);
  });
});

Deno.test("rotation: a failure after a resume leads to a cold boot with new secrets", async (t) => {
  /** Only a captured guest has the marker file, so the fault does not occur after a boot. */
  const onResume = (fault: string) => (profile: Profile) => {
    profile.hooks = { beforeCapture: [["touch", "/run/captured"]] };
    profile.rotation!.command = ["sh", "-c", `[ ! -e /run/captured ] || { ${fault}; }; ${ROTATE}`];
  };
  const faults = [
    ["the agent is gone for good", "mv /usr/sbin/qemu-ga /; kill -9 $(pidof qemu-ga); sleep 60"],
    ["the guest's kernel panics", "echo c >/proc/sysrq-trigger; sleep 60"],
  ];
  for (const [title, fault] of faults) {
    await t.step(title, async () => {
      await using micro = await secretMicro("", onResume(fault), { captured: true });
      const run = await micro.run("start", ["--json", "--quiet"]);
      assertCode(run, 0);
      assertMatch(
        run.stderr,
        /warning: not resumed: the guest agent \('guest-exec-status'\) did not answer within 10 s; booting instead\n$/,
      );
      assertEquals(JSON.parse(run.stdout).origin, "cold boot");
      assertMatch((await credentialsOf(micro)).TOKEN, /^[0-9a-f]{64}$/);
    });
  }

  await t.step("QEMU is killed in the middle", async () => {
    await using micro = await secretMicro("", onResume("echo now >/dev/ttyS0; sleep 60"), { captured: true });
    const start = micro.spawn("start", "--quiet", "--no-fallback");
    const log = `${micro.instance}/serial.log`;
    await until(async () => (await Deno.readTextFile(log).catch(() => "")).includes("now"), "the rotation");
    for (const pid of await micro.qemuProcesses()) Deno.kill(pid, "SIGKILL");
    const { code, stderr } = await start.output();
    assertEquals(code, 1);
    assertMatch(
      new TextDecoder().decode(stderr),
      /^hotboot: not resumed: QEMU ended before the guest was healthy: [^\n]*SIGKILL/m,
    );
    const left = await Array.fromAsync(Deno.readDir(micro.instance), ({ name }) => name);
    assertEquals(left.sort(), ["serial.log", "timeline.jsonl"]);
  });
});

Deno.test("hooks run around the capture, and a guest that cannot freeze gets a warning", async (t) => {
  await using micro = await secretMicro(`echo rotation >>/data/order; ${ROTATE}`, (profile) => {
    profile.freeze = [{ unit: "web.service" }];
    profile.hooks = {
      beforeCapture: [["sh", "-c", "echo before >>/data/order"], ["sh", "-c", "echo it\\'s >>/data/order"]],
      afterResume: [["sh", "-c", "echo after >>/data/order"]],
    };
  });
  await t.step("they run in order, before the rotation", async () => {
    const run = await micro.run("start", ["--quiet"]);
    assertCode(run, 0);
    assertMatch(run.stderr, /warning: web\.service could not be frozen for the capture \(the guest has no systemd\): /);
    assertMatch(run.stderr, /warning: the guest has no perl to reseed its kernel: /);
    assertEquals(await micro.exec("cat", "/data/order"), "before\nit's\nafter\nrotation\n");
    await micro.succeed("stop", ["--discard"]);
  });
  await t.step("a changed beforeCapture hook needs a new capture", async () => {
    const other = `${micro.directory}/other.json`;
    const profile: Profile = JSON.parse(await Deno.readTextFile(micro.profile));
    profile.hooks!.beforeCapture = [["true"]];
    await Deno.writeTextFile(other, JSON.stringify(profile));
    const run = await micro.run("start", ["--quiet", "--no-fallback", "--profile", other]);
    assertCode(run, 1);
    assertMatch(run.stderr, /the commands before the capture was .* and is 'true'/);
  });
  await t.step("a failing hook is named", async () => {
    const other = `${micro.directory}/other.json`;
    const profile: Profile = JSON.parse(await Deno.readTextFile(micro.profile));
    profile.hooks!.afterResume = [["sh", "-c", "echo no room >&2; exit 4"]];
    await Deno.writeTextFile(other, JSON.stringify(profile));
    const resumed = await micro.run("start", ["--quiet", "--no-fallback", "--profile", other]);
    assertCode(resumed, 1);
    assertMatch(resumed.stderr, /not resumed: 'hook sh' failed in the guest \(exit code 4\): no room/);
    profile.hooks!.beforeCapture = [["sh", "-c", "echo no room >&2; exit 4"]];
    await Deno.writeTextFile(other, JSON.stringify(profile));
    const captured = await micro.run("capture", ["--quiet", "--profile", other]);
    assertCode(captured, 1);
    assertMatch(captured.stderr, /hook 'sh -c [^']*' failed before the capture \(exit code 4\): no room/);
    assertNotEquals(await micro.snapshot(), "");
    assertEquals(await micro.qemusLeft(), []);
  });
});
