// needs: stack-standin, micro

import { assert, assertEquals, assertMatch } from "@std/assert";
import { exists } from "@std/fs/exists";
import type { Build, CloudInit, Profile } from "../../lib/profile/profile.ts";
import { readQcow2Header } from "../../lib/vm/qcow2.ts";
import { GuestHome, PROFILES } from "./guest_home.ts";
import { assertCode, hotboot } from "./program.ts";
import { ARCH, CACHE } from "./qemu.ts";
import { until } from "./pace.ts";

Deno.test("cloud-init: it makes one compressed disk of the requested size, and does not make it again", async () => {
  await using standin = await GuestHome.make({ guest: "stack-standin" });
  const path = `${standin.home}/images/stack-standin-${ARCH}.qcow2`;
  const { virtualSize, needsOthers } = await readQcow2Header(path);
  assertEquals([virtualSize, needsOthers], [4096 * 2 ** 20, false]);
  const { stdout } = await new Deno.Command("qemu-img", { args: ["check", "--output=json", path] }).output();
  const check = JSON.parse(new TextDecoder().decode(stdout));
  assertEquals([check["check-errors"], check.leaks, check.corruptions], [0, undefined, undefined]);
  assert(check["compressed-clusters"] > 0.9 * check["allocated-clusters"]);
  assert(check["allocated-clusters"] * 65536 < 1.5 * 2 ** 30, "free space takes up room");
  const { files, origin } = JSON.parse(await Deno.readTextFile(path.replace("qcow2", "json")));
  assertEquals([Object.keys(files), origin.kind], [["disk"], "build"]);
  const run = await hotboot(["build", "--json", "--home", CACHE, "--profile", PROFILES["stack-standin"]]);
  assertCode(run, 0);
  assertEquals(JSON.parse(run.stdout).built, false);
});

/** A home with another recipe; the base image is the one that the tests have already made. */
async function homeWith(guest: "micro" | "stack-standin", recipe: (home: string) => Promise<Partial<CloudInit>>) {
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
  assertEquals(await home.qemusLeft(), []);
  const images = (await Array.fromAsync(Deno.readDir(`${home.home}/images`), ({ name }) => name)).sort();
  assertEquals(images.filter((name) => name.startsWith("other") || name.startsWith(".")), []);
  const left = await Array.fromAsync(Deno.readDir(`${home.home}/instances/build-other-${ARCH}`), ({ name }) => name);
  assertEquals(left.sort(), logs);
  for (const log of logs) {
    assertEquals((await Deno.stat(`${home.home}/instances/build-other-${ARCH}/${log}`)).mode! & 0o777, 0o600);
  }
}

/** The stand-in's base image, which its build left in the cache. */
async function baseImage(): Promise<string> {
  for await (const { name } of Deno.readDir(`${CACHE}/cache`)) {
    if (name.startsWith("base-stack-standin-") && name.endsWith(".qcow2")) return `${CACHE}/cache/${name}`;
  }
  throw new Error("there is no base image");
}

Deno.test("cloud-init: failed provisioning shows the last lines and leaves no image", async () => {
  await using home = await homeWith("stack-standin", async (directory) => {
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
    /^hotboot: cloud-init did not make the image of 'other': cloud-init: .*scripts.user.*; see its full output in \S+\/serial.log and \S+\/progress.log$/,
  );
  await assertNothingBuilt(home);
  const log = `${home.home}/instances/build-other-${ARCH}/progress.log`;
  assertMatch(await Deno.readTextFile(log), /^output the last that was said$/m);
});

// The micro guest's disk boots nothing, so it never finishes.
const micro = async (directory: string, more: Partial<CloudInit>): Promise<Partial<CloudInit>> => {
  await Deno.writeTextFile(`${directory}/user-data`, "#cloud-config\n");
  const base = { file: `${CACHE}/images/micro-{arch}.qcow2` };
  return { base, disk: 256, userData: `${directory}/user-data`, ...more };
};

Deno.test("cloud-init: limits apply, and bad requests are refused", async (t) => {
  const cases: [string, Partial<CloudInit>, RegExp, string[]?][] = [
    ["too long", { timeout: 2 }, /image of 'other': it was not done within 2 s; see its full output in/],
    ["silence", { silence: 2 }, /image of 'other': it showed no sign of life for 2 s; see its full output in/],
    [
      "too small",
      { disk: 32 },
      /cloudInit\.disk of 'other' is 32 MiB, and its base image has 64: set it to at least that/,
      [],
    ],
  ];
  for (const [title, more, why, logs] of cases) {
    await t.step(title, async () => {
      await using home = await homeWith("micro", (directory) => micro(directory, more));
      const run = await home.run("build", ["--quiet"]);
      assertCode(run, 1);
      assertMatch(run.stderr, why);
      assertEquals(await home.qemusLeft(), []);
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

Deno.test("cloud-init: an interrupted build leaves nothing; the next build cleans up after a killed one", async (t) => {
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
