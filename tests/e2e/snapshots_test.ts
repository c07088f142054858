// needs: micro

import { assert, assertEquals, assertMatch } from "@std/assert";
import { ensureDir } from "@std/fs/ensure-dir";
import { exists } from "@std/fs/exists";
import { openEmulator } from "../../lib/instance/emulator.ts";
import { tryLock } from "../../lib/instance/locks.ts";
import type { PruneResult } from "../../lib/emulator/prune.ts";
import { GuestHome } from "./guest_home.ts";
import { ARCH } from "./qemu.ts";
import { until } from "./pace.ts";
import { assertRefused, idOf, json, list, namesIn, tool } from "./snapshots.ts";

const prune = (home: GuestHome, ...args: string[]): Promise<PruneResult> => json(home, "prune", ...args);

/** A second snapshot beside the first, as if the first one was in use during a new capture. */
async function another(directory: string, id: string): Promise<string> {
  const copy = directory.replace(/[^/]+$/, id);
  await tool(`cp -r --sparse=always '${directory}' '${copy}'`);
  const manifest = JSON.parse(await Deno.readTextFile(`${copy}/manifest.json`));
  await Deno.writeTextFile(`${copy}/manifest.json`, JSON.stringify({ ...manifest, id }));
  return copy;
}

Deno.test("snapshots are listed with their users and faults, and removed if unused", async (t) => {
  {
    await using empty = await GuestHome.make();
    assertEquals(await list(empty), []);
    assertMatch((await empty.run("snapshot ls")).stderr, /there are no snapshots: 'hotboot capture' makes one/);
  }
  await using micro = await GuestHome.started();
  const directory = await micro.snapshot();
  const id = idOf(directory);

  await t.step("a running instance is shown, and keeps its snapshot", async () => {
    const [info, ...more] = await list(micro);
    assertEquals(more, []);
    const { created, bytes, apparentBytes, ...rest } = info;
    assertEquals(rest, {
      id,
      kind: "snapshot",
      profile: "micro",
      arch: ARCH,
      engine: "instant",
      state: "usable",
      usedBy: [{ instance: "micro", state: "running" }],
    });
    assertEquals(created!.replaceAll(/[-:]|\.\d+/g, ""), id.replace(/-.*/, ""));
    assert(apparentBytes > 256 << 20 && bytes > 10 << 20 && bytes < apparentBytes, `${bytes} of ${apparentBytes}`);
    const table = await micro.succeed("snapshot ls");
    assertMatch(table, new RegExp(`^id .*\\n${id}  micro ${ARCH}  instant .* micro \\(running\\)  yes\\n$`));
    assertRefused(await micro.run("snapshot rm", [id]), /stays: instance 'micro' \(running\) uses it/);
    assertRefused(await micro.run("snapshot rm", ["--all"]), /'hotboot reset --instance micro' drops that$/);
  });
  await t.step("a suspended or shut-down instance keeps it, too", async () => {
    await micro.succeed("stop");
    assertEquals((await list(micro))[0].usedBy, [{ instance: "micro", state: "suspended" }]);
    assertRefused(await micro.run("snapshot rm", [id.slice(0, 8)]), /instance 'micro' \(suspended\) uses it/);
    assertEquals((await micro.start("--no-fallback")).origin, "continue");
    await micro.succeed("stop", ["--shutdown"]);
    assertEquals((await list(micro))[0].usedBy, [{ instance: "micro", state: "shut down" }]);
    await micro.succeed("stop", ["--discard"]);
  });
  await t.step("a crashed instance keeps it until its disk is dropped", async () => {
    await micro.start("--no-fallback");
    const { pid } = await micro.record();
    Deno.kill(pid!, "SIGKILL");
    await until(async () => (await micro.qemuProcesses()).length === 0, "QEMU's end");
    assertEquals((await list(micro))[0].usedBy, [{ instance: "micro", state: "crashed" }]);
    assertRefused(await micro.run("snapshot rm", [id]), /instance 'micro' \(crashed\) uses it/);
    await micro.succeed("stop", ["--discard"]);
    assertEquals((await list(micro))[0].usedBy, []);
  });
  await t.step(
    "the newest comes first; differences, damage and a missing QEMU or image are named",
    async () => {
      const older = "20240102T030405Z-0a1b";
      await another(directory, older);
      assertEquals((await list(micro)).map(({ id, state }) => [id, state]), [[id, "usable"], [older, "usable"]]);
      await Deno.truncate(`${directory}/../${older}/ram`, 8192);
      assertMatch((await list(micro))[1].why!, /^its file 'ram' has 8192 bytes instead of/);
      await Deno.writeTextFile(`${directory}/../${older}/manifest.json`, "{");
      const [, damaged] = await list(micro);
      assertEquals([damaged.state, damaged.why, damaged.engine], [
        "damaged",
        "its manifest.json is damaged",
        undefined,
      ]);
      assertMatch(await micro.succeed("snapshot ls"), /no, damaged: its manifest\.json is damaged\n/);
      await micro.writeProfile({ memory: 320 });
      assertEquals((await list(micro))[0].why, "the memory was 256 MiB and is 320 MiB");
      await micro.writeProfile();
      const noQemu = await micro.run("snapshot ls", ["--json"], { env: { PATH: "/nowhere" } });
      assertEquals(JSON.parse(noQemu.stdout)[0].state, "unknown");
      const images = `${micro.home}/images`;
      await Deno.rename(images, `${images}.aside`);
      const [noImage] = await list(micro);
      assertEquals(noImage.state, "unknown");
      assertMatch(noImage.why!, /^its image is not here \('micro' .*SHA-256 [0-9a-f]{64}\)/);
      assertEquals((await prune(micro, "--dry-run")).removed.map(({ path }) => idOf(path)), [older]);
      assertEquals(await namesIn(images), []); // it was not built either
      await Deno.remove(images, { recursive: true }).catch(() => {});
      await Deno.rename(`${images}.aside`, images);
    },
  );
  await t.step("--all lists other profiles' snapshots, and prune leaves them alone", async () => {
    const other = `${micro.home}/snapshots/other-${ARCH}`;
    await Deno.mkdir(other);
    await tool(`cp -r --sparse=always '${directory}' '${other}/'`);
    assertEquals((await list(micro)).length, 2);
    const all = await list(micro, "--all");
    assertEquals(all.map(({ profile }) => profile), ["micro", "micro", "other"]);
    assertMatch(all[2].why!, /another profile/);
    assertEquals((await prune(micro)).removed.map(({ path }) => idOf(path)), ["20240102T030405Z-0a1b"]);
    assertEquals((await list(micro, "--all")).map(({ profile }) => profile), ["micro", "other"]);
  });
  await t.step("a prefix of its id is enough to remove it", async () => {
    assertRefused(await micro.run("snapshot rm", ["1999"]), /'micro' has no snapshot '1999': 'hotboot snapshot ls'/);
    assertRefused(await micro.run("snapshot rm"), /needs either IDs or --all/, 2);
    assertRefused(await micro.run("snapshot rm", ["--all", id]), /needs either IDs or --all/, 2);
    assertMatch(await micro.succeed("snapshot rm", [id.slice(0, 15)]), new RegExp(`^removed ${id}: \\d+ MB\\n$`));
    assertEquals(await namesIn(`${micro.home}/snapshots/micro-${ARCH}`), []);
    assertRefused(await micro.run("snapshot verify"), /'micro' has no snapshot: 'hotboot start' or/);
    assertRefused(await micro.run("snapshot export", ["x"]), /'micro' has no snapshot/);
  });
});

Deno.test("prune removes stale files and what crashes have left, and nothing that is in use", async (t) => {
  await using micro = await GuestHome.started();
  const directory = await micro.snapshot();
  const id = idOf(directory);
  const emulator = await openEmulator({ home: micro.home, profile: micro.profile });
  const root = `${micro.home}/snapshots/micro-${ARCH}`;
  const uuid = crypto.randomUUID();
  const [capturing, otherCapturing] = [`${root}/.tmp-${uuid}`, `${micro.home}/snapshots/other-arm64/.tmp-${uuid}`];
  const image = `${micro.home}/images/.tmp-micro-${ARCH}-${uuid}`;
  const record = `${micro.home}/images/micro-${ARCH}.json.12345.tmp`;
  const young = `${micro.home}/images/micro-${ARCH}.json.12346.tmp`;
  const probe = `${micro.home}/cache/qemu-${ARCH}.json.${uuid}`;
  const pulling = `${micro.home}/images/.pull-micro-${ARCH}`;
  for (const path of [capturing, otherCapturing, image, pulling]) {
    await ensureDir(path);
    await Deno.writeFile(`${path}/ram`, new Uint8Array(1 << 20).fill(1));
  }
  for (const path of [record, young, probe]) await Deno.writeTextFile(path, "{");
  for (const path of [record, probe]) await Deno.utime(path, 0, 0);
  const older = await another(directory, "20240102T030405Z-0a1b");
  const logs = `${micro.home}/instances/old`;
  await Deno.mkdir(logs);
  await Deno.writeTextFile(`${logs}/serial.log`, "");
  const expected = [older, capturing, otherCapturing, image, record, probe].sort();

  await t.step("--dry-run lists them, and leaves them", async () => {
    const { removed, bytes } = await prune(micro, "--dry-run");
    assertEquals(removed.map(({ path }) => path).sort(), expected);
    assert(bytes > 13 << 20);
    assertMatch(await micro.succeed("snapshot prune", ["-n"]), /would remove .*\nwould free \d+ MB\n$/);
    for (const path of expected) await Deno.lstat(path);
  });
  await t.step("files stay while another command captures or works on the image", async () => {
    using _captures = await tryLock(emulator.home, `snapshots-micro-${ARCH}`);
    using _builds = await tryLock(emulator.home, `image-micro-${ARCH}`);
    const run = await micro.run("snapshot prune", ["--json", "--dry-run"]);
    assertMatch(run.stderr, /another hotboot works there/);
    const paths = JSON.parse(run.stdout).removed.map(({ path }: { path: string }) => path).sort();
    assertEquals(paths, [older, otherCapturing, probe].sort());
  });
  await t.step("afterwards they go, and the rest stays", async () => {
    assertMatch(await micro.succeed("snapshot prune"), /removed .*is older than .*\n(removed .*\n)*freed \d+ MB\n$/);
    for (const path of expected) assert(!await exists(path), path);
    for (const path of [young, `${pulling}/ram`, `${logs}/serial.log`, directory]) await Deno.lstat(path);
    assertEquals(await micro.succeed("snapshot prune"), "freed 0 B\n");
    assertEquals((await list(micro)).map(({ id }) => id), [id]);
  });
  await t.step("a snapshot in use stays, even if it is unusable", async () => {
    await micro.succeed("stop");
    await micro.writeProfile({ memory: 320 });
    const run = await micro.run("snapshot prune");
    assertEquals(run.stdout, "freed 0 B\n");
    assertMatch(run.stderr, new RegExp(`snapshot ${id} stays: instance 'micro' \\(suspended\\) uses it`));
    await micro.succeed("stop", ["--discard"]);
    assertMatch(await micro.succeed("snapshot prune"), /cannot be resumed here: the memory was 256 MiB and is 320 MiB/);
    assertEquals(await list(micro), []);
  });
});

Deno.test("verify finds any flipped bit, and names the file", async (t) => {
  await using micro = await GuestHome.make({ captured: true });
  const directory = await micro.snapshot();
  const first = await json(micro, "verify");
  assertEquals([first.snapshot, first.recorded], [idOf(directory), true]);
  const { recorded, files } = await json(micro, "verify", idOf(directory).slice(0, 10));
  assertEquals([recorded, files], [false, first.files]);
  const sums = await tool(`cd '${directory}' && sha256sum ${Object.keys(files).join(" ")}`);
  assertEquals(
    sums,
    Object.entries(first.files).map(([name, file]) => (
      `${(file as { sha256: string }).sha256}  ${name}\n`
    )).join(""),
  );
  assertMatch(await micro.succeed("snapshot verify"), /: sound \(ram, device\.state, disk\.qcow2; 257 MB\)\n$/);

  /** Flips one bit of a page that was not sampled. Two calls restore it. */
  const flip = async () => {
    const { files } = JSON.parse(await Deno.readTextFile(`${directory}/manifest.json`));
    const page = Array.from({ length: 65536 }, (_, at) => at).find((at) =>
      at > 30000 && !files.ram.pages.includes(at)
    )!;
    using file = await Deno.open(`${directory}/ram`, { read: true, write: true });
    const byte = new Uint8Array(1);
    await file.seek(page * 4096 + 77, Deno.SeekMode.Start);
    await file.read(byte);
    byte[0] ^= 1;
    await file.seek(page * 4096 + 77, Deno.SeekMode.Start);
    await file.write(byte);
  };
  await t.step("it finds a flipped bit that nothing else notices", async () => {
    await flip();
    assertRefused(
      await micro.run("snapshot verify"),
      /is damaged: its file 'ram' differs from what was captured; 'hotboot snapshot rm \S+' removes it$/,
    );
    const file = `${micro.directory}/export`;
    assertRefused(
      await micro.run("snapshot export", [file]),
      /was not exported: its file 'ram' differs from what was captured/,
    );
    assertEquals((await namesIn(micro.directory)).filter((name) => name.startsWith("export")), []);
    await flip();
    assertEquals((await json(micro, "verify")).recorded, false);
  });
  await t.step("it finds truncated and missing files", async () => {
    const disk = await Deno.readFile(`${directory}/disk.qcow2`);
    await Deno.truncate(`${directory}/disk.qcow2`, 100);
    assertRefused(await micro.run("snapshot verify"), /is damaged: its file 'disk\.qcow2' has 100 bytes instead of/);
    await Deno.writeFile(`${directory}/disk.qcow2`, disk);
    await Deno.remove(`${directory}/device.state`);
    assertRefused(
      await micro.run("snapshot verify"),
      /is damaged: its file 'device\.state' is missing; 'hotboot snapshot rm \S+' removes it$/,
    );
    await Deno.remove(`${directory}/manifest.json`);
    assertRefused(
      await micro.run("snapshot verify"),
      /cannot be used: its manifest\.json is missing; 'hotboot snapshot rm \S+' removes it$/,
    );
  });
});
