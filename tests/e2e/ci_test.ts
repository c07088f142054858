// needs: micro

/** What CI uses: the action for GitHub, step by step, and the script for GitLab, with the micro guest as a project. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { encodeHex } from "@std/encoding/hex";
import { parse } from "@std/yaml/parse";
import config from "../../deno.json" with { type: "json" };
import { ROOT } from "../../dev/deno.ts";
import { PLATFORMS } from "../../npm/binary.ts";
import { GuestHome } from "./guest_home.ts";
import { placeHotboot } from "./program.ts";
import { CACHE, qemuEnv } from "./qemu.ts";
import { type Job, runAction } from "./runner.ts";

const TARGET = PLATFORMS[`${Deno.build.os}-${Deno.build.arch === "x86_64" ? "x64" : "arm64"}`];

/** The release of this version, with this hotboot, at an address like GitHub's. */
class Releases implements AsyncDisposable {
  readonly #binary: string;
  /** Whether the checksums are another binary's. */
  isDamaged = false;
  readonly #server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const { pathname } = new URL(request.url);
    const name = pathname.split(`/releases/download/v${config.version}/`)[1];
    if (name === `hotboot-${TARGET}`) return Deno.readFile(this.#binary).then((bytes) => new Response(bytes));
    return name === "SHA256SUMS" ? this.#sums() : new Response(null, { status: 404 });
  });

  constructor(binary: string) {
    this.#binary = binary;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#server.addr.port}/releases`;
  }

  async #sums(): Promise<Response> {
    const digest: string = encodeHex(
      new Uint8Array(await crypto.subtle.digest("SHA-256", await Deno.readFile(this.#binary))),
    );
    const right = this.isDamaged ? digest.replace(/^./, (digit) => digit === "0" ? "1" : "0") : digest;
    return new Response(`${"0".repeat(64)}  hotboot-other\n${right}  hotboot-${TARGET}\n`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }
}

/** A checkout of a project whose profile is the micro guest's. Its recipe takes what the guest's own one has made. */
async function checkout(micro: GuestHome): Promise<string> {
  const workspace = `${micro.directory}/work`;
  const project = `${workspace}/stack`;
  await Deno.mkdir(project, { recursive: true });
  const profile = JSON.parse(await Deno.readTextFile(micro.profile));
  profile.image = { build: { script: "build.sh", inputs: ["build.sh"] } };
  await Deno.writeTextFile(`${project}/hotboot.json`, JSON.stringify(profile));
  const made = `${CACHE}/images/micro-${micro.arch}`;
  const lines = ["disk.qcow2", "kernel", "initrd"].map((name) =>
    `cp '${made}.${name.replace(/^disk\./, "")}' "$1/${name}"`
  );
  await Deno.writeTextFile(`${project}/build.sh`, ["set -eu", ...lines, ""].join("\n"), { mode: 0o755 });
  await Deno.remove(micro.home, { recursive: true });
  return workspace;
}

/** The environment of a job. */
function environmentOf(micro: GuestHome): Record<string, string> {
  return {
    PATH: Deno.env.get("PATH")!,
    ...(micro.qemu.includes("/") && qemuEnv(micro.qemu, micro.arch)),
    HOME: micro.directory,
    HOTBOOT_HOME: micro.home,
    XDG_CONFIG_HOME: `${micro.directory}/config`,
    NO_COLOR: "1",
  };
}

Deno.test("ci: the action installs, captures and fills the cache; the next job finds all of it there", async (t) => {
  await using micro = await GuestHome.make();
  const binary = `${micro.directory}/binary`;
  await placeHotboot(binary);
  await using releases = new Releases(binary);
  const workspace = await checkout(micro);
  const job = (number: number, inputs: Record<string, string>): Job => ({
    action: ROOT.slice(0, -1),
    workspace,
    cache: `${micro.directory}/cache`,
    temporary: `${micro.directory}/job-${number}`,
    inputs: { releases: releases.url, attestation: "false", "working-directory": "stack", ...inputs },
    env: environmentOf(micro),
  });

  await t.step("it installs nothing that has another checksum, or that nobody vouches for", async () => {
    releases.isDamaged = true;
    const damaged = await runAction(job(1, {}));
    assertEquals(damaged.failed, "Install hotboot", damaged.log);
    assertStringIncludes(damaged.log, `::error::hotboot-${TARGET} is not what the release's SHA256SUMS says`);
    releases.isDamaged = false;
    const missing = await runAction(job(2, { version: "0.0.7" }));
    assertEquals(missing.failed, "Install hotboot", missing.log);
    assertMatch(missing.log, /::error::http\S+\/download\/v0\.0\.7\/hotboot-\S+ cannot be downloaded: check/);
    for (const number of [1, 2]) assertEquals(await hasProgram(`${micro.directory}/job-${number}`), false);
  });

  await t.step("it only installs if told so", async () => {
    const { outputs, ran, failed, log } = await runAction(job(3, { capture: "false", version: `v${config.version}` }));
    assertEquals(failed, undefined, log);
    assertEquals(ran, ["Allow KVM", "Install QEMU", "Install hotboot"]);
    assertEquals(outputs, { version: config.version, home: "", image: "", snapshot: "" });
  });

  await t.step("the first job captures, and saves image and snapshot", async () => {
    const { outputs, ran, failed, log } = await runAction(job(4, { "cache-snapshot": "true" }));
    assertEquals(failed, undefined, log);
    assertEquals([outputs.version, outputs.home, outputs.snapshot], [config.version, micro.home, "capture"]);
    assert(ran.includes("Save the image") && ran.includes("Save the snapshot"), ran.join());
    const keys = Array.from(Deno.readDirSync(`${micro.directory}/cache`), ({ name }) => name).sort();
    assertMatch(keys[0], new RegExp(`^hotboot-image-micro-${micro.arch}-[0-9a-f]{16}-${outputs.image}$`));
    assertMatch(
      keys[1],
      new RegExp(`^hotboot-snapshot-micro-${micro.arch}-[0-9a-f]{16}-[0-9a-f]{16}-${outputs.image}$`),
    );
    assertEquals(keys.length, 2);
  });

  await t.step("on a runner that keeps its disk, a job does nothing", async () => {
    const { outputs, ran, failed, log } = await runAction(job(5, {}));
    assertEquals(failed, undefined, log);
    assertEquals(outputs.snapshot, "home");
    assert(!ran.includes("Save the image") && !ran.includes("Save the snapshot"), ran.join());
  });

  await t.step("on another one it takes both from the cache, and a test gets the stack without a boot", async () => {
    await Deno.remove(micro.home, { recursive: true });
    const { outputs, ran, env, failed, log } = await runAction(job(6, {}));
    assertEquals(failed, undefined, log);
    assertEquals(outputs.snapshot, "cache");
    assert(!ran.includes("Save the image") && !ran.includes("Save the snapshot"), ran.join());
    const args = [
      "-euo",
      "pipefail",
      "-c",
      "hotboot start --no-fallback --no-capture --json | jq --raw-output .origin",
    ];
    const cwd = `${workspace}/stack`;
    const { stdout, stderr } = await new Deno.Command("bash", { args, cwd, env }).output();
    assertEquals(new TextDecoder().decode(stdout), "resume\n", new TextDecoder().decode(stderr));
  });
});

/** Whether a job's directory has a program that steps would find. */
async function hasProgram(directory: string): Promise<boolean> {
  return await Deno.stat(`${directory}/hotboot-${config.version}/hotboot`).then(() => true, () => false);
}

/** The script with which a job on GitLab begins, and its variables. */
async function gitlab(): Promise<{ variables: Record<string, string>; script: string }> {
  const [, job] = (await Deno.readTextFile(`${ROOT}ci/gitlab.yml`)).split("\n---\n");
  const { ".hotboot": { variables, before_script } } = parse(job) as {
    ".hotboot": { variables: Record<string, string>; before_script: string[] };
  };
  return { variables, script: before_script.join("\n") };
}

Deno.test("ci: GitLab's jobs install, capture and fill the cache; the next one imports", async () => {
  await using micro = await GuestHome.make();
  const binary = `${micro.directory}/binary`;
  await placeHotboot(binary);
  await using releases = new Releases(binary);
  const project = `${await checkout(micro)}/stack`;
  const { script } = await gitlab();
  const run = async () => {
    const { success, stdout, stderr } = await new Deno.Command("sh", {
      args: ["-euc", `${script}\nhotboot start --no-fallback --json && hotboot stop --discard`],
      cwd: project,
      env: {
        ...environmentOf(micro),
        CI_PROJECT_DIR: project,
        HOTBOOT_VERSION: config.version,
        HOTBOOT_RELEASES: releases.url,
        HOTBOOT_CACHE_SNAPSHOT: "true",
      },
      stdin: "null",
    }).output();
    return { success, log: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
  };
  const first = await run();
  assert(first.success, first.log);
  assertStringIncludes(first.log, "exported");
  for (const kept of ["snapshots", "cache", "instances"]) {
    await Deno.remove(`${micro.home}/${kept}`, { recursive: true }); // which GitLab does not
  }
  const second = await run();
  assert(second.success, second.log);
  assertMatch(second.log, /^hotboot: import \S+ +100/m);
  assertStringIncludes(second.log, '"origin": "resume"');
  releases.isDamaged = true;
  const damaged = await run();
  assertEquals(damaged.success, false);
  assertStringIncludes(damaged.log, `hotboot-${TARGET} is not what the release's SHA256SUMS says`);
});

Deno.test("ci: shellcheck finds nothing in the scripts", async () => {
  const scripts = Array.from(Deno.readDirSync(`${ROOT}ci`), ({ name }) => `${ROOT}ci/${name}`);
  const directory = await Deno.makeTempDir({ prefix: "hotboot-test-" });
  await using _directory = { [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }) };
  const { script, variables } = await gitlab();
  const known = Object.keys(variables).map((name) => `${name}=any`).join("\n");
  await Deno.writeTextFile(`${directory}/gitlab.sh`, `#!/bin/sh\nset -eu\n${known}\nCI_PROJECT_DIR=.\n${script}`);
  const args = [...scripts.filter((path) => path.endsWith(".sh")), `${directory}/gitlab.sh`];
  assert(args.length > 5);
  const { code, stdout } = await new Deno.Command("shellcheck", { args }).output();
  assertEquals(code, 0, new TextDecoder().decode(stdout));
});
