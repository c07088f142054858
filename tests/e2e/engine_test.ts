// needs: micro, qemu

import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import type { StartResult } from "../../lib/emulator/start.ts";
import { qemuProgram } from "../../lib/vm/probe.ts";
import { GuestHome } from "./guest_home.ts";
import { assertCode, type Run } from "./program.ts";
import { ARCH, newerQemu, QEMU, qemuEnv } from "./qemu.ts";
import { testUnless } from "./needs.ts";

const MAPPED = ["--engine", "mapped-ram"];

Deno.test("mapped-ram: a guest is captured, compressed and resumed; a bad cache is made again", async (t) => {
  const env = qemuEnv(await newerQemu());
  await using micro = await GuestHome.make({
    change: (profile) =>
      profile.hooks = { beforeCapture: [["sh", "-c", "echo memory >/run/here; echo disk >/data/here"]] },
  });
  const start = async (...args: string[]): Promise<StartResult> =>
    JSON.parse(await micro.succeed("start", ["--json", ...args], { env }));
  const alive = async () => {
    assertEquals(await micro.exec("cat", "/run/here", "/data/here"), "memory\ndisk\n");
    await micro.assertOnTime();
    await micro.succeed("stop", ["--discard"]);
  };
  await micro.succeed("capture", MAPPED, { env });
  const directory = await micro.snapshot();
  const [raw, savevm] = [`${directory}/savevm.raw`, `${directory}/savevm.zst`];
  const names = await Array.fromAsync(Deno.readDir(directory), ({ name }) => name);
  assertEquals(names.sort(), ["disk.qcow2", "manifest.json", "savevm.raw", "savevm.zst"]);
  for (const name of names) assertEquals((await Deno.stat(`${directory}/${name}`)).mode! & 0o777, 0o600, name);

  await t.step("as it is", async () => {
    assertEquals((await start("--no-fallback")).origin, "resume");
    await alive();
  });
  const original = await Deno.readFile(raw);
  const spoil: Record<string, () => Promise<unknown>> = {
    "missing": () => Deno.remove(raw),
    "emptied": () => Deno.truncate(raw, 0),
    "cut": () => Deno.truncate(raw, original.length - 4096),
    "exchanged": () => Deno.writeFile(raw, original.map((byte) => byte ^ 0xff)),
    "older than its source": () => Deno.utime(raw, new Date(0), new Date(0)),
  };
  for (const [title, damage] of Object.entries(spoil)) {
    await t.step(`its cache ${title}`, async () => {
      await damage();
      assertEquals((await start("--no-fallback")).origin, "resume");
      assertEquals(await Deno.readFile(raw), original);
      await alive();
    });
  }
  await t.step("a suspended guest continues", async () => {
    await start("--no-fallback");
    await micro.succeed("stop");
    assertEquals((await start()).origin, "continue");
    await alive();
  });
  await t.step("a damaged source is refused, whatever the cache", async () => {
    const bytes = await Deno.readFile(savevm);
    for (const damaged of [bytes.subarray(0, bytes.length / 2), new Uint8Array(), bytes.map((byte) => byte ^ 0x55)]) {
      await Deno.writeFile(savevm, damaged);
      await Deno.utime(raw, new Date(), new Date());
      const run = await micro.run("start", ["--no-fallback", "--quiet"], { env });
      assertCode(run, 1);
      assertMatch(
        run.stderr,
        /^hotboot: not resumed: snapshot \S+ is damaged: its file 'savevm\.zst' (has|differs) [^\n]*\n$/,
      );
    }
    await Deno.writeFile(savevm, bytes);
  });
  await t.step("a request for the other engine captures again", async () => {
    const run = await micro.run("start", ["--engine", "instant", "--quiet"], { env });
    assertCode(run, 0);
    assertMatch(
      run.stderr,
      /was captured with engine mapped-ram, but instant is wanted; booting instead\n$/,
    );
    assertNotEquals(await micro.snapshot(), directory);
    await alive();
  });
});

const SYSTEM = `/usr/bin/${qemuProgram(ARCH)}`;
const { stdout } = await new Deno.Command(SYSTEM, { args: ["--version"] }).output();
const version = Number(new TextDecoder().decode(stdout).match(/version (\d+)/)![1]);
const hasBoth = version >= 9 ? `this system's QEMU is ${version}, which has both engines` : undefined;

testUnless(
  hasBoth,
  "if this QEMU lacks an engine, a message says so and the other engine is used",
  async () => {
    await using micro = await GuestHome.make();
    const run = await micro.run("start", [...MAPPED, "--quiet"], { env: qemuEnv(SYSTEM) });
    assertCode(run, 0);
    assertMatch(
      run.stderr,
      /^hotboot: warning: mapped-ram needs QEMU 9\.0, and this is [\d.]+: using engine instant instead\n$/,
    );
  },
);

function assertRefused(run: Run, why: RegExp): void {
  assertCode(run, 1);
  assertMatch(run.stderr, why);
  assertMatch(run.stderr, /^hotboot: [^\n]*\n$/);
}

Deno.test("a snapshot of another QEMU is tried if machine and CPU match; otherwise the difference is named", async (t) => {
  await using micro = await GuestHome.make({ captured: true });
  const manifestPath = `${await micro.snapshot()}/manifest.json`;
  const manifest = JSON.parse(await Deno.readTextFile(manifestPath));

  await t.step("another version with the same machine and CPU resumes it", async () => {
    const other = { ...manifest, identity: { ...manifest.identity, "QEMU version": "6.9.9" } };
    await Deno.writeTextFile(manifestPath, JSON.stringify(other));
    assertEquals((await micro.start("--no-fallback")).origin, "resume");
    await micro.succeed("stop", ["--discard"]);
    await Deno.writeTextFile(manifestPath, JSON.stringify(manifest));
  });
  await t.step("a missing machine type is named", async () => {
    const other = { ...manifest, identity: { ...manifest.identity, "machine type": "pc-q35-99.0" } };
    await Deno.writeTextFile(manifestPath, JSON.stringify(other));
    assertRefused(await micro.run("start", ["--no-fallback", "-q"]), /the machine type was pc-q35-99\.0 and is /);
  });
});

const newer = await newerQemu();
const isNewer = QEMU[ARCH] === newer ? "the tests run on the newer QEMU already" : undefined;

testUnless(isNewer, "a newer QEMU replaces an older one's snapshot instead of resuming it", async (t) => {
  const env = qemuEnv(newer);
  await using micro = await GuestHome.make({ captured: true });
  const snapshot = await micro.snapshot();
  await t.step("a newer QEMU offers the machine, but emulates another CPU", async () => {
    assertRefused(
      await micro.run("start", ["--no-fallback", "-q"], { env }),
      /QEMU [\d.]+ emulates another CPU than QEMU [\d.]+ did; 'hotboot capture' makes another; leave out --no-fallback to boot instead\n/,
    );
  });
  await t.step("--no-capture boots only", async () => {
    const run = await micro.run("start", ["--no-capture", "--json", "-q"], { env });
    assertCode(run, 0);
    assertEquals(JSON.parse(run.stdout).origin, "cold boot");
    assertEquals(await micro.snapshot(), snapshot);
    await micro.succeed("stop", ["--discard"]);
  });
  await t.step("otherwise the necessary boot is captured, and the next start resumes", async () => {
    const run = await micro.run("start", ["--json", "-q"], { env });
    assertCode(run, 0);
    assertEquals(JSON.parse(run.stdout).origin, "resume");
    await micro.succeed("stop", ["--discard"]);
    const again = await micro.run("start", ["--json", "-q", "--no-fallback"], { env });
    assertCode(again, 0);
    assertEquals(again.stderr, "");
    await micro.succeed("stop", ["--discard"]);
  });
  await t.step("the older QEMU does not have the newer one's machine", async () => {
    assertRefused(await micro.run("start", ["--no-fallback", "-q"]), /the machine type was \S+-\S+ and is \S+-\S+/);
  });
});
