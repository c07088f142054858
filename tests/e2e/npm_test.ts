// needs: micro

/**
 * The packages for npm, as their users have them: published by the release's own script to a registry here, installed from
 * it by npm, and used by Node's programs, TypeScript's compiler and vitest.
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { exists } from "@std/fs/exists";
import { parse } from "@std/yaml/parse";
import ts from "typescript";
import config from "../../deno.json" with { type: "json" };
import { importArguments, ROOT } from "../../dev/deno.ts";
import { onPath } from "../../lib/base/on_path.ts";
import { Home } from "../../lib/instance/home.ts";
import { lock } from "../../lib/instance/locks.ts";
import type { Profile } from "../../lib/profile/profile.ts";
import { PLATFORMS } from "../../npm/binary.ts";
import type { GuestHome } from "./guest_home.ts";
import { assertCode, placeHotboot, type Run } from "./program.ts";
import { CACHE, qemuEnv } from "./qemu.ts";
import { testUnless } from "./needs.ts";
import { NpmRegistry } from "./npm_registry.ts";
import { until } from "./pace.ts";
import { ROTATE, secretMicro } from "./secret_micro.ts";

const { version } = config;
const OWN = `${Deno.build.os}-${Deno.build.arch === "x86_64" ? "x64" : "arm64"}`;
const VITEST = `${ROOT}tests/e2e/vitest`;
/** The files of vitest's suite. */
const FILES = ["one", "two", "three", "four", "five", "six", "seven", "eight"];

interface Options {
  env?: Record<string, string>;
  cwd?: string;
}

/** This process's variables, without those that an npm that has started it has set: they would be settings of the npm below. */
const OWN_ENV = Object.fromEntries(Object.entries(Deno.env.toObject()).filter(([name]) => !/^npm_/i.test(name)));

async function run(command: string[], { env, cwd }: Options = {}): Promise<Run> {
  const [program, ...args] = command;
  const options = { args, cwd, env: { ...OWN_ENV, ...env }, clearEnv: true, stdin: "null" } as const;
  const { code, stdout, stderr } = await new Deno.Command(program, options).output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

async function succeed(command: string[], options?: Options): Promise<string> {
  const result = await run(command, options);
  assertCode(result, 0);
  return result.stdout;
}

/** The packages' tarballs. Other platforms' binaries are never run here, so they are only a few bytes. */
async function pack(directory: string): Promise<void> {
  const binaries = `${directory}/binaries`;
  await Deno.mkdir(binaries);
  for (const [platform, target] of Object.entries(PLATFORMS)) {
    const path = `${binaries}/hotboot-${target}`;
    if (platform === OWN) await placeHotboot(path);
    else await Deno.writeTextFile(path, `for ${platform}\n`);
  }
  const task = ["run", "-A", "-q", "--no-check", ...await importArguments(), `${ROOT}dev/npm.ts`];
  await succeed([Deno.execPath(), ...task, "--from", binaries, "--to", `${directory}/made`]);
  await Deno.mkdir(`${directory}/packages`);
  const names = ["hotboot", ...Object.keys(PLATFORMS)].map((name) => `./made/${name}`);
  await succeed(["npm", "pack", "--pack-destination", "packages", ...names], { cwd: directory });
}

/** The script with which the release publishes them. */
async function publishScript(): Promise<string> {
  const { jobs } = parse(await Deno.readTextFile(`${ROOT}.github/workflows/release.yml`)) as {
    jobs: { npm: { steps: { run?: string }[] } };
  };
  return jobs.npm.steps.at(-1)!.run!;
}

/** A project with the micro guest, and `hotboot` from the registry. */
async function project(registry: NpmRegistry): Promise<GuestHome & { npmrc: string; env: Record<string, string> }> {
  const micro = await secretMicro(ROTATE, (profile: Profile) => {
    profile.environment = { WEB_URL: "http://127.0.0.1:${ports.web.host}", WEB_TOKEN: "${secret.TOKEN}" };
    profile.image = { build: { script: "build.sh", inputs: ["build.sh"] } }; // a project's recipe is in its directory
  }, { captured: true });
  const npmrc = `${micro.directory}/npmrc`;
  const host = new URL(registry.url).host;
  await Deno.writeTextFile(npmrc, `registry=${registry.url}\n//${host}/:_authToken=any\n`);
  await Deno.copyFile(micro.profile, `${micro.directory}/hotboot.json`);
  await Deno.writeTextFile(`${micro.directory}/package.json`, JSON.stringify({ private: true, type: "module" }));
  const env = {
    PATH: Deno.env.get("PATH")!,
    ...(micro.qemu.includes("/") && qemuEnv(micro.qemu, micro.arch)),
    NPM_CONFIG_USERCONFIG: npmrc,
    NPM_CONFIG_CACHE: `${micro.directory}/npm-cache`,
    NPM_CONFIG_UPDATE_NOTIFIER: "false",
    HOTBOOT_HOME: micro.home,
    XDG_CONFIG_HOME: `${micro.directory}/config`, // nothing is trusted there
    NO_COLOR: "1",
  };
  return Object.assign(micro, { npmrc, env });
}

/** Puts vitest beside `hotboot`. It is installed once and for all runs. */
async function addVitest(directory: string): Promise<void> {
  const wanted = JSON.parse(await Deno.readTextFile(`${VITEST}/package.json`));
  const installed = `${CACHE}/vitest-${wanted.devDependencies.vitest}`;
  await Deno.mkdir(installed, { recursive: true });
  using _lock = await lock(new Home(CACHE), `vitest-${wanted.devDependencies.vitest}`, () => {});
  if (!await exists(`${installed}/node_modules/.package-lock.json`)) { // npm's last
    await Deno.copyFile(`${VITEST}/package.json`, `${installed}/package.json`);
    await succeed(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--silent"], { cwd: installed });
  }
  await Deno.symlink(`${installed}/node_modules/vitest`, `${directory}/node_modules/vitest`);
}

/** What TypeScript finds wrong in a file. */
function mistakesIn(path: string): string[] {
  const program = ts.createProgram([path], {
    strict: true,
    exactOptionalPropertyTypes: true,
    noEmit: true,
    target: ts.ScriptTarget.ESNext,
    lib: ["lib.esnext.d.ts", "lib.dom.d.ts"],
    module: ts.ModuleKind.NodeNext,
    types: [],
  });
  return ts.getPreEmitDiagnostics(program).map(({ file, start, messageText }) => {
    const where = file ? `${file.fileName}:${file.getLineAndCharacterOfPosition(start!).line + 1}: ` : "";
    return where + ts.flattenDiagnosticMessageText(messageText, "; ");
  });
}

testUnless(
  await onPath("npm") ? undefined : "npm is not on PATH",
  "npm: the packages are published, installed and used",
  async (t) => {
    await using registry = new NpmRegistry();
    await using micro = await project(registry);
    const { directory, env } = micro;
    const modules = `${directory}/node_modules`;
    const inProject = { env, cwd: directory };
    const config = await Deno.makeTempDir({ prefix: "hotboot-test-" }); // not in the project
    await using _config = { [Symbol.asyncDispose]: () => Deno.remove(config, { recursive: true }) };
    const trusted = { ...inProject, env: { ...env, XDG_CONFIG_HOME: config } };
    const node = (script: string) => run(["node", "--input-type=module", "--eval", script], inProject);
    await pack(directory);

    await t.step(
      "the release publishes the platforms, then the package that names them, and nothing twice",
      async () => {
        const publish = ["bash", "-euo", "pipefail", "-c", await publishScript()];
        await succeed(publish, { cwd: directory, env: { ...env, TAG: `v${version}` } });
        const platforms = Object.keys(PLATFORMS).map((platform) => `@hotboot/${platform}@${version} latest`);
        assertEquals(registry.published.slice(0, -1).toSorted(), platforms.toSorted());
        assertEquals(registry.published.at(-1), `hotboot@${version} latest`);
        const again = await succeed(publish, { cwd: directory, env: { ...env, TAG: `v${version}` } });
        assertEquals(again.match(/is there already/g)?.length, platforms.length + 1);
      },
    );

    await t.step("npm installs this platform's binary, and runs nothing while it does", async () => {
      await succeed(["npm", "install", "--no-audit", "--no-fund", "hotboot"], inProject);
      assertEquals(Array.from(Deno.readDirSync(`${modules}/@hotboot`), ({ name }) => name), [OWN]);
      for (const name of ["hotboot", `@hotboot/${OWN}`]) assertEquals(registry.get(name).scripts, undefined);
      assertStringIncludes(await succeed(["npx", "hotboot", "--version"], inProject), `hotboot ${version}`);
    });

    await t.step("the program gets arguments and streams, and gives exit codes", async () => {
      const hotboot = (...args: string[]) => run([`${modules}/.bin/hotboot`, ...args], trusted);
      const wrong = await hotboot("status", "--bogus");
      assertEquals([wrong.code, wrong.stdout], [2, ""]);
      assertStringIncludes(wrong.stderr, "hotboot: status has no option --bogus");
      assertEquals((await hotboot("trust")).code, 0);
      const ran = await hotboot("run", "--fresh", "--", "sh", "-c", 'echo "a $1"; exit 7', "-", "b  c");
      assertEquals([ran.code, ran.stdout], [7, "a b  c\n"]);
    });

    await t.step(
      "a signal to the program reaches the binary, which cleans up; its death is the program's",
      async () => {
        for (const signal of ["SIGTERM", "SIGKILL"] as const) {
          const child = new Deno.Command(`${modules}/.bin/hotboot`, {
            args: ["run", "--fresh", "--json"],
            ...trusted,
            stdin: "piped",
            stdout: "piped",
            stderr: "null",
          }).spawn();
          const reader = child.stdout.getReader();
          assert(!(await reader.read()).done);
          const inner = (await Deno.readTextFile(`/proc/${child.pid}/task/${child.pid}/children`)).trim();
          Deno.kill(signal === "SIGKILL" ? Number(inner) : child.pid, signal);
          const status = await child.status;
          assertEquals([status.code, status.signal], signal === "SIGKILL" ? [137, signal] : [130, null]);
          await Promise.all([reader.cancel(), child.stdin.close().catch(() => {})]);
          if (signal === "SIGTERM") assertEquals(await micro.states(), {});
        }
        await micro.succeed("snapshot prune"); // what the killed one has left
      },
    );

    await t.step("a missing binary, or a platform without one, is said in a line", async () => {
      const [there, away] = [`${modules}/@hotboot/${OWN}`, `${directory}/away`];
      await Deno.rename(there, away); // as with --omit=optional
      const missing = await run([`${modules}/.bin/hotboot`, "list"], inProject);
      await Deno.rename(away, there);
      assertEquals([missing.code, missing.stdout], [1, ""]);
      assertMatch(missing.stderr, /^hotboot: @hotboot\/\S+ is not installed, .*without --omit=optional\n$/);
      const other = await node(
        `import { binaryPath } from "./node_modules/hotboot/binary.js"; binaryPath("win32-x64")`,
      );
      assertStringIncludes(other.stderr, "hotboot has no binary for win32-x64: it runs on linux-x64, ");
    });

    await t.step("the client's types are right, and find what is wrong", async () => {
      const path = `${directory}/types.mts`;
      await Deno.copyFile(`${ROOT}tests/e2e/npm/types.mts`, path);
      assertEquals(mistakesIn(path), []);
    });

    await t.step("the client starts, stops, forks and fails as the library does", async () => {
      const { code, stdout, stderr } = await node(await Deno.readTextFile(`${ROOT}tests/e2e/npm/client.js`));
      assertEquals(code, 0, stderr);
      const said = JSON.parse(stdout);
      assertEquals(said.error, [
        "HotbootError",
        1,
        `instance 'third' does not run: 'hotboot start --profile ${directory}/hotboot.json --instance third' starts it`,
      ]);
      assertEquals(said.usage, [2, "--engine takes instant or mapped-ram, not 'steam'"]);
      assertEquals(said.noPort, "profile 'micro' has no port 'api': name one of web");
      assertEquals(said.states, ["stopped", "running"]);
      assertEquals(said.stopped, { stopped: true, kept: "suspended" });
      assertEquals(said.marks, ["checkpoint\n", "instance\n", "", ""]);
      assertEquals(said.sameUrl, true);
      assertEquals(new Set(said.tokens).size, said.tokens.length);
      assertEquals(said.aborted, "enough");
      assertMatch(said.warning, /^hotboot: instance 'fresh-\w+' is kept, suspended\. To continue it: hotboot start /);
      assertEquals(await micro.states(), { [said.kept]: "suspended", third: "suspended" });
      for (const name of [said.kept, "third"]) await micro.succeed("reset", ["--instance", name]);
    });

    await t.step("vitest's files run in parallel, each with a stack that goes with it", async () => {
      await addVitest(directory);
      const place = `${directory}/place`;
      for (const name of ["stack.js", "suite.js", "vitest.config.js"]) {
        await Deno.copyFile(`${VITEST}/${name}`, `${directory}/${name}`);
      }
      for (const name of FILES) {
        const text = `import { suite } from "./suite.js";\nsuite("${name}");\n`;
        await Deno.writeTextFile(`${directory}/${name}.test.js`, text);
      }
      const vitest = async (more: Record<string, string>, ...files: string[]) => {
        await Deno.remove(place, { recursive: true }).catch(() => {});
        await Deno.mkdir(place);
        const workers = `--maxWorkers=${FILES.length}`;
        return await run(["node", `${modules}/vitest/vitest.mjs`, "run", workers, ...files], {
          cwd: directory,
          env: { ...env, PLACE: place, FILES: `${files.length || FILES.length}`, ...more },
        });
      };
      const all = await vitest({});
      assertCode(all, 0);
      assertMatch(all.stdout, /Tests +8 passed/);
      const stacks = FILES.flatMap((name) => JSON.parse(Deno.readTextFileSync(`${place}/${name}`)));
      assertEquals(new Set(stacks).size, 4 * FILES.length); // instance, port, URL and token
      assertEquals(await micro.states(), {});

      const died = await vitest({ DIES: "one" }, "one");
      assertEquals(died.code, 1, died.stdout);
      await until(async () => Object.keys(await micro.states()).length === 0, "the end of the stacks");
    });
  },
);
