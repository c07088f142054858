/** Pulling images from a server that behaves like GitHub. */
// needs: micro

import { assert, assertEquals, assertMatch } from "@std/assert";
import { ensureDir } from "@std/fs/ensure-dir";
import { exists } from "@std/fs/exists";
import { dirname } from "@std/path/dirname";
import { toText } from "@std/streams/to-text";
import { REPOSITORY, TOKEN } from "./github_server.ts";
import { GuestHome } from "./guest_home.ts";
import { assertCode, type Run, spawnHotboot } from "./program.ts";
import { ARCH, CACHE } from "./qemu.ts";
import { until } from "./pace.ts";
import { disk, MIB, PullHome } from "./pull_home.ts";

/** A zip archive made by the distribution's `zip`. */
async function zip(files: Record<string, Uint8Array>): Promise<Uint8Array> {
  const directory = await Deno.makeTempDir();
  try {
    for (const [name, bytes] of Object.entries(files)) {
      await ensureDir(dirname(`${directory}/${name}`));
      await Deno.writeFile(`${directory}/${name}`, bytes);
    }
    const { success } = await new Deno.Command("zip", {
      args: ["-q", "-r", "../archive.zip", "."],
      cwd: await inner(directory),
    }).output();
    assert(success);
    return await Deno.readFile(`${directory}/archive.zip`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** Moves a directory's contents into a subdirectory. */
async function inner(directory: string): Promise<string> {
  const names = await Array.fromAsync(Deno.readDir(directory), ({ name }) => name);
  await Deno.mkdir(`${directory}/.inner`);
  for (const name of names) await Deno.rename(`${directory}/${name}`, `${directory}/.inner/${name}`);
  return `${directory}/.inner`;
}

Deno.test("pull: a release's image is pulled once, and again when it changes", async (t) => {
  await using pull = await PullHome.make();
  const { github } = pull;
  const name = `emulator-${ARCH}.qcow2`;
  const [first, second] = [disk(5 * MIB, 1), disk(5 * MIB, 2)];
  github.release("emulator-dev-latest", [{ name, bytes: first }, { name: "other", bytes: second }]);

  await t.step("nothing is fetched from an unlisted host", async () => {
    const { HOTBOOT_DOWNLOAD_HOSTS: host } = pull.env;
    pull.env.HOTBOOT_DOWNLOAD_HOSTS = "example.com";
    const run = await pull.pull();
    assertCode(run, 1);
    assertMatch(run.stderr, new RegExp(`\nhotboot: ${host} is not a host that hotboot may connect to[^\n]*\n$`));
    assertEquals(github.storage.seen.length, 0);
    pull.env.HOTBOOT_DOWNLOAD_HOSTS = host;
  });
  await t.step("it is downloaded and put in place", async () => {
    const run = await pull.pull();
    assertCode(run, 0);
    assertEquals(run.stdout, `${pull.home}/images/pulled-${ARCH}.qcow2\n`);
    assertMatch(run.stderr, new RegExp(`^hotboot: pull ${name} from ${REPOSITORY}\n`));
    assertEquals(await pull.image(), first);
    const names = await Array.fromAsync(Deno.readDir(`${pull.home}/images`), (entry) => entry.name);
    assertEquals(names.sort(), [`pulled-${ARCH}.json`, `pulled-${ARCH}.qcow2`]);
  });
  await t.step("status shows its origin", async () => {
    const { image } = JSON.parse((await pull.run("status", "--json")).stdout);
    assertEquals(image.origin.kind, "release");
    assertEquals([image.origin.repository, image.origin.tag], [REPOSITORY, "emulator-dev-latest"]);
    assertEquals(image.origin.published, "2026-05-06T07:08:09Z");
    assertMatch(
      (await pull.run("status")).stdout,
      /release emulator-dev-latest of acme\/emulator, 2026-05-06T07:08:09Z, [0-9a-f]{64}/,
    );
  });
  await t.step("the same image is not downloaded twice, except with --force", async () => {
    github.storage.seen.length = 0;
    assertMatch((await pull.pull()).stdout, /\(already up to date\)\n$/);
    assertEquals(github.storage.seen.length, 0);
    assertEquals(JSON.parse((await pull.pull("--json")).stdout).pulled, false);
    assertEquals(JSON.parse((await pull.pull("--json", "--force")).stdout).pulled, true);
    assertEquals(github.storage.seen.length, 1);
  });
  await t.step("another image replaces it", async () => {
    github.release("emulator-dev-latest", [{ name, bytes: second }]);
    assertEquals(JSON.parse((await pull.pull("--json")).stdout).pulled, true);
    assertEquals(await pull.image(), second);
  });
  await t.step("options name a branch, a tag, an architecture and a repository", async () => {
    github.release("emulator-main-latest", [{ name, bytes: first }]);
    github.release("v1.0/special", [{ name: "emulator-arm64.qcow2", bytes: second }, { name, bytes: second }]);
    assertCode(await pull.pull("--branch", "main"), 0);
    assertEquals(await pull.image(), first);
    assertCode(await pull.pull("--tag", "v1.0/special"), 0);
    assertEquals(await pull.image(), second);
    assertCode(await pull.pull("--tag", "v1.0/special", "--arch", "arm64"), 0);
    assertEquals(await Deno.readFile(`${pull.home}/images/pulled-arm64.qcow2`), second);
    await pull.expectRefusal(pull.pull("--repo", "acme/nothing"), /there is no release .* of acme\/nothing \(404\)/);
  });
  await t.step("without digests, its address and date identify it", async () => {
    github.withoutDigests = true;
    const run = await pull.pull("--json");
    assertEquals(JSON.parse(run.stdout).pulled, true);
    assertEquals(run.stderr.match(/warning: GitHub gives no digest of .*requireDigest/g)?.length, 1, run.stderr);
    const again = await pull.pull("--json");
    assertEquals(JSON.parse(again.stdout).pulled, false);
    assert(!again.stderr.includes("digest"), again.stderr);
  });
  await t.step("a profile can want digests", async () => {
    const { image, ...profile } = JSON.parse(await Deno.readTextFile(pull.profile));
    image.release.requireDigest = true;
    await Deno.writeTextFile(pull.profile, JSON.stringify({ ...profile, image }));
    await pull.expectRefusal(pull.pull("--force"), /no digest of emulator-.*\.qcow2, and the profile wants one/);
    github.withoutDigests = false;
    assertCode(await pull.pull("--force"), 0);
  });
});

Deno.test("pull: a pull request's or a run's artifact is pulled and unpacked", async (t) => {
  await using pull = await PullHome.make();
  const { github } = pull;
  const name = `emulator-${ARCH}.qcow2`;
  const artifact = `qemu-emulator-${ARCH}`;
  const [old, latest, forked] = [disk(3 * MIB, 3), disk(3 * MIB, 4), disk(3 * MIB, 5)];
  const archive = async (bytes: Uint8Array) => [{
    name: artifact,
    bytes: await zip({ [name]: bytes, "notes.txt": new Uint8Array(9) }),
  }];
  github.pullRequest(12, "feature");
  github.run(100, await archive(old), { created: "2026-05-01T00:00:00Z" });
  github.run(101, await archive(latest), { created: "2026-05-02T00:00:00Z" });
  github.run(102, await archive(forked), { created: "2026-05-03T00:00:00Z", repository: "stranger/emulator" });

  await t.step("without a token, the error says what to set", async () => {
    await pull.expectRefusal(pull.pull("--pr", "12"), /only with a token: set GITHUB_ENTERPRISE_TOKEN/);
  });
  pull.env.GITHUB_ENTERPRISE_TOKEN = TOKEN;
  await t.step("a pull request's latest successful run is used, not one of a stranger's branch", async () => {
    assertCode(await pull.pull("--pr", "12"), 0);
    assertEquals(await pull.image(), latest);
    const { image } = JSON.parse((await pull.run("status", "--json")).stdout);
    assertEquals([image.origin.kind, image.origin.run, image.origin.branch], ["run", 101, "feature"]);
    assertEquals(JSON.parse((await pull.pull("--pr", "12", "--json")).stdout).pulled, false);
  });
  await t.step("a run of a same-named branch in a deleted repository is not used", async () => {
    github.run(108, await archive(forked), { created: "2026-05-04T00:00:00Z", repository: null });
    assertEquals(JSON.parse((await pull.pull("--pr", "12", "--json")).stdout).origin.run, 101);
  });
  await t.step("if a pull request's repository is deleted, its commit's run is used", async () => {
    github.pullRequest(15, "feature", null);
    await pull.expectRefusal(pull.pull("--pr", "15"), /has not run successfully for its branch 'feature'/);
    github.run(109, await archive(latest), { repository: null, sha: "sha-15" });
    assertEquals(JSON.parse((await pull.pull("--pr", "15", "--force", "--json")).stdout).origin.run, 109);
  });
  await t.step("the run is found behind many runs of other branches with the same name", async () => {
    github.pullRequest(16, "main", "friend/emulator");
    for (let id = 1000; id < 1100; id++) github.run(id, [], { branch: "main" });
    github.run(999, await archive(latest), { branch: "main", repository: "friend/emulator" });
    assertEquals(JSON.parse((await pull.pull("--pr", "16", "--force", "--json")).stdout).origin.run, 999);
  });
  await t.step("--run names a run", async () => {
    assertCode(await pull.pull("--run", "100"), 0);
    assertEquals(await pull.image(), old);
    assertEquals((await Array.fromAsync(Deno.readDir(`${pull.home}/images`))).length, 2); // no archive is left
  });
  await t.step("only the API got the token", () => {
    assert(github.seen.some(({ authorization }) => authorization === `Bearer ${TOKEN}`));
    assertEquals(github.storage.seen.filter(({ headers }) => headers.has("authorization")), []);
  });
  await t.step("missing runs and bad artifacts are refused", async () => {
    await pull.expectRefusal(pull.pull("--pr", "13"), /there is no pull request 13 of acme\/emulator \(404\)/);
    github.pullRequest(14, "untested");
    await pull.expectRefusal(
      pull.pull("--pr", "14"),
      /workflow build\.yaml has not run successfully for its branch 'untested'/,
    );
    github.run(103, await archive(old), { expired: true });
    await pull.expectRefusal(pull.pull("--run", "103"), /has expired/);
    github.run(104, []);
    await pull.expectRefusal(pull.pull("--run", "104"), /run 104 of acme\/emulator has no artifact/);
    github.run(105, [{ name: artifact, bytes: await zip({ "else.txt": new Uint8Array(3) }) }]);
    await pull.expectRefusal(quietly(pull, "105"), /contains no emulator-/);
    github.run(106, [{ name: artifact, bytes: disk(MIB, 1) }]);
    await pull.expectRefusal(quietly(pull, "106"), /is not a valid zip archive/);
    github.run(107, [{ name: artifact, bytes: await zip({ [`a/${name}`]: old, [`b/${name}`]: latest }) }]);
    await pull.expectRefusal(quietly(pull, "107"), /contains several files called emulator-/);
    assertEquals(await pull.image(), old); // the old image is still there
  });
  await t.step(
    "an old artifact has no digest, and the size of its files; a broken download is not kept",
    async () => {
      github.withoutDigests = true;
      const [{ bytes }] = await archive(latest);
      const path = "/artifacts/11000";
      github.intercept = (asked) => {
        if (asked.endsWith("/zip")) github.storage.files.set(path, { bytes: bytes.subarray(0, 999), etag: '"a"' });
        return undefined;
      };
      github.run(110, [{ name: artifact, bytes }], { size: 3 * MIB });
      await pull.expectRefusal(quietly(pull, "110"), /is not a valid zip archive/);
      github.intercept = undefined;
      assertCode(await pull.pull("--run", "110"), 0);
      assertEquals(await pull.image(), latest);
    },
  );
});

Deno.test("pull: a file that is not a disk, or that names the user's files, is not put in place", async () => {
  await using pull = await PullHome.make();
  const name = `emulator-${ARCH}.qcow2`;
  const [backed, far, external] = [disk(MIB, 1), disk(MIB, 1), disk(MIB, 1)];
  backed.set([0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 11], 8);
  backed.set(new TextEncoder().encode("/etc/passwd"), 256);
  far.set([0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 11], 8);
  external[79] = 4;
  const cases: [Uint8Array, RegExp][] = [
    [new Uint8Array(MIB), /is not a qcow2 disk [^\n]*: pull another image/],
    ...[backed, far, external].map((bytes): [Uint8Array, RegExp] => [bytes, /refers to other files/]),
  ];
  for (const [bytes, why] of cases) {
    pull.github.release("emulator-dev-latest", [{ name, bytes }]);
    await pull.expectRefusal(pull.pull("-q"), why);
    assertEquals(await Array.fromAsync(Deno.readDir(`${pull.home}/images`)), []);
  }
});

function quietly(pull: PullHome, run: string): Promise<Run> {
  return pull.pull("-q", "--run", run);
}

Deno.test("pull: the token comes from the environment or from gh, and is never shown", async (t) => {
  await using pull = await PullHome.make();
  const { github } = pull;
  github.isPrivate = true;
  github.release("emulator-dev-latest", [{ name: `emulator-${ARCH}.qcow2`, bytes: disk(MIB, 1) }]);
  await pull.expectRefusal(pull.pull(), /there is no release .* or private: .* set GITHUB_ENTERPRISE_TOKEN/);
  await t.step("GITHUB_ENTERPRISE_TOKEN comes before GH_ENTERPRISE_TOKEN", async () => {
    pull.env.GH_ENTERPRISE_TOKEN = TOKEN;
    const run = await pull.pull("--verbose");
    assertCode(run, 0);
    assert(!(run.stdout + run.stderr).includes(TOKEN));
    pull.env.GITHUB_ENTERPRISE_TOKEN = "wrong";
    await pull.expectRefusal(
      pull.pull("--force"),
      /there is no release .* hidden from the token from GITHUB_ENTERPRISE_TOKEN/,
    );
    pull.env.GITHUB_ENTERPRISE_TOKEN = pull.env.GH_ENTERPRISE_TOKEN = "";
  });
  await t.step("GitHub's own token is for no other host", async () => {
    Object.assign(pull.env, { GITHUB_TOKEN: TOKEN, GH_TOKEN: TOKEN });
    github.seen.length = 0;
    await pull.expectRefusal(pull.pull("--force"), /there is no release .* or private: .* set GITHUB_ENTERPRISE_TOKEN/);
    assertEquals(github.seen.map(({ authorization }) => authorization), [null]);
  });
  await t.step("gh provides it", async () => {
    await Deno.mkdir(`${pull.directory}/bin`);
    await Deno.writeTextFile(
      `${pull.directory}/bin/gh`,
      `#!/bin/sh\n[ "$*" = "auth token --hostname 127.0.0.1" ] && echo ${TOKEN}\n`,
    );
    await Deno.chmod(`${pull.directory}/bin/gh`, 0o755);
    assertCode(await pull.pull("--force"), 0);
  });
  await t.step("an interrupt does not wait for gh", async () => {
    const at = `${pull.directory}/gh`;
    await Deno.writeTextFile(`${pull.directory}/bin/gh`, `#!/bin/sh\n: > ${at}-begins\n/bin/sleep 5\n: > ${at}-ends\n`);
    const child = spawnHotboot(pull.arguments("pull", "--force"), { env: pull.env });
    const output = Promise.all([toText(child.stdout), toText(child.stderr)]);
    await until(() => exists(`${at}-begins`), "gh");
    child.kill("SIGINT");
    assertEquals((await child.status).code, 130, (await output).join());
    assert(!await exists(`${at}-ends`));
  });
  await t.step("a token that GitHub refuses", async () => {
    github.intercept = () => Response.json({ message: "Bad credentials" }, { status: 401 });
    pull.env.GITHUB_ENTERPRISE_TOKEN = "expired";
    await pull.expectRefusal(pull.pull("--force"), /does not accept the token from GITHUB_ENTERPRISE_TOKEN \(401\)/);
  });
});

Deno.test("pull: the first start pulls, captures and resumes; a new image gets a new snapshot", async (t) => {
  await using _micro = await GuestHome.make(); // builds the image
  const assets = { disk: "micro-{arch}.qcow2", kernel: "micro-{arch}.kernel", initrd: "micro-{arch}.initrd" };
  await using pull = await PullHome.make(assets);
  pull.env.PATH = Deno.env.get("PATH")!;
  const files = await Promise.all([".qcow2", ".kernel", ".initrd"].map(async (end) => ({
    name: `micro-${ARCH}${end}`,
    bytes: await Deno.readFile(`${CACHE}/images/micro-${ARCH}${end}`),
  })));
  pull.github.release("emulator-dev-latest", files);

  await t.step("start", async () => {
    const run = await pull.run("start");
    assertCode(run, 0);
    assertMatch(run.stderr, /pull micro-.*\.qcow2.*\n.*cold boot .* to capture\n.*\n.*resume snapshot/s);
    assertCode(await pull.run("stop", "--discard"), 0);
    assertEquals(JSON.parse((await pull.run("start", "--json", "--no-fallback")).stdout).origin, "resume");
    assertCode(await pull.run("stop", "--discard"), 0);
  });
  await t.step("pull captures, so that the first start resumes", async () => {
    const [{ name, bytes }, ...others] = files;
    const changed = bytes.slice();
    changed[changed.length - 1] ^= 1; // in the empty end of the disk
    pull.github.release("emulator-dev-latest", [{ name, bytes: changed }, ...others]);
    const run = await pull.run("pull", "--json");
    assertCode(run, 0);
    const { pulled, snapshot } = JSON.parse(run.stdout);
    assert(pulled && snapshot);
    assertEquals(JSON.parse((await pull.run("start", "--json", "--no-fallback")).stdout).snapshot, snapshot);
    assertCode(await pull.run("stop", "--discard"), 0);
    pull.env.EMULATOR_FORCE_CAPTURE = "1";
    const again = JSON.parse((await pull.run("pull", "--json")).stdout);
    assert(!again.pulled && again.snapshot > snapshot, JSON.stringify(again));
    pull.env.EMULATOR_NO_SNAPSHOT = "1"; // this one comes first
    assertEquals(JSON.parse((await pull.run("pull", "--json")).stdout).snapshot, undefined);
  });
});
