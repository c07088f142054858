// needs: micro

/** Stacks for tests, as a project's test suite uses them: that in `testing/`, by `deno test`. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { TextLineStream } from "@std/streams/text-line-stream";
import { toText } from "@std/streams/to-text";
import { importArguments, ROOT } from "../../dev/deno.ts";
import type { StartResult } from "../../lib/emulator/start.ts";
import type { Profile } from "../../lib/profile/profile.ts";
import type { GuestHome } from "./guest_home.ts";
import { assertCode, type Run } from "./program.ts";
import { qemuEnv } from "./qemu.ts";
import { until } from "./pace.ts";
import { ROTATE, secretMicro } from "./secret_micro.ts";
import type { Said } from "./testing/meeting.ts";

/** A project whose `hotboot.json` is the micro guest with a secret. */
async function project(): Promise<GuestHome & { place: string }> {
  const environment = { WEB_URL: "http://127.0.0.1:${ports.web.host}", WEB_TOKEN: "${secret.TOKEN}" };
  const image = { build: { script: "build.sh", inputs: ["build.sh"] } }; // a project's recipe is in its directory
  const change = (profile: Profile) => void Object.assign(profile, { environment, image });
  const micro = await secretMicro(ROTATE, change, { captured: true });
  const place = `${micro.directory}/place`;
  await Deno.mkdir(place);
  await Deno.copyFile(micro.profile, `${micro.directory}/hotboot.json`);
  return Object.assign(micro, { place });
}

/** What says to a suite where the project's home is, and on which QEMU it runs. */
function environmentOf(micro: GuestHome & { place: string }): Record<string, string> {
  return {
    PATH: Deno.env.get("PATH")!,
    ...(micro.qemu.includes("/") && qemuEnv(micro.qemu, micro.arch)),
    HOTBOOT_HOME: micro.home,
    PLACE: micro.place,
    NO_COLOR: "1",
  };
}

/** `deno test` of files of the suite, in the project's directory. */
async function suite(
  micro: GuestHome & { place: string },
  files: string[],
  env: Record<string, string> = {},
): Promise<Deno.ChildProcess> {
  const paths = files.map((name) => `${ROOT}tests/e2e/testing/${name}.ts`);
  return new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", "--no-check", "--parallel", `--config=${ROOT}deno.json`, ...await importArguments(), ...paths],
    cwd: micro.directory,
    env: { ...environmentOf(micro), DENO_JOBS: `${files.length}`, ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

async function ended(child: Deno.ChildProcess): Promise<Run> {
  const [{ code }, stdout, stderr] = await Promise.all([child.status, toText(child.stdout), toText(child.stderr)]);
  return { code, stdout, stderr };
}

async function said<T>(micro: { place: string }, name: string): Promise<T> {
  return JSON.parse(await Deno.readTextFile(`${micro.place}/${name}`));
}

const names = (directory: string) => Array.from(Deno.readDirSync(directory), ({ name }) => name).sort();

Deno.test("testing: files that run in parallel have stacks with nothing in common, and leave nothing", async () => {
  await using micro = await project();
  await micro.start("--no-fallback");
  await micro.exec("sh", "-c", "echo disk >/data/mark; sync; echo memory >/run/mark");
  const files = ["first", "second", "third"];
  const run = await ended(await suite(micro, files, { MEET: files.join() }));
  assertCode(run, 0);
  assertMatch(run.stdout, /^ok \| 5 passed/m);
  const all = await Promise.all(files.map((name) => said<Said>(micro, name)));
  assertEquals(new Set(all.flatMap((each) => Object.values(each))).size, 4 * files.length);
  for (const { instance } of all) assertMatch(instance, /^test-[0-9a-f]{8}$/);
  assertEquals(await micro.states(), { micro: "running" });
  assertEquals(names(`${micro.home}/checkpoints/micro-${micro.arch}`), []);
  assertEquals(names(`${micro.home}/locks`).filter((name) => /owner|test-/.test(name)), []);
  assertEquals((await micro.qemuProcesses()).length, 1);
  assertEquals(await micro.exec("cat", "/data/mark", "/run/mark"), "disk\nmemory\n");
});

Deno.test("testing: what a killed run has left goes with the next one, and nothing of the user's", async (t) => {
  await using micro = await project();
  await micro.start("--no-fallback", "--instance", "test-00000000"); // the user's, whatever its name
  const kill = async () => {
    await Deno.remove(`${micro.place}/killed`).catch(() => {});
    const child = await suite(micro, ["killed"]);
    const output = ended(child);
    await until(() => Deno.stat(`${micro.place}/killed`).then(() => true, () => false), "its stack");
    child.kill("SIGKILL");
    await output;
    const instance = await said<string>(micro, "killed");
    assertEquals(await micro.states(), { [instance]: "running", "test-00000000": "running" });
    return instance;
  };

  await t.step("a next run drops it", async () => {
    await kill();
    assertCode(await ended(await suite(micro, ["first"])), 0);
    assertEquals(await micro.states(), { "test-00000000": "running" });
  });

  await t.step("'snapshot prune' drops it", async () => {
    const path = `${micro.home}/instances/${await kill()}`;
    const would: { removed: { path: string }[] } = JSON.parse(
      await micro.succeed("snapshot prune", ["--dry-run", "--json"]),
    );
    assertEquals(would.removed.map(({ path }) => path), [path]);
    assertEquals((await micro.qemuProcesses()).length, 2);
    assertStringIncludes(await micro.succeed("snapshot prune"), path);
    assertEquals(await micro.states(), { "test-00000000": "running" });
  });

  await t.step("'run --fresh' drops it, and is dropped itself when it is killed", async () => {
    await kill();
    const held = micro.spawnWith({ openStdin: true }, "run", "--fresh", "--json");
    const reader = held.stdout.pipeThrough(new TextDecoderStream()).pipeThrough(new TextLineStream()).getReader();
    const { instance } = JSON.parse(String((await reader.read()).value));
    assertEquals(await micro.states(), { [instance]: "running", "test-00000000": "running" });
    held.kill("SIGKILL");
    await Promise.all([held.status, held.stderr.cancel(), reader.cancel(), held.stdin.close().catch(() => {})]);
    assertEquals(await micro.succeed("run", ["--fresh", "--", "sh", "-c", "echo $WEB_URL"]).then(URL.canParse), true);
    assertEquals(await micro.states(), { "test-00000000": "running" });
    assertEquals((await micro.qemuProcesses()).length, 1);
  });
});

Deno.test("testing: stacks that begin together where there is no snapshot wait for one capture", async () => {
  await using micro = await secretMicro(ROTATE);
  const started = await Promise.all([1, 2, 3].map(() => micro.succeed("run", ["--fresh", "--json"]).then(JSON.parse)));
  assertEquals(started.map(({ origin }: StartResult) => origin), ["resume", "resume", "resume"]);
  const snapshot = (await micro.snapshot()).replace(/.*\//, "");
  assertEquals(started.map((each: StartResult) => each.snapshot), [snapshot, snapshot, snapshot]);
  assertEquals(await micro.states(), {});
});

Deno.test("testing: a failed test's stack stays if one asks for that, and nothing drops it", async () => {
  await using micro = await project();
  const failed = await ended(await suite(micro, ["failing"]));
  assertCode(failed, 1);
  assertEquals(await micro.states(), {});

  const run = await ended(await suite(micro, ["failing"], { HOTBOOT_KEEP: "failed" }));
  assertCode(run, 1);
  assertStringIncludes(run.stdout, "as it was to");
  const [, instance, args] = run.stdout.match(/instance '(.+?)' is kept, suspended\. .*?: hotboot start (.+?) \(/) ??
    [];
  assert(instance !== undefined, `stdout: ${run.stdout}\nstderr: ${run.stderr}`);
  assertCode(await ended(await suite(micro, ["first"])), 0);
  assertEquals(await micro.states(), { [instance]: "suspended" });
  assertEquals(args.split(" ").slice(-2), ["--instance", instance]);
  assertEquals(args.split(" ").slice(0, 4), ["--profile", `${micro.directory}/hotboot.json`, "--home", micro.home]);
  assertEquals((await micro.start("--instance", instance)).origin, "continue");
  assertEquals(await micro.succeed("exec", ["--instance", instance, "--", "cat", "/data/mark"]), "evidence\n");
});
