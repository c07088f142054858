/** What a profile takes from the environment, and where its instances are. */
// needs: micro

import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { ensureDir } from "@std/fs/ensure-dir";
import { GuestHome } from "./guest_home.ts";
import { assertCode, denoDirectory, hotboot, type Run } from "./program.ts";
import { freePort } from "./shared.ts";
import { PLACEHOLDER } from "./secret_micro.ts";

Deno.test("a project's hotboot.json can have variables, its own home and a file for a secret", async (t) => {
  await using micro = await GuestHome.make({
    change: (profile) => {
      profile.image = { build: { script: "build.sh", inputs: ["build.sh"] } }; // in the project
      profile.home = { directory: "${env.EMULATOR_TEST_HOME:-~/nowhere}", instances: "run" };
      profile.ports.web.host = "${env.EMULATOR_TEST_PORT:-1}" as unknown as number;
      profile.secrets = [{ name: "TOKEN", placeholder: PLACEHOLDER, file: "internal-token" }];
      profile.rotation = {
        command: [
          "sh",
          "-c",
          "cat >/run/payload; . /run/payload; echo ${env.EMULATOR_TEST_GREETING:-hello} $TOKEN >/www/token",
        ],
        proof: [{ name: "the token is served", port: "web", path: "/token", contains: ["${secret.TOKEN}"] }],
      };
    },
  });
  const directory = `${micro.directory}/project/a/directory/below`;
  await ensureDir(directory);
  await micro.writeProfile({ path: `${micro.directory}/project/hotboot.json` });
  const env: Record<string, string> = {
    ...await denoDirectory(),
    HOTBOOT_HOME: "",
    XDG_CONFIG_HOME: `${micro.directory}/config`,
    EMULATOR_TEST_HOME: micro.home,
    EMULATOR_TEST_PORT: String(micro.port),
  };
  const run = (args: string[], more: Record<string, string> = {}): Promise<Run> =>
    hotboot(args, { cwd: directory, env: { ...env, ...more } });
  const json = async (args: string[], more?: Record<string, string>) => {
    const done = await run([...args, "--json"], more);
    assertCode(done, 0);
    return JSON.parse(done.stdout);
  };
  const instance = `${micro.home}/run/micro`;
  const file = `${instance}/internal-token`;
  const written = () => Deno.readTextFile(file).catch(() => undefined);
  const status = async (args: string[] = [], more?: Record<string, string>) =>
    JSON.parse((await run(["status", "--json", ...args], more)).stdout);
  let snapshot: string;

  try {
    await t.step("it is found from a subdirectory, and its home is where it says", async () => {
      const started = await json(["start", "--trust"]);
      snapshot = started.snapshot;
      assertEquals([started.origin, started.urls], ["resume", { web: `http://127.0.0.1:${micro.port}` }]);
      assertEquals(started.credentials, `${instance}/credentials.json`);
      const { TOKEN } = await json(["credentials"]);
      assertEquals(await (await fetch(`${started.urls.web}/token`)).text(), `hello ${TOKEN}\n`);
      assertEquals(await written(), TOKEN);
      assertEquals((await Deno.stat(file)).mode! & 0o777, 0o600);
      const entries = await Array.fromAsync(Deno.readDir(micro.home), ({ name }) => name);
      assertEquals(entries.sort(), ["cache", "images", "locks", "run", "snapshots"]);
    });

    await t.step("a suspended instance keeps its secret's file, and a discarded one does not", async () => {
      const before = await written();
      assertCode(await run(["stop"]), 0);
      assertEquals([(await status()).state, await written()], ["suspended", before]);
      assertEquals((await json(["start"])).origin, "continue");
      assertEquals(await written(), before);
      assertCode(await run(["stop"]), 0);
      assertCode(await run(["stop", "--discard"]), 0);
      const left = await Array.fromAsync(Deno.readDir(instance), ({ name }) => name);
      assertEquals(left.sort(), ["serial.log", "timeline.jsonl"]);
    });

    await t.step("the file also goes if the profile no longer mentions it", async () => {
      const TOKEN = (await json(["start", "--no-fallback"])).credentials && await written();
      assertMatch(TOKEN!, /^[0-9a-f]{64}$/);
      const other = `${micro.directory}/other.json`;
      const profile = JSON.parse(await Deno.readTextFile(`${micro.directory}/project/hotboot.json`));
      delete profile.secrets[0].file;
      await Deno.writeTextFile(other, JSON.stringify(profile));
      assertCode(await run(["stop", "--discard", "--profile", other]), 0);
      assertEquals(await written(), undefined);
    });

    await t.step("a snapshot in use stays, wherever the instances are", async () => {
      assertCode(await run(["start", "--no-fallback"]), 0);
      const removed = await run(["snapshot", "rm", "--all"]);
      assertCode(removed, 1);
      assertMatch(removed.stderr, /stays: instance 'micro' \(running\) uses it/);
      assertCode(await run(["reset"]), 0);
      assertEquals(await Array.fromAsync(Deno.readDir(`${micro.home}/run`)), []);
    });

    await t.step("EMULATOR_NO_SNAPSHOT boots, and EMULATOR_NO_ROTATION leaves the placeholder", async () => {
      const started = await json(["start"], { EMULATOR_NO_SNAPSHOT: "1", EMULATOR_NO_ROTATION: "1" });
      assertEquals([started.origin, started.credentials, await written()], ["cold boot", undefined, PLACEHOLDER]);
      assertCode(await run(["stop", "--discard"]), 0);
      const off = await json(["start"], { EMULATOR_NO_SNAPSHOT: "0", EMULATOR_NO_ROTATION: "" });
      assertEquals([off.origin, off.snapshot, (await written())!.length], ["resume", snapshot, 64]);
      assertCode(await run(["stop", "--discard"]), 0);
    });

    await t.step("EMULATOR_FORCE_CAPTURE makes capture, but not start, capture again", async () => {
      assertEquals((await json(["capture"], { EMULATOR_FORCE_CAPTURE: "0" })).captured, false);
      const forced = await json(["capture"], { EMULATOR_FORCE_CAPTURE: "1" });
      assert(forced.captured);
      assertNotEquals(forced.snapshot, snapshot);
      assertEquals((await json(["start"], { EMULATOR_FORCE_CAPTURE: "1" })).snapshot, forced.snapshot);
      assertCode(await run(["stop", "--discard"]), 0);
    });

    await t.step("EMULATOR_ARCH sets the architecture, unless an option does", async () => {
      const other = Deno.build.arch === "aarch64" ? "amd64" : "arm64";
      assert((await status()).image);
      assertEquals((await status([], { EMULATOR_ARCH: other })).image, undefined);
      const given = ["--arch", Deno.build.arch === "aarch64" ? "arm64" : "amd64"];
      assert((await status(given, { EMULATOR_ARCH: other })).image);
      const wrong = await run(["status"], { EMULATOR_ARCH: "vax" });
      assertEquals([wrong.code, wrong.stderr.split(":").slice(0, 2)], [1, ["hotboot", " EMULATOR_ARCH"]]);
    });

    await t.step(
      "an error about an invalid value or a taken port names its variable",
      async () => {
        const wrong = await run(["status"], { EMULATOR_TEST_PORT: "http" });
        assertEquals([wrong.code, wrong.stdout], [1, ""]);
        assertMatch(
          wrong.stderr,
          /^hotboot: profile \S+\/hotboot\.json: EMULATOR_TEST_PORT is 'http', which is not a port: use [^\n]*\n$/,
        );
        using listener = Deno.listen({ hostname: "127.0.0.1", port: freePort() });
        const taken = await run(["start"], { EMULATOR_TEST_PORT: String(listener.addr.port) });
        assertCode(taken, 1);
        assertMatch(
          taken.stderr,
          /is taken by another program: end that program, or set EMULATOR_TEST_PORT to another; run 'hotboot doctor'\n$/,
        );
      },
    );

    await t.step("the default home is below the user's home, and HOTBOOT_HOME overrides it", async () => {
      const home = `${micro.directory}/user`;
      const at = async (more: Record<string, string>) => {
        const { write } = (await json(["permissions", "reset"], { HOME: home, ...more })).reset;
        return write;
      };
      assert((await at({ EMULATOR_TEST_HOME: "" })).includes(`${home}/nowhere`));
      assert((await at({ EMULATOR_TEST_HOME: "", HOTBOOT_HOME: `${home}/other` })).includes(`${home}/other`));
    });
  } finally {
    await run(["stop", "--discard"]);
  }
});

Deno.test("without a hotboot.json, the profile is stack, in its own home", async () => {
  const directory = await Deno.makeTempDir({ prefix: "hotboot-test-" });
  try {
    const env = {
      ...await denoDirectory(),
      HOME: directory,
      HOTBOOT_HOME: "",
      STACK_EMULATOR_HOME: "",
      PORT_PREFIX: "92",
    };
    const run = await hotboot(["permissions", "start", "--json"], { cwd: directory, env });
    assertCode(run, 0);
    const { net, write } = JSON.parse(run.stdout).start;
    assert(write.includes(`${directory}/.stack/emulator`), String(write));
    assert(net.includes(`unix:${directory}/.stack/emulator/run/vm/monitor.sock`), String(net));
    assert(net.includes("127.0.0.1:26700") && net.includes("127.0.0.1:9214"), String(net));
    const other = await hotboot(["permissions", "start", "--json"], {
      cwd: directory,
      env: { ...env, STACK_EMULATOR_HOME: `${directory}/else` },
    });
    assert(JSON.parse(other.stdout).start.write.includes(`${directory}/else`), other.stdout);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
