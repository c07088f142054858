// needs: micro, qemu

import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { ensureDir } from "@std/fs/ensure-dir";
import { toText } from "@std/streams/to-text";
import { tarEnd, tarHeader } from "../../lib/snapshot/tar.ts";
import { GuestHome, type GuestOptions } from "./guest_home.ts";
import { assertCode } from "./program.ts";
import { ARCH, newerQemu, qemuEnv } from "./qemu.ts";
import { until } from "./pace.ts";
import { assertRefused, idOf, json, list, namesIn, tool } from "./snapshots.ts";

Deno.test("an exported snapshot resumes in another home, with its memory and its disk", async (t) => {
  // The snapshot's memory and disk both identify its boot.
  const mark = ["sh", "-c", "cat /proc/sys/kernel/random/uuid | tee /run/here >/data/here; sync"];
  const make = () => GuestHome.make({ change: (profile) => profile.hooks = { beforeCapture: [mark] } });
  await using micro = await make();
  await micro.succeed("capture");
  const id = idOf(await micro.snapshot());
  const file = `${micro.directory}/micro.tar.zst`;
  await t.step("it is one compact, private file that common tools can read", async () => {
    const { snapshot, bytes } = await json(micro, "export", file);
    const { size, mode } = await Deno.stat(file);
    assertEquals([snapshot, bytes, mode! & 0o777], [id, size, 0o600]);
    const [{ bytes: onDisk }] = await list(micro);
    assert(size < onDisk, `${size} of ${onDisk}`);
    assertEquals(await tool(`zstd -dc '${file}' | tar -t`), "manifest.json\nram\ndevice.state\ndisk.qcow2\n");
    await tool(`mkdir '${micro.directory}/x' && zstd -dc '${file}' | tar -x -C '${micro.directory}/x'`);
    for (const name of ["ram", "device.state", "disk.qcow2"]) {
      await tool(`cmp '${micro.directory}/x/${name}' '${await micro.snapshot()}/${name}'`);
    }
    const again = await micro.run("snapshot export", [id.slice(0, 12), "-"]);
    assertCode(again, 0);
    assertEquals((await namesIn(micro.directory)).filter((name) => name.endsWith(".tmp")), []);
  });
  await t.step("existing files are not replaced", async () => {
    assertRefused(await micro.run("snapshot export", [micro.directory]), /is not a file, so it is not replaced/);
    assertRefused(await micro.run("snapshot export", ["/dev/null"]), /is not a file, so it is not replaced/);
    assertRefused(await micro.run("snapshot export", [`${file}/x`]), /cannot be written/);
    assertRefused(await micro.run("snapshot export"), /snapshot export takes \[ID\] FILE/, 2);
  });
  await micro.start("--no-fallback");
  const marks = await micro.exec("cat", "/run/here", "/data/here");
  assertMatch(marks, /^([0-9a-f-]{36})\n\1\n$/);
  await micro.succeed("stop", ["--discard"]);

  const resumes = async (home: GuestHome, snapshot: string) => {
    const started = await home.start("--no-fallback");
    assertEquals([started.origin, started.snapshot], ["resume", snapshot]);
    assertEquals(await home.exec("cat", "/run/here", "/data/here"), marks);
    await home.succeed("stop", ["--discard"]);
  };
  await t.step("the imported snapshot resumes, and takes no more room than the original", async (t) => {
    await using other = await make();
    assertEquals(await json(other, "import", file), { snapshot: id, exported: id });
    const [info, ...more] = await list(other);
    assertEquals([info.id, info.state, more.length], [id, "usable", 0]);
    assert(info.bytes <= (await list(micro))[0].bytes * 1.05, `${info.bytes}`);
    assertEquals((await json(other, "verify")).recorded, false);
    await resumes(other, id);
    await t.step("a second import is another snapshot, and the newest", async () => {
      const { snapshot, exported } = await json(other, "import", file);
      assertEquals([exported, (await list(other))[0].id], [id, snapshot]);
      assertNotEquals(snapshot, id);
      await resumes(other, snapshot);
    });
    await t.step("import reads a pipe, and an archive repacked by tar", async () => {
      await other.succeed("snapshot rm", ["--all"]);
      const packed = await tool(
        `cd '${micro.directory}/x' && tar -c manifest.json disk.qcow2 ram device.state | zstd -3 --long=24 -o ../packed 2>&1`,
      );
      const stdin = await Deno.readFile(`${micro.directory}/packed`);
      assertCode(await other.run("snapshot import", ["-"], { stdin }), 0);
      await resumes(other, id);
      assertEquals(packed.includes("error"), false);
    });
  });
  await t.step("import works behind a link in the home's path, where '..' leads elsewhere", async () => {
    await using other = await make();
    await ensureDir(`${other.directory}/far/away`);
    await Deno.symlink(`${other.directory}/far/away`, `${other.home}/snapshots`);
    await other.succeed("snapshot import", [file]);
    await json(other, "verify");
    await resumes(other, id);
  });
  await t.step("it is refused without its image or on another machine; --force keeps it", async () => {
    await using other = await make();
    const root = `${other.home}/snapshots`;
    await other.writeProfile({ memory: 320 });
    const run = await other.run("snapshot import", [file]);
    assertRefused(
      run,
      /was not imported: .*cannot be resumed here: the memory was 256 MiB and is 320 MiB; --force keeps/,
    );
    assertEquals(await namesIn(root), []);
    const forced = await other.run("snapshot import", ["--force", file]);
    assertCode(forced, 0);
    assertMatch(forced.stderr, /warning: it cannot be resumed here: the memory was 256 MiB/);
    assertEquals((await list(other))[0].state, "unusable");
    await other.writeProfile();
    await resumes(other, id);
    await other.succeed("snapshot rm", [id]);
    await Deno.remove(`${other.home}/images`, { recursive: true });
    const noImage = await other.run("snapshot import", [file]);
    assertRefused(
      noImage,
      /its image is not here \('micro' for \w+, SHA-256 [0-9a-f]{64}\): 'hotboot build'/,
    );
    assertEquals(await namesIn(`${root}/micro-${ARCH}`), []);
  });
  await t.step("a bad, damaged or truncated archive is refused, and leaves nothing", async () => {
    await using other = await make();
    const whole = await Deno.readFile(file);
    const bad = `${micro.directory}/bad`;
    const refuses = async (bytes: Uint8Array, why: RegExp) => {
      await Deno.writeFile(bad, bytes);
      assertRefused(await other.run("snapshot import", [bad]), why);
      assertEquals(await namesIn(`${other.home}/snapshots/micro-${ARCH}`), []);
    };
    await refuses(new Uint8Array(0), /bad was not imported: there is no zstd data/);
    await refuses(new TextEncoder().encode("no archive"), /bad was not imported: /);
    await refuses(whole.subarray(0, whole.length / 2), /bad was not imported: /);
    await refuses(whole.subarray(0, whole.length - 1), /bad was not imported: /);
    await refuses(new Uint8Array([...whole, 0]), /bad was not imported: /);
    const flipped = whole.slice();
    flipped[whole.length >> 1] ^= 1;
    await refuses(flipped, /bad was not imported: /);
    assertRefused(await other.run("snapshot import", ["/no/where"]), /\/no\/where cannot be read/);
    assertRefused(await other.run("snapshot import", [micro.directory]), /is a directory/);
    assertRefused(await other.run("snapshot import"), /takes a FILE/, 2);
  });
  await t.step("an interrupt leaves nothing", async () => {
    await using other = await make();
    const child = other.spawnWith({ openStdin: true }, "snapshot import", "-");
    const writer = child.stdin.getWriter();
    await writer.write((await Deno.readFile(file)).subarray(0, 5 << 20));
    const root = `${other.home}/snapshots/micro-${ARCH}`;
    await until(async () => (await namesIn(root)).length > 0, "the import's files");
    child.kill("SIGINT");
    const outputs = [child.stdout, child.stderr].map(toText);
    const [{ code }] = await Promise.all([child.status, ...outputs]);
    writer.close().catch(() => {});
    assertEquals([code, await namesIn(root)], [130, []]);
  });
});

Deno.test("a mapped-ram snapshot is exported without its cache, and resumes elsewhere", async () => {
  const env = qemuEnv(await newerQemu());
  const change: GuestOptions["change"] = (profile) => profile.engine = "mapped-ram";
  await using micro = await GuestHome.make({ change });
  await using other = await GuestHome.make({ change });
  const file = `${micro.directory}/mapped`;
  await micro.succeed("capture", [], { env });
  await micro.succeed("snapshot verify", [], { env });
  await micro.succeed("snapshot export", [file], { env });
  assertEquals(await tool(`zstd -dc '${file}' | tar -t`), "manifest.json\nsavevm.zst\ndisk.qcow2\n");
  assertRefused(await other.run("snapshot import", [file]), /cannot be resumed here: mapped-ram needs QEMU 9\.0/);
  await other.succeed("snapshot import", [file], { env });
  assertEquals(JSON.parse(await other.succeed("snapshot ls", ["--json"], { env }))[0].state, "usable");
  const started = JSON.parse(await other.succeed("start", ["--no-fallback", "--json"], { env }));
  assertEquals([started.origin, started.snapshot], ["resume", idOf(await micro.snapshot())]);
  await other.succeed("snapshot verify", [], { env });
});

Deno.test("tar reads the header of a file larger than 8 GiB", async () => {
  const directory = await Deno.makeTempDir({ prefix: "hotboot-test-" });
  try {
    const size = 9 * 2 ** 30;
    const header = tarHeader({ name: "ram", size }, 0);
    await Deno.writeFile(`${directory}/tar`, header);
    await Deno.truncate(`${directory}/tar`, header.length + size + tarEnd(header.length + size).length);
    assertMatch(await tool(`tar -tvf '${directory}/tar'`), new RegExp(`^-rw-{7} .* ${size} .* ram\n$`));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
