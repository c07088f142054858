import { assert, assertEquals, assertMatch, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import { ensureDir } from "@std/fs/ensure-dir";
import { dirname } from "@std/path/dirname";
import { toFileUrl } from "@std/path/to-file-url";
import { findBase } from "../../lib/image/base_image.ts";
import { type Emulator, openEmulator, type Reporter } from "../../lib/instance/emulator.ts";
import { encodeHex } from "@std/encoding/hex";
import { sha256File, sha512File } from "../../lib/base/hash.ts";
import { cloudInitDigest } from "../../lib/image/provision.ts";
import { LineTail, Provisioning } from "../../lib/image/provisioning.ts";
import { seedFiles } from "../../lib/image/seed_disk.ts";
import { HotbootError } from "../../lib/base/error.ts";
import type { BaseImage, CloudInit, Profile } from "../../lib/profile/profile.ts";
import { withDirectory } from "./temporary.ts";

/** An emulator whose profile and home are in `directory`. */
async function emulatorIn(directory: string, change: (profile: Profile) => void = () => {}): Promise<Emulator> {
  const demo = await openEmulator({ home: `${directory}/home`, arch: "amd64" });
  const profile = structuredClone(demo.profile);
  change(profile);
  return { ...demo, profile, profileUrl: toFileUrl(`${directory}/profile.json`) };
}

async function write(path: string, text: string, mode = 0o644): Promise<string> {
  await ensureDir(dirname(path));
  await Deno.writeTextFile(path, text);
  await Deno.chmod(path, mode);
  return path;
}

Deno.test("cloud-init: the recipe's digest changes if and only if one of its inputs changes", async () => {
  await withDirectory(async (directory) => {
    const recipe: CloudInit = {
      base: { file: "base-{arch}.qcow2" },
      disk: 1024,
      userData: "user-data",
      bundle: { label: "BUNDLE", paths: ["files"] },
    };
    await write(`${directory}/base-amd64.qcow2`, "base");
    await write(`${directory}/base-other.qcow2`, "other base");
    await write(`${directory}/user-data`, "#cloud-config\n");
    const script = await write(`${directory}/files/a/script`, "exit\n");
    const digest = async (changes: Partial<CloudInit> = {}, change?: (profile: Profile) => void) =>
      await cloudInitDigest(await emulatorIn(directory, change), { ...recipe, ...changes });
    const first = await digest();
    assertMatch(first, /^[0-9a-f]{64}$/);
    await Deno.utime(script, 1, 1);
    await Deno.chmod(script, 0o600);
    assertEquals(await digest({ timeout: 5, silence: 7 }, (profile) => profile.machine.memory = 99), first);

    const others = [
      await digest({ disk: 1025 }),
      await digest({ base: { file: "base-other.qcow2" } }),
      await digest({ bundle: { ...recipe.bundle!, label: "OTHER" } }),
      await digest({ bundle: { ...recipe.bundle!, paths: ["files/a"] } }),
      await digest({ bundle: undefined }),
      await digest({}, (profile) => profile.secrets![0].placeholder = "another"),
    ];
    await Deno.chmod(script, 0o755);
    others.push(await digest());
    await write(script, "exit 1\n");
    others.push(await digest());
    await write(`${directory}/user-data`, "#cloud-config\n\n");
    others.push(await digest());
    assertEquals(new Set([first, ...others]).size, others.length + 1);

    await assertRejects(() => digest({ userData: "none" }), HotbootError, "names none, which does not exist");
    await assertRejects(() => digest({ base: { file: "x-{arch}" } }), HotbootError, `${directory}/x-amd64: put it`);
  });
});

Deno.test("base image: a script makes it once, and again after a change, which replaces the old one", async () => {
  await withDirectory(async (directory) => {
    const emulator = await emulatorIn(directory);
    const base: BaseImage = { script: "make.sh", inputs: ["make.sh"] };
    const obtain = async () => await (await findBase(emulator, base)).obtain();
    const cached = async () => await Array.fromAsync(Deno.readDir(`${directory}/home/cache`), ({ name }) => name);
    const script = (text: string) => write(`${directory}/make.sh`, `echo run >>"$(dirname "$0")/runs"\n${text}\n`);
    const runs = async () => (await Deno.readTextFile(`${directory}/runs`)).length / 4;

    await script(`echo "$2" >"$1/disk.qcow2"`);
    const first = await obtain();
    assertEquals(await Deno.readTextFile(first), "amd64\n");
    assertEquals((await Deno.stat(first)).mode! & 0o777, 0o600);
    assertEquals([await obtain(), await runs()], [first, 1]);

    await script("echo the reason >&2; exit 3");
    await assertRejects(obtain, HotbootError, "(exit code 3): the reason");
    await script("exit 0");
    await assertRejects(obtain, HotbootError, "make.sh left no disk.qcow2");
    await script(`echo second >"$1/disk.qcow2"`);
    const second = await obtain();
    assertNotEquals(second, first);
    assertEquals([await Deno.readTextFile(second), await runs()], ["second\n", 4]);
    assertEquals(await cached(), [second.split("/").at(-1)!]);
  });
});

Deno.test("base image: a download is checked against its digest, and happens once", async () => {
  await withDirectory(async (directory) => {
    let requests = 0;
    await using server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, (request) => {
      requests++;
      assertEquals(new URL(request.url).pathname, "/base-amd64.qcow2");
      return new Response("the base\n");
    });
    const url = `http://127.0.0.1:${server.addr.port}/base-{arch}.qcow2`;
    const amd64 = await sha256File(await write(`${directory}/same`, "the base\n"));
    const emulator = await emulatorIn(directory);
    const obtain = async (base: BaseImage) => await (await findBase(emulator, base)).obtain();
    const path = await obtain({ url, sha256: { amd64 } });
    assertEquals(await Deno.readTextFile(path), "the base\n");
    const before = requests;
    assertEquals([await obtain({ url, sha256: { amd64 } }), requests], [path, before]);
    await assertRejects(
      () => obtain({ url, sha256: { amd64: "0".repeat(64) } }),
      HotbootError,
      `instead of ${"0".repeat(64)}`,
    );
    const long = await sha512File(`${directory}/same`);
    const digest = await crypto.subtle.digest("SHA-512", new TextEncoder().encode("the base\n"));
    assertEquals(long, encodeHex(digest));
    const other = await obtain({ url, sha512: { amd64: long } });
    assertNotEquals(other, path);
    assertEquals(await Deno.readTextFile(other), "the base\n");
    const once = requests;
    assertEquals([await obtain({ url, sha512: { amd64: long } }), requests], [other, once]);
    await assertRejects(
      () => obtain({ url, sha512: { amd64: "0".repeat(128) } }),
      HotbootError,
      `its SHA-512 is ${long} instead of ${"0".repeat(128)}: try again`,
    );
    const left = await Array.fromAsync(Deno.readDir(emulator.home.cache), ({ name }) => name);
    assertEquals(left.filter((name) => name.includes(".part")), []);
    await assertRejects(
      () => obtain({ url, sha256: { arm64: amd64 } }),
      HotbootError,
      "no base image for amd64: type --arch arm64",
    );
  });
});

Deno.test("seed disk: cloud-init's files, and the placeholders", () => {
  const seed = { instanceId: "one", hostname: "demo", userData: "#cloud-config\n", secrets: [] };
  const text = (files: ReturnType<typeof seedFiles>) =>
    Object.fromEntries(
      files.map((file) => [file.path, new TextDecoder().decode((file as { content: Uint8Array }).content)]),
    );
  const plain = text(seedFiles(seed));
  assertEquals(Object.keys(plain), ["meta-data", "user-data", "vendor-data"]);
  assertEquals(plain["meta-data"], "instance-id: one\nlocal-hostname: demo\n");
  assertEquals(plain["user-data"], "#cloud-config\n");
  assert(plain["vendor-data"].startsWith("#cloud-boothook\n#!/bin/sh\n"));
  const secrets = [{ name: "A", placeholder: "00" }, { name: "B", placeholder: "11" }];
  assertEquals(text(seedFiles({ ...seed, secrets }))["placeholders.env"], "A=00\nB=11\n");
  for (const userData of ["#!/bin/sh\n", "## template: jinja\n", "Content-Type: multipart/mixed\n"]) {
    seedFiles({ ...seed, userData });
  }
  for (const userData of ["", "runcmd: []\n", "\n#cloud-config\n", "# cloud-config\n"]) {
    assertThrows(() => seedFiles({ ...seed, userData }), HotbootError, "does not begin with");
  }
});

Deno.test("seed disk: the reporter is valid shell", async () => {
  const [, , vendor] = seedFiles({ instanceId: "", hostname: "", userData: "#!", secrets: [] });
  const child = new Deno.Command("sh", { args: ["-n"], stdin: "piped", stderr: "piped" }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write((vendor as { content: Uint8Array }).content);
  await writer.close();
  const { success, stderr } = await child.output();
  assert(success, new TextDecoder().decode(stderr));
});

/** Collects the messages in a list. */
function listener(): { told: string[]; report: Reporter } {
  const told: string[] = [];
  return {
    told,
    report: { step: (text) => told.push(`step ${text}`), detail() {}, warn: (text) => told.push(text), progress() {} },
  };
}

Deno.test("provisioning: reports steps, signs of life and the end", () => {
  const { told, report } = listener();
  const limits = { timeoutMs: 100_000, silenceMs: 20_000 };
  const guest = new Provisioning(report, limits, 0);
  guest.hearConsole("Linux version 6.1", 1000);
  guest.hearProgress("step install postgresql", 2000);
  guest.hearProgress("output step make the database", 3000);
  guest.hearProgress("output", 3000);
  guest.hearProgress("alive", 20_000);
  guest.check(32_999);
  assertEquals(told, ["step install postgresql", "step make the database"]);
  assertEquals(guest.lastLines, ["Linux version 6.1"]);
  guest.hearProgress("output creating it ... ok", 32_999);
  guest.check(33_000);
  guest.check(33_001); // told once
  assertEquals(told.slice(2), ["step cloud-init has been working for 33 s; last: creating it ... ok"]);
  assertEquals(guest.lastLines, ["creating it ... ok"]);
  assertThrows(() => guest.check(53_000), HotbootError, "it showed no sign of life for 20 s");
  guest.hearConsole("still there", 53_000);
  guest.check(53_000);
  guest.hearProgress("alive", 100_000);
  assertThrows(() => guest.check(100_001), HotbootError, "it was not done within 100 s");
  assertThrows(() => guest.hearProgress("failed no room on the disk", 3), HotbootError, "no room on the disk");
  assertThrows(() => guest.hearProgress("failed", 3), HotbootError, "it gave no reason");
  for (const line of ["", "done?", "finished"]) guest.hearProgress(line, 4);
  assertEquals(guest.isDone, false);
  guest.hearProgress("done", 4);
  assertEquals(guest.isDone, true);
});

Deno.test("provisioning: keeps only the last lines", () => {
  const guest = new Provisioning(listener().report, { timeoutMs: 1, silenceMs: 1 }, 0);
  for (let line = 0; line < 1000; line++) guest.hearProgress(`output ${line}`, 0);
  assertEquals(guest.lastLines, Array.from({ length: 20 }, (_, index) => String(980 + index)));
});

Deno.test("tail: lines arrive in pieces, without terminal control characters", async () => {
  await withDirectory(async (directory) => {
    const path = `${directory}/log`;
    const tail = new LineTail(path);
    assertEquals(await tail.lines(), []);
    const append = (bytes: Uint8Array) => Deno.writeFile(path, bytes, { append: true, create: true });
    const bytes = new TextEncoder().encode("one\r\n\x1b[0;32mgrün\x1b[0m\n\n\x00three");
    const lines: string[] = [];
    for (const byte of bytes) {
      await append(new Uint8Array([byte]));
      lines.push(...await tail.lines());
    }
    assertEquals(lines, ["one", "grün"]);
    await append(new TextEncoder().encode(" and four\n"));
    assertEquals(await tail.lines(), ["three and four"]);
    assertEquals(await tail.lines(), []);
  });
});
