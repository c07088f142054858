/** `hotboot init`: what each template writes builds or pulls, captures and starts, with secrets that are proven. */
// needs: micro

import { assert, assertEquals, assertMatch, assertNotEquals, assertStringIncludes } from "@std/assert";
import { GitHubServer, REPOSITORY } from "./github_server.ts";
import { buildImage } from "./guest_home.ts";
import { assertCode, denoDirectory, hotboot, readUntil, type Run, spawnOnTerminal, textReader } from "./program.ts";
import { ARCH, CACHE } from "./qemu.ts";
import { freePort } from "./shared.ts";

const DENO = await denoDirectory();

/** A project's directory, and a home of its own. */
class Project implements AsyncDisposable {
  readonly directory: string;
  readonly env: Record<string, string>;

  private constructor(readonly root: string) {
    this.directory = `${root}/My Shop`;
    this.env = { ...DENO, HOME: `${root}/user`, XDG_CONFIG_HOME: "", HOTBOOT_HOME: `${root}/home`, GITHUB_TOKEN: "" };
  }

  static async make(files: Record<string, string> = {}): Promise<Project> {
    const made = new Project(await Deno.realPath(await Deno.makeTempDir({ prefix: "hotboot-test-" })));
    await Deno.mkdir(`${made.root}/user`);
    await Deno.mkdir(made.directory);
    for (const [path, text] of Object.entries(files)) await made.write(path, text);
    return made;
  }

  run(...args: string[]): Promise<Run> {
    return hotboot(args, { cwd: this.directory, env: this.env });
  }

  async succeed(...args: string[]): Promise<string> {
    const run = await this.run(...args);
    assertCode(run, 0);
    return run.stdout;
  }

  read(path: string): Promise<string> {
    return Deno.readTextFile(`${this.directory}/${path}`);
  }

  write(path: string, text: string): Promise<void> {
    return Deno.writeTextFile(`${this.directory}/${path}`, text);
  }

  /** Changes the profile, as its comments ask for. Gives all services ports that nobody else has. */
  async edit(changes: [string, string][] = []): Promise<void> {
    let text = (await this.read("hotboot.json")).replaceAll(/"host": \d+/g, () => `"host": ${freePort()}`);
    for (const [from, to] of changes) {
      assertStringIncludes(text, from);
      text = text.replace(from, to);
    }
    await this.write("hotboot.json", text);
  }

  async files(): Promise<string[]> {
    return (await Array.fromAsync(Deno.readDir(this.directory), ({ name }) => name)).sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const instance of await Array.fromAsync(Deno.readDir(`${this.root}/home/instances`)).catch(() => [])) {
      await this.run("reset", "--instance", instance.name);
    }
    await Deno.remove(this.root, { recursive: true });
  }
}

Deno.test("init: it writes a valid profile from options, and replaces nothing unasked", async (t) => {
  for (const template of ["postgres", "compose", "release"]) {
    await t.step(template, async () => {
      await using project = await Project.make();
      const more = template === "release" ? ["--repo", "acme/shop", "--tag", "v1-{branch}", "--port", "3000"] : [];
      const json = JSON.parse(await project.succeed("init", "--template", template, "--json", ...more));
      assertEquals([json.template, json.name, json.files[0]], [template, "my-shop", "hotboot.json"]);
      assertMatch(await project.read("hotboot.json"), /^\/\/ [^]*"\$schema": "https:[^]*"name": "my-shop",/);
      assertMatch(await project.succeed("profile", "validate", "--strict"), /hotboot\.json: valid\n$/);
      const { profile } = JSON.parse(await project.succeed("profile", "show", "--json"));
      assertEquals([profile.name, profile.timeouts.boot, profile.health[0].status], ["my-shop", 240, 200]);
      const before = await project.read("hotboot.json");
      await project.write("hotboot.json", `${before}// mine\n`);
      const again = await project.run("init", "--template", template, ...more);
      assertCode(again, 1);
      assertMatch(again.stderr, /^hotboot: hotboot\.json.* there already, so nothing was written: .*--force/);
      assert((await project.read("hotboot.json")).endsWith("// mine\n"));
      await project.succeed("init", "--template", template, "--force", ...more);
      assert(!(await project.read("hotboot.json")).includes("// mine"));
    });
  }
});

Deno.test("profile validate: it exits with 1 after a mistake, and with --strict after a warning", async () => {
  await using project = await Project.make();
  const none = await project.run("profile", "validate");
  assertCode(none, 1);
  assertMatch(none.stderr, /there is no hotboot\.json here or above: 'hotboot init' writes one/);
  await project.succeed("init", "--template", "release", "--repo", "acme/shop");
  await project.edit([['"network": "restricted"', '"network": "open"']]);
  assertMatch(
    await project.succeed("profile", "validate"),
    /hotboot\.json:\d+:\d+: warning: machine: [^]*: valid, with warnings\n$/,
  );
  assertCode(await project.run("profile", "validate", "--strict"), 1);
  await project.edit([['"cpus": 2', '"cpus": "many"'], ['"name": "web", "port"', '"name": "\\u001b[31m", "prt"']]);
  const bad = await project.run("profile", "validate", "hotboot.json");
  assertCode(bad, 1);
  assertEquals(bad.stdout.replaceAll(/:\d+:\d+: /g, ":L:C: ").trimEnd().split("\n").map((line) => line.slice(0, 60)), [
    "hotboot.json:L:C: machine.cpus: 'many' is not a number: use ",
    'hotboot.json:L:C: health[0]: the field "port" is missing: ad',
    "hotboot.json:L:C: health[0].prt: there is no such field; the",
  ]);
  const { isValid, findings } = JSON.parse((await project.run("profile", "validate", "--json")).stdout);
  assertEquals([isValid, findings.length, findings[0].isWarning], [false, 3, false]);
  assertEquals((await project.read("hotboot.json")).split("\n")[findings[0].line - 1].trim().slice(0, 6), '"cpus"');
  const start = await project.run("start", "--trust");
  assertCode(start, 1);
  assertMatch(start.stderr, /^hotboot: profile \S+.*hotboot\.json: machine\.cpus: 'many' is not a number/);
});

Deno.test("init: it refuses what it cannot use, and writes through no link", async () => {
  await using project = await Project.make();
  const refused: [string[], number, RegExp][] = [
    [[], 2, /init needs --template \(postgres, compose, release\) without a terminal/],
    [["--template", "mysql"], 2, /there is no template 'mysql': use postgres, compose, release/],
    [["--template", "release"], 2, /needs --repo OWNER\/NAME/],
    [["--template", "release", "--repo", "acme"], 2, /--repo takes OWNER\/NAME, not 'acme'/],
    [["--template", "release", "--repo", "a/b", "--port", "70000"], 2, /--port takes a number from 1 to 65535/],
    [["--template", "postgres", "--name", "My Shop"], 2, /--name takes lower-case letters/],
    [["--template", "compose", "--base", "../base.qcow2"], 2, /--base takes a file in this directory/],
  ];
  for (const [args, code, why] of refused) {
    const run = await project.run("init", ...args);
    assertCode(run, code);
    assertMatch(run.stderr, why);
  }
  await Deno.symlink(`${project.root}/user`, `${project.directory}/hotboot`);
  const linked = await project.run("init", "--template", "postgres", "--force");
  assertCode(linked, 1);
  assertMatch(linked.stderr, /hotboot is there and is not a directory, so nothing was written/);
  await Deno.remove(`${project.directory}/hotboot`);
  await Deno.symlink(`${project.root}/user/file`, `${project.directory}/hotboot.json`);
  const dangling = await project.run("init", "--template", "postgres", "--force");
  assertCode(dangling, 1);
  assertMatch(dangling.stderr, /hotboot\.json is there and is not a file, so nothing was written/);
  assertEquals(await project.files(), ["hotboot.json"]);
  assertEquals(await Array.fromAsync(Deno.readDir(`${project.root}/user`)), []);
});

Deno.test("init: on a terminal it asks for what the options do not say", async () => {
  await using project = await Project.make({ "compose.yaml": 'services: {api: {image: x, ports: ["8080:80"]}}\n' });
  const child = spawnOnTerminal(["init"], { cwd: project.directory, env: project.env });
  const screen = textReader(child.stdout);
  const keyboard = child.stdin.getWriter();
  const type = (line: string) => keyboard.write(new TextEncoder().encode(`${line}\n`));
  await readUntil(screen, "Template, one of postgres, compose, release [compose]: ");
  await type("");
  await readUntil(screen, "Name [my-shop]: ");
  await type("shop");
  const said = await readUntil(screen, "hotboot run -- env");
  assertMatch(said, /hotboot start --trust/);
  await keyboard.close();
  for (; !(await screen.read()).done;);
  assertEquals((await child.status).code, 0);
  await new Response(child.stderr).body?.cancel();
  const { profile } = JSON.parse(await project.succeed("profile", "show", "--json"));
  assertEquals([profile.name, profile.ports], ["shop", { api: { guest: 8080, host: 8080 } }]);
});

/** Asks whether the service takes a password. */
async function status(address: string, password: string): Promise<number> {
  const response = await fetch(`${address}/login`, { headers: { "x-password": password } });
  await response.body?.cancel();
  return response.status;
}

Deno.test("init: the template postgres builds, captures and starts, and each instance has its own password", async () => {
  await using project = await Project.make();
  await project.succeed("init", "--template", "postgres", "--name", "shop");
  await project.edit([['"boot": 240, "resume": 45', '"boot": 900, "resume": 300']]); // no machine is too slow
  const start = async (...args: string[]) => JSON.parse(await project.succeed("start", "--trust", "--json", ...args));
  const password = async (...args: string[]): Promise<string> =>
    JSON.parse(await project.succeed("credentials", "--json", ...args)).POSTGRES_PASSWORD;
  const [first, other] = [await start(), await start("--instance", "other")];
  assertEquals([first.origin, other.origin], ["resume", "resume"]);
  const [own, others] = [await password(), await password("--instance", "other")];
  const [, placeholder] = (await project.read("hotboot.json")).match(/"placeholder": "(.*)"/)!;
  assertNotEquals(own, others);
  assertEquals(
    [
      await status(first.urls.api, own),
      await status(first.urls.api, others),
      await status(first.urls.api, placeholder),
    ],
    [200, 401, 401],
  );
  assertEquals([await status(other.urls.api, others), await status(other.urls.api, own)], [200, 401]);
  for (const visits of [1, 2]) assertEquals(await (await fetch(first.urls.api)).json(), { visits });
  assertEquals(await (await fetch(other.urls.api)).json(), { visits: 1 });

  // What `run` passes on is right: the database takes it from outside of the guest, too, by the port that the host has.
  const url = new URL((await project.succeed("run", "--", "sh", "-c", "echo $DATABASE_URL")).trim());
  assertEquals([url.username, url.password, url.pathname], ["app", own, "/app"]);
  assertEquals(new URL(first.urls.postgres).port, url.port);
});

Deno.test("init: the template release pulls, captures and starts an image", async () => {
  await buildImage("micro", ARCH);
  await using github = new GitHubServer();
  await using project = await Project.make();
  const disk = "shop-{arch}.qcow2";
  await project.succeed("init", "--template", "release", "--name", "shop", "--repo", REPOSITORY, "--port", "8080");
  // The micro guest boots by its kernel and initrd, and wants a config disk.
  await project.edit([
    [`"disk": "${disk}"`, `"disk": "${disk}", "kernel": "shop.kernel", "initrd": "shop.initrd"`],
    ['"path": "/"', '"path": "/cgi-bin/health"'],
    ['"cpus": 2,', '"cpus": 2, "append": "quiet cryptomgr.notests",'],
    ['"ports": {', '"config": { "label": "microcfg", "files": { "runtime.env": ["WEB_PORT=8080"] } },\n  "ports": {'],
    ['"memory": 2048', '"memory": 256'],
    ['"boot": 240, "resume": 45', '"boot": 300, "resume": 60'],
  ]);
  const part = (end: string) => Deno.readFile(`${CACHE}/images/micro-${ARCH}.${end}`);
  github.release("latest", [
    { name: disk.replace("{arch}", ARCH), bytes: await part("qcow2") },
    { name: "shop.kernel", bytes: await part("kernel") },
    { name: "shop.initrd", bytes: await part("initrd") },
  ]);
  Object.assign(project.env, {
    HOTBOOT_GITHUB_API: github.api,
    HOTBOOT_DOWNLOAD_HOSTS: new URL(github.storage.origin).host,
    GITHUB_ENTERPRISE_TOKEN: "",
    GH_ENTERPRISE_TOKEN: "",
  });
  const { origin, urls } = JSON.parse(await project.succeed("start", "--trust", "--json"));
  assertEquals(origin, "resume");
  const response = await fetch(`${urls.web}/cgi-bin/health`);
  assertEquals(response.status, 200);
  await response.body?.cancel();
  const { image } = JSON.parse(await project.succeed("status", "--json"));
  assertEquals([image.origin.kind, image.origin.repository], ["release", REPOSITORY]);
});
