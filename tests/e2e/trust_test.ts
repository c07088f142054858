/** A repository's `hotboot.json`: it does nothing before its user has trusted it, and some things never. */
// needs: micro

import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { ensureDir } from "@std/fs/ensure-dir";
import { walk } from "@std/fs/walk";
import { allCommands } from "../../lib/cli/commands/verbs.ts";
import { GuestHome } from "./guest_home.ts";
import {
  assertCode,
  denoDirectory,
  hotboot,
  readUntil,
  type Run,
  type RunOptions,
  spawnOnTerminal,
  textReader,
} from "./program.ts";
import { freePort } from "./shared.ts";

const DENO = await denoDirectory();
const UNTRUSTED =
  /^hotboot: \S+\/hotboot\.json is not trusted yet, so nothing was done: read it, then type 'hotboot trust( --instance other)?', or add --trust\n$/;
const CHANGED =
  /, or a file that it names, has changed since you trusted it, so nothing was done: read it, then type 'hotboot trust', /;

/** A repository whose script leaves a mark on the host, and its user's directory. */
class Repository implements AsyncDisposable {
  readonly user: string;
  readonly directory: string;

  constructor(readonly root: string) {
    this.user = `${root}/user`;
    this.directory = `${root}/user/src/hostile`;
  }

  static async clone(profile: Record<string, unknown> = {}): Promise<Repository> {
    const made = new Repository(await Deno.realPath(await Deno.makeTempDir({ prefix: "hotboot-test-" })));
    await ensureDir(`${made.directory}/below`);
    await made.write(profile);
    await Deno.writeTextFile(`${made.directory}/build.sh`, `env >>'${made.root}/mark'; echo done; exit 7\n`);
    for (const name of ["settings", "other"]) await Deno.writeTextFile(`${made.directory}/${name}`, "a=1\n");
    return made;
  }

  async write(changes: Record<string, unknown> = {}): Promise<void> {
    const profile = {
      name: "hostile",
      image: { build: { script: "build.sh", inputs: ["other"] } },
      machine: { memory: 128, cpus: 1 },
      ports: { web: { guest: 80, host: freePort() } },
      config: { label: "config", files: { settings: { file: "settings" } } },
      health: [{ name: "web", port: "web", path: "/" }],
      ...changes,
    };
    await Deno.writeTextFile(`${this.directory}/hotboot.json`, JSON.stringify(profile));
  }

  options(env: Record<string, string> = {}): RunOptions {
    const own = { HOME: this.user, XDG_CONFIG_HOME: "", HOTBOOT_HOME: "", GITHUB_TOKEN: "s3cret" };
    return { cwd: `${this.directory}/below`, env: { ...DENO, ...own, ...env } };
  }

  run(args: string[], env?: Record<string, string>): Promise<Run> {
    return hotboot(args, this.options(env));
  }

  /** What the script has left; removes it. */
  async takeMark(): Promise<string | undefined> {
    const text = await Deno.readTextFile(`${this.root}/mark`).catch(() => undefined);
    if (text !== undefined) await Deno.remove(`${this.root}/mark`);
    return text;
  }

  /** All that is there. */
  async paths(): Promise<string[]> {
    return (await Array.fromAsync(walk(this.root), ({ path }) => path)).sort();
  }

  async [Symbol.asyncDispose]() {
    await Deno.remove(this.root, { recursive: true });
  }
}

Deno.test("trust: without it, no command that would do something does anything, or leaves anything", async () => {
  await using repository = await Repository.clone();
  const operands: Record<string, string[]> = {
    "run": ["--", "true"],
    "exec": ["--", "true"],
    "fork": ["other"],
    "spare": ["1"],
    "wait": ["--stopped"],
    "snapshot save": ["name"],
    "snapshot export": ["file"],
    "snapshot import": ["file"],
    "snapshot rename": ["old", "new"],
    "snapshot rm": ["id"],
  };
  const commands = (await allCommands()).filter(({ name, command }) => !command.standalone && name !== "trust");
  const bound = commands.filter(({ command }) => command.trust !== "looks").map(({ name }) => name);
  for (const name of ["start", "run", "build", "pull", "capture", "exec", "stop", "reset"]) {
    assert(bound.includes(name), name);
  }
  for (const { name, command } of commands) {
    const before = await repository.paths();
    const { code, stderr, stdout } = await repository.run([...name.split(" "), ...operands[name] ?? []]);
    if (command.trust === "looks") assert(!stderr.includes("trust"), `${name}: ${stderr}`);
    else {
      assertEquals([code, stdout], [1, ""], name);
      assertMatch(stderr, UNTRUSTED, name);
      assertEquals(await repository.paths(), before, name);
    }
    assertEquals(await repository.takeMark(), undefined, name);
  }
});

Deno.test("trust: --trust and 'hotboot trust' say what it does and record it, until a file changes", async () => {
  await using repository = await Repository.clone();
  const build = async (...args: string[]) => {
    const run = await repository.run(["build", ...args]);
    assertCode(run, 1); // the script fails
    const mark = await repository.takeMark();
    if (mark === undefined) assert(!run.stderr.includes("exit code 7"), run.stderr);
    else assertStringIncludes(run.stderr, "exit code 7");
    return { stderr: run.stderr, mark };
  };
  const first = await build("--trust");
  assertMatch(first.stderr, /is trusted from now on\.\n {2}runs +build\.sh on this machine, with all your rights; /);
  assert(first.mark!.includes("HOME=") && !first.mark!.includes("s3cret"), first.mark);
  const [record, ...others] = await Array.fromAsync(walk(`${repository.user}/.config`, { includeDirs: false }));
  assertEquals(others, []);
  assertEquals(record.path.split("/").slice(-4, -1), [".config", "hotboot", "trusted"]);
  assertEquals((await Deno.stat(record.path)).mode! & 0o777, 0o600);

  const again = await build();
  assert(again.mark !== undefined && !again.stderr.includes("trust"), again.stderr);
  const changes = [
    () => Deno.writeTextFile(`${repository.directory}/build.sh`, "# more\n", { append: true }),
    () => Deno.writeTextFile(`${repository.directory}/settings`, "a=2\n"),
    () => Deno.writeTextFile(`${repository.directory}/other`, "a=2\n"),
    () => repository.write({ engine: "mapped-ram" }),
    () =>
      Deno.rename(`${repository.directory}/build.sh`, `${repository.directory}/real.sh`).then(() =>
        Deno.symlink("real.sh", `${repository.directory}/build.sh`)
      ),
    () => Deno.writeTextFile(`${repository.directory}/real.sh`, "# behind a link\n", { append: true }),
  ];
  for (const change of changes) {
    await change();
    for (const command of ["build", "start"]) {
      const refused = await repository.run([command]);
      assertCode(refused, 1);
      assertMatch(refused.stderr, CHANGED);
    }
    assertEquals(await repository.takeMark(), undefined);
    assertCode(await repository.run(["trust", "--quiet"]), 0);
    assert((await build()).mark !== undefined);
  }
  assertCode(await repository.run(["trust", "--remove"]), 0);
  assertMatch((await build()).stderr, UNTRUSTED);
  // It is this path that was trusted, and no copy.
  assertCode(await repository.run(["trust", "--quiet"]), 0);
  await Deno.rename(repository.directory, `${repository.directory}-moved`);
  await Deno.rename(`${repository.directory}-moved`, `${repository.user}/src/other`);
  const moved = await hotboot(["build"], { ...repository.options(), cwd: `${repository.user}/src/other` });
  assertMatch(moved.stderr, UNTRUSTED);
});

Deno.test("trust: some things no project's profile may, trusted or not", async (t) => {
  await using repository = await Repository.clone();
  const { user, directory } = repository;
  await ensureDir(`${user}/elsewhere`);
  await Deno.writeTextFile(`${user}/elsewhere/recipe.sh`, `touch '${repository.root}/mark'\n`);
  await Deno.symlink(`${user}/elsewhere/recipe.sh`, `${directory}/out`);
  await Deno.symlink(directory, `${user}/in`);
  const recipe = (script: string, input = "other") => ({ image: { build: { script, inputs: [input] } } });
  const cloudInit = (changes: object) => ({
    image: { build: { cloudInit: { base: { file: "settings" }, disk: 100, userData: "settings", ...changes } } },
  });
  const file = (path: string) => ({ config: { label: "config", files: { x: { file: path } } } });
  const environment = { LD_PRELOAD: `${directory}/x.so` };
  const refused: Record<string, [object, RegExp]> = {
    "a relative home": [{ home: { directory: "state" } }, /home\.directory is 'state', which is relative: use /],
    "a relative home by a variable": [{ home: { directory: "${env.HOTBOOT_X:-.}/state" } }, /which is relative: use /],
    "a home in the project": [
      { home: { directory: `${directory}/state` } },
      /its home \S+\/state is in the project: use /,
    ],
    "a home there by ~": [{ home: { directory: "~/src/hostile/state" } }, /is in the project: use /],
    "a home there by a link": [{ home: { directory: "~/in/state" } }, /is in the project: use /],
    "instances there": [{ home: { instances: `${user}/in/run` } }, /its home \S+\/run is in the project: use /],
    "images there": [{ home: { images: directory } }, /is in the project: use /],
    "a script outside": [
      recipe("../../elsewhere/recipe.sh"),
      /names \S+\/recipe\.sh, which is outside of its directory: /,
    ],
    "a script outside by a link": [recipe("out"), /names \S+\/out, which is outside of its directory: move it/],
    "an input outside": [recipe("build.sh", "/etc/passwd"), /names \/etc\/passwd, which is outside/],
    "user data outside": [cloudInit({ userData: "../../.bashrc" }), /names \S+\/\.bashrc, which is outside/],
    "a bundle outside": [cloudInit({ bundle: { label: "b", paths: ["."].concat("..") } }), /which is outside/],
    "a base image outside": [cloudInit({ base: { file: "out" } }), /names \S+\/out, which is outside/],
    "a config file outside": [file("/etc/passwd"), /names \/etc\/passwd, which is outside/],
    "a token": [
      { config: { label: "c", files: { x: ["${env.GITHUB_TOKEN:-}"] } } },
      /GITHUB_TOKEN is closed to profiles/,
    ],
    "a token, escaped": [file("${env.GH_TOKEN:-settings}"), /GH_TOKEN is closed to profiles/],
    "a library to load": [{ environment }, /environment\.LD_PRELOAD: with it a program runs other code: remove it/],
  };
  for (const [what, [profile, why]] of Object.entries(refused)) {
    await t.step(what, async () => {
      await repository.write(profile as Record<string, unknown>);
      const before = await repository.paths();
      for (const args of [["start"], ["start", "--trust"], ["trust"]]) {
        const run = await repository.run(args);
        assertCode(run, 1);
        assertMatch(run.stderr, why);
        assert(!run.stderr.includes("s3cret"));
      }
      assertEquals(await repository.paths(), before);
    });
  }

  await t.step("a home of its own is not touched before it is trusted, not even by reset", async () => {
    await ensureDir(`${user}/documents/hostile`);
    await repository.write({ home: { instances: `${user}/documents` } });
    for (const command of ["reset", "stop", "status"]) assertMatch((await repository.run([command])).stderr, UNTRUSTED);
    assert((await Deno.stat(`${user}/documents/hostile`)).isDirectory);
  });

  await t.step("what is trusted is not recorded where the repository can write", async () => {
    await repository.write();
    const run = await repository.run(["trust"], { XDG_CONFIG_HOME: `${user}/in/config` });
    assertCode(run, 1);
    assertMatch(run.stderr, /which is in the project itself: set XDG_CONFIG_HOME to another directory\n$/);
    assertCode(await repository.run(["trust"], { XDG_CONFIG_HOME: `${repository.root}/config` }), 0);
    assertMatch((await repository.run(["build"])).stderr, UNTRUSTED);
    await repository.run(["build"], { XDG_CONFIG_HOME: `${repository.root}/config` });
    assert(await repository.takeMark() !== undefined);
  });
});

Deno.test("trust: on a terminal it asks once, and again when something has changed", async () => {
  await using repository = await Repository.clone();
  /** Gives the screen, and whether the script ran. */
  const build = async (answer?: string): Promise<{ screen: string; hasRun: boolean }> => {
    const child = spawnOnTerminal(["build"], repository.options());
    const reader = textReader(child.stdout);
    let screen = "";
    const keyboard = child.stdin.getWriter();
    if (answer !== undefined) {
      screen = await readUntil(reader, "Do you trust it? [y/N] ");
      assertEquals(await repository.takeMark(), undefined);
      await keyboard.write(new TextEncoder().encode(answer));
    }
    for (let read = await reader.read(); !read.done; read = await reader.read()) screen += read.value;
    assertEquals((await child.status).code, answer === "\x03" ? 130 : 1);
    await Promise.all([child.stderr.cancel(), keyboard.close().catch(() => {})]);
    return { screen, hasRun: await repository.takeMark() !== undefined };
  };
  for (const answer of ["n\n", "\n", "yesterday\n", "\x04", "\x03"]) {
    const { screen, hasRun } = await build(answer);
    assertMatch(screen, /is not trusted yet\.\r\n {2}runs +build\.sh [^]*\r\n {2}connects /);
    assertEquals(hasRun, false, screen);
  }
  assertEquals((await build("y\n")).hasRun, true);
  const second = await build();
  assertEquals([second.hasRun, second.screen.includes("trust")], [true, false]);
  await Deno.writeTextFile(`${repository.directory}/build.sh`, "# more\n", { append: true });
  const third = await build("n\n");
  assertEquals(third.hasRun, false);
  assertMatch(third.screen, /hotboot\.json, or a file that it names, has changed since you trusted it\.\r\n {2}runs /);
  assertEquals((await build("YES\n")).hasRun, true);
});

Deno.test("trust: a project's guest starts with --trust, and then without", async () => {
  await using micro = await GuestHome.make({
    captured: true,
    change: (profile) => void (profile.image = { build: { script: "build.sh", inputs: ["build.sh"] } }),
  });
  const directory = `${micro.directory}/project`;
  await ensureDir(directory);
  await micro.writeProfile({ path: `${directory}/hotboot.json` });
  const env = { ...DENO, HOME: micro.directory, XDG_CONFIG_HOME: "", HOTBOOT_HOME: micro.home };
  const run = (...args: string[]) => hotboot(args, { cwd: directory, env });
  assertMatch((await run("start")).stderr, UNTRUSTED);
  const started = await run("start", "--trust", "--json");
  assertCode(started, 0);
  assertEquals(JSON.parse(started.stdout).origin, "resume");
  assertCode(await run("status"), 0);
  assertEquals((await run("exec", "--", "echo", "here")).stdout, "here\n");
  assertCode(await run("trust", "--remove"), 0);
  assertMatch((await run("exec", "--", "true")).stderr, UNTRUSTED);
  assertCode(await run("stop", "--discard"), 0);
});

Deno.test("trust: a project that has taken another's name cannot make its user drop the other's instance", async () => {
  await using repository = await Repository.clone();
  await repository.write({ name: "mine" });
  assertCode(await repository.run(["trust"]), 0);
  const instance = `${repository.user}/.hotboot/instances/theirs`;
  await ensureDir(instance);
  assertCode(await repository.run(["reset"]), 0);
  await repository.write({ name: "theirs" });
  for (const command of [["reset"], ["stop", "--discard"], ["snapshot", "prune"]]) {
    const { code, stderr } = await repository.run(command);
    assertEquals(code, 1, stderr);
    assertMatch(stderr, CHANGED);
  }
  assert((await Deno.stat(instance)).isDirectory);
  assertCode(await repository.run(["trust"]), 0);
  assertCode(await repository.run(["reset"]), 0);
  await assertRejects(() => Deno.stat(instance), Deno.errors.NotFound);
});
