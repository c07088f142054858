// needs: stack-like, micro

import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { exists } from "@std/fs/exists";
import type { Build, CloudInit, Profile } from "../../lib/profile/profile.ts";
import { readQcow2Header } from "../../lib/vm/qcow2.ts";
import { ARCH, assertCode, CACHE, GuestHome, hotboot, PROFILES } from "./harness.ts";
import { until } from "./pace.ts";

const PREFIX = "STACK_SEED_INTERNAL_PROJECT_";
const PUBLISHABLE = `${PREFIX}PUBLISHABLE_CLIENT_KEY`;

/** A request's status and its text. */
async function ask(url: string, init: RequestInit = {}): Promise<{ status: number; text: string }> {
  const response = await fetch(url, init);
  return { status: response.status, text: await response.text() };
}

Deno.test("cloud-init: an image is built that boots by itself, is captured, resumed and rotated", async (t) => {
  await using stack = await GuestHome.make({ guest: "stack-like" });
  const url = (port: string, path: string) => `http://127.0.0.1:${stack.ports[port]}${path}`;

  await t.step("it is one compressed disk of the size that was asked for, and nothing else", async () => {
    const path = `${stack.home}/images/stack-like-${ARCH}.qcow2`;
    assertEquals(await readQcow2Header(path), { virtualSize: 4096 * 2 ** 20, needsOthers: false });
    const { stdout } = await new Deno.Command("qemu-img", { args: ["check", "--output=json", path] }).output();
    const check = JSON.parse(new TextDecoder().decode(stdout));
    assertEquals([check["check-errors"], check.leaks, check.corruptions], [0, undefined, undefined]);
    assert(check["compressed-clusters"] > 0.9 * check["allocated-clusters"]);
    assert(check["allocated-clusters"] * 65536 < 1.5 * 2 ** 30, "what is free takes room");
    const { files, origin } = JSON.parse(await Deno.readTextFile(path.replace("qcow2", "json")));
    assertEquals([Object.keys(files), origin.kind], [["disk"], "build"]);
  });

  await t.step("the same recipe is not built again", async () => {
    const run = await hotboot(["build", "--json", "--home", CACHE, "--profile", PROFILES["stack-like"]]);
    assertCode(run, 0);
    assertEquals(JSON.parse(run.stdout).built, false);
  });

  const first = await stack.start();
  assertEquals(first.origin, "resume");

  await t.step("its services answer", async () => {
    for (
      const [port, path] of [
        ["dashboard", "/handler/sign-in"],
        ["backend", "/health?db=1"],
        [
          "minio",
          "/minio/health/live",
        ],
        ["inbucket", "/"],
        ["oauth", "/.well-known/openid-configuration"],
      ]
    ) {
      assertEquals((await ask(url(port, path))).status, 200, port);
    }
  });

  await t.step("its disk is as large as it was made, and cloud-init has left nothing", async () => {
    const size = Number(await stack.exec("sh", "-c", "df --output=size -B1048576 / | tail -1"));
    assert(size > 3700 && size < 4096, `${size} MiB`);
    assertEquals(
      await stack.exec("sh", "-c", "systemctl is-active cloud-init cloud-final || true"),
      "inactive\ninactive\n",
    );
    assertEquals(await stack.exec("sh", "-c", "ls -d /var/lib/cloud/instance* 2>/dev/null || true"), "");
    assertMatch(await stack.exec("cat", "/etc/machine-id"), /^[0-9a-f]{32}\n$/);
    assertEquals(await stack.exec("systemctl", "--failed", "--no-legend"), "");
  });

  await t.step("a project of a configuration file, for who has the internal key", async () => {
    const keys: Record<string, string> = JSON.parse(await stack.succeed("credentials", ["--json"]));
    const project = (key: string, body: unknown) =>
      ask(url("backend", "/api/v1/internal/local-emulator/project"), {
        method: "POST",
        headers: {
          "x-stack-project-id": "internal",
          "x-stack-access-type": "client",
          "x-stack-publishable-client-key": key,
        },
        body: JSON.stringify(body),
      });
    const file = { absolute_file_path: "/home/me/stack.config.ts" };
    const made = await project(keys[PUBLISHABLE], file);
    assertEquals(made.status, 200, made.text);
    const { project_id, publishable_client_key, secret_server_key } = JSON.parse(made.text);
    assertMatch([project_id, publishable_client_key, secret_server_key].join(" "), /^[0-9a-f-]{36}( [0-9a-f]{64}){2}$/);
    assertEquals(await project(keys[PUBLISHABLE], file), made);
    const other = await project(keys[PUBLISHABLE], { absolute_file_path: "/home/me/other.ts" });
    assertNotEquals(JSON.parse(other.text).project_id, project_id);
    const current = url("backend", "/api/v1/projects/current");
    const accepted = await ask(current, { headers: { "x-stack-secret-server-key": secret_server_key } });
    assertEquals(JSON.parse(accepted.text).id, project_id);
    for (const wrong of ["0".repeat(62) + "ff", publishable_client_key, ""]) {
      assertEquals((await project(wrong, file)).status, 401, wrong);
    }
    for (const wrong of [{}, [], { absolute_file_path: "relative" }, { absolute_file_path: 1 }]) {
      assertEquals((await project(keys[PUBLISHABLE], wrong)).status, 400, JSON.stringify(wrong));
    }
  });

  await t.step("without a share there is nothing to mount", async () => {
    const run = await stack.run("exec", ["--", "/usr/local/bin/mount-host-fs"]);
    assertCode(run, 1);
    assertEquals(run.stderr, "mount-host-fs: the host shares nothing with the tag hostfs\n");
  });

  await t.step("the next start has other secrets, and none of these projects", async () => {
    const before = JSON.parse(await stack.succeed("credentials", ["--json"]));
    assertEquals(Object.keys(before), [
      PUBLISHABLE,
      `${PREFIX}SECRET_SERVER_KEY`,
      `${PREFIX}SUPER_SECRET_ADMIN_KEY`,
      "CRON_SECRET",
    ]);
    await stack.succeed("stop", ["--discard"]);
    const second = await stack.start("--no-fallback");
    assertEquals([second.origin, second.snapshot], ["resume", first.snapshot]);
    const after = JSON.parse(await stack.succeed("credentials", ["--json"]));
    for (const name of Object.keys(after)) assertNotEquals(after[name], before[name]);
    const sql = `SELECT count(*), min("publishableClientKey") FROM "ApiKeySet"`;
    assertEquals(await stack.exec("psql", "-qAtc", sql, "stack"), `1|${after[PUBLISHABLE]}\n`);
  });
});

/** A home whose profile is `change`d; the base image is the one that the tests have made already. */
async function homeWith(guest: "micro" | "stack-like", recipe: (home: string) => Promise<Partial<CloudInit>>) {
  let cloudInit: Partial<CloudInit> = {};
  const home = await GuestHome.make({
    guest,
    change: (profile: Profile) => {
      profile.image.build = { cloudInit: { disk: 4096, ...cloudInit } } as Build;
      profile.name = "other";
    },
  });
  cloudInit = await recipe(home.directory);
  await home.writeProfile();
  return home;
}

/** A failed build leaves the machine's logs, and nothing else. */
async function assertNothingBuilt(home: GuestHome, logs = ["progress.log", "serial.log"]): Promise<void> {
  assertEquals(await home.qemuProcesses(), []);
  const images = (await Array.fromAsync(Deno.readDir(`${home.home}/images`), ({ name }) => name)).sort();
  assertEquals(images.filter((name) => name.startsWith("other") || name.startsWith(".")), []);
  const left = await Array.fromAsync(Deno.readDir(`${home.home}/instances/build-other-${ARCH}`), ({ name }) => name);
  assertEquals(left.sort(), logs);
  for (const log of logs) {
    assertEquals((await Deno.stat(`${home.home}/instances/build-other-${ARCH}/${log}`)).mode! & 0o777, 0o600);
  }
}

/** The base image of the stack-like guest, which its build has left in the cache. */
async function baseImage(): Promise<string> {
  for await (const { name } of Deno.readDir(`${CACHE}/cache`)) {
    if (name.startsWith("base-stack-like-") && name.endsWith(".qcow2")) return `${CACHE}/cache/${name}`;
  }
  throw new Error("there is no base image");
}

Deno.test("cloud-init: provisioning that fails shows the last lines and leaves no image", async () => {
  await using home = await homeWith("stack-like", async (directory) => {
    const userData = `${directory}/user-data`;
    const lines = ["set -e", "echo step go wrong", "echo the last that was said", "exit 3", "echo never"];
    await Deno.writeTextFile(userData, `#cloud-config\nruncmd: ${JSON.stringify(lines)}\n`);
    return { base: { file: await baseImage() }, userData };
  });
  const run = await home.run("build");
  assertCode(run, 1);
  assertMatch(run.stderr, /^hotboot: go wrong$/m);
  assertMatch(run.stderr, /^hotboot: warning: the guest's last lines:\n(?: {2}.*\n)*? {2}the last that was said\n/m);
  assert(!run.stderr.includes("never"));
  assertMatch(
    run.stderr.split("\n").at(-2)!,
    /^hotboot: cloud-init has not made the image of 'other': cloud-init: .*scripts.user.*; all it printed is in \S+\/serial.log and \S+\/progress.log$/,
  );
  await assertNothingBuilt(home);
  const log = `${home.home}/instances/build-other-${ARCH}/progress.log`;
  assertMatch(await Deno.readTextFile(log), /^output the last that was said$/m);
});

// The disk of the micro guest boots nothing, and so is never done.
const micro = async (directory: string, more: Partial<CloudInit>): Promise<Partial<CloudInit>> => {
  await Deno.writeTextFile(`${directory}/user-data`, "#cloud-config\n");
  const base = { file: `${CACHE}/images/micro-{arch}.qcow2` };
  return { base, disk: 256, userData: `${directory}/user-data`, ...more };
};

Deno.test("cloud-init: limits, and a request that makes no sense", async (t) => {
  const cases: [string, Partial<CloudInit>, RegExp, string[]?][] = [
    ["too long", { timeout: 2 }, /image of 'other': it was not done within 2 s; all it printed is in/],
    ["silence", { silence: 2 }, /image of 'other': it has shown no sign of life for 2 s; all it printed is in/],
    [
      "too small",
      { disk: 32 },
      /cloudInit\.disk of 'other' is 32 MiB, and its base image has 64: say at least that/,
      [],
    ],
  ];
  for (const [title, more, why, logs] of cases) {
    await t.step(title, async () => {
      await using home = await homeWith("micro", (directory) => micro(directory, more));
      const run = await home.run("build", ["--quiet"]);
      assertCode(run, 1);
      assertMatch(run.stderr, why);
      assertEquals(await home.qemuProcesses(), []);
      if (!logs) await assertNothingBuilt(home);
    });
  }
  await t.step("no user data", async () => {
    await using home = await homeWith("micro", async (directory) => {
      const recipe = await micro(directory, {});
      await Deno.writeTextFile(recipe.userData!, "runcmd: [reboot]\n");
      return recipe;
    });
    const run = await home.run("build", ["--quiet"]);
    assertCode(run, 1);
    assertMatch(run.stderr, /^hotboot: cloud-init ignores user data that does not begin with '#cloud-config' or '#!'/);
  });
});

Deno.test("cloud-init: interrupted, nothing is left; killed, the next one clears it away", async (t) => {
  await using home = await homeWith("micro", (directory) => micro(directory, {}));
  const monitor = `${home.home}/instances/build-other-${ARCH}/monitor.sock`;
  const started = async (left?: number) => {
    const build = home.spawn("build", "--quiet");
    const isThere = async () => (await home.qemuProcesses()).some((pid) => pid !== left) && await exists(monitor);
    await until(isThere, "QEMU's start");
    return build;
  };
  await t.step("SIGINT", async () => {
    const build = await started();
    build.kill("SIGINT");
    assertEquals((await build.output()).code, 130);
    await assertNothingBuilt(home);
  });
  await t.step("SIGKILL", async () => {
    const build = await started();
    build.kill("SIGKILL");
    await build.output();
    const [left] = await home.qemuProcesses();
    assert(left !== undefined);
    const next = await started(left);
    assert(!(await home.qemuProcesses()).includes(left));
    next.kill("SIGINT");
    assertEquals((await next.output()).code, 130);
    await assertNothingBuilt(home);
  });
});
