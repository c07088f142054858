// needs: micro

/** Checkpoints travel: exported from one home, whole or since another, and imported into another one. */

import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { exists } from "@std/fs/exists";
import { toText } from "@std/streams/to-text";
import type { GuestHome } from "./guest_home.ts";
import { ARCH } from "./qemu.ts";
import { until } from "./pace.ts";
import { ROTATE, secretMicro } from "./secret_micro.ts";
import { assertRefused, idOf, json, list, namesIn, tool } from "./snapshots.ts";

const KEY = `micro-${ARCH}`;

const layersOf = async (home: GuestHome) =>
  (await namesIn(`${home.home}/instances`)).filter((name) => name.startsWith(".layer-"));

/** Nothing of an import that failed. */
async function assertEmpty(home: GuestHome): Promise<void> {
  assertEquals([await namesIn(`${home.home}/checkpoints/${KEY}`), await layersOf(home)], [[], []]);
}

const shell = async (home: GuestHome, script: string) => (await home.exec("sh", "-c", script)).trim();
const SEEN = "cat /proc/sys/kernel/random/boot_id /run/moment /data/moment /data/first";
const tokenOf = async (home: GuestHome) => (await (await fetch(`http://127.0.0.1:${home.port}/token`)).text()).trim();

Deno.test("a checkpoint goes on in another home, with its memory, its disks, and new secrets", async (t) => {
  await using micro = await secretMicro(ROTATE);
  const path = (name: string) => `${micro.directory}/${name}`;
  await micro.start("--no-fallback");
  const snapshot = idOf(await micro.snapshot());
  await shell(micro, "echo 1 >/data/first; echo one >/data/moment; sync; echo one >/run/moment");
  const seenOne = await shell(micro, SEEN); // the kernel makes a boot's id when it is first asked for
  const one: string = (await json(micro, "save", "one")).id;
  await shell(micro, "echo two >/data/moment; sync; echo two >/run/moment");
  const two: string = (await json(micro, "save", "two")).id;
  const seenTwo = await shell(micro, SEEN);
  const token = await tokenOf(micro);
  await micro.succeed("stop");

  /** Starts it there, and gives what it sees; then drops it. */
  const resumed = async (home: GuestHome, name: string, ...options: string[]) => {
    assertEquals((await home.start("--from", name, "--no-fallback", ...options)).origin, "resume");
    const seen = [await shell(home, SEEN), await tokenOf(home)];
    await home.succeed("stop", ["--discard"]);
    return seen;
  };

  await t.step("the whole is one file, whose disks do not say where they were", async () => {
    const { snapshot, bytes } = await json(micro, "export", "two", "-o", path("two"));
    const { size, mode } = await Deno.stat(path("two"));
    assertEquals([snapshot, bytes, mode! & 0o777], [two, size, 0o600]);
    assertEquals(
      await tool(`zstd -dc '${path("two")}' | tar -t`),
      "manifest.json\nram\ndevice.state\ndisk.qcow2\ndisk.1.qcow2\ndisk.2.qcow2\ndisk.3.qcow2\n",
    );
    await tool(`mkdir '${path("x")}' && zstd -dc '${path("two")}' | tar -x -C '${path("x")}'`);
    for (const name of ["disk.qcow2", "disk.1.qcow2", "disk.2.qcow2", "disk.3.qcow2"]) {
      const head = new TextDecoder("latin1").decode((await Deno.readFile(`${path("x")}/${name}`)).subarray(0, 1024));
      assert(!/\.layer-|images|snapshots/.test(head), name);
    }
    const text = await Deno.readTextFile(`${path("x")}/manifest.json`);
    assert(!text.includes(token) && !text.includes(micro.directory));
    assertEquals(JSON.parse(text).archive.credentials, undefined);
  });

  await t.step("a name alone is no file to write the newest snapshot to", async () => {
    assertRefused(await micro.run("snapshot export", ["two"]), /'two' is a checkpoint: say where to write it, too/, 2);
    assertRefused(
      await micro.run("snapshot export", [snapshot, path("x1"), "--with-secrets"]),
      /only a checkpoint has/,
    );
  });

  await t.step("imported, it goes on there, with other secrets; its own came only if they were wanted", async () => {
    await using other = await secretMicro(ROTATE);
    assertEquals(await json(other, "import", path("two")), { snapshot: two, exported: two, name: "two" });
    const [info, ...more] = await list(other);
    assertEquals([info.name, info.kind, info.state, more.length], ["two", "checkpoint", "usable", 0]);
    assertEquals((await json(other, "verify", "two")).recorded, false);
    const [seen, theirs] = await resumed(other, "two");
    assertEquals(seen, seenTwo);
    assertNotEquals(theirs, token);
    assertRefused(
      await other.run("start", ["--from", "two", "--keep-secrets"]),
      /checkpoint 'two' was imported without its secrets, so nobody can keep them/,
    );
    assertRefused(
      await other.run("snapshot export", ["two", path("x2"), "--with-secrets"]),
      /came without its secrets/,
    );

    const layers = await layersOf(other);
    assertEquals(layers.length, 3);
    assertEquals(await json(other, "import", path("two")), {
      snapshot: two,
      exported: two,
      name: "two",
      wasThere: true,
    });
    assertEquals([(await list(other)).length, await layersOf(other)], [1, layers]);

    await other.succeed("snapshot rm", ["two"]);
    await assertEmpty(other);
    await micro.succeed("snapshot export", ["two", path("secrets"), "--with-secrets"]);
    await other.succeed("snapshot import", [path("secrets"), "--name", "mine"]);
    const saved = `${other.home}/checkpoints/${KEY}/${two}/credentials.json`;
    assertEquals((await Deno.stat(saved)).mode! & 0o777, 0o600);
    assertEquals(await resumed(other, "mine", "--keep-secrets"), [seenTwo, token]);
  });

  const sizes: Record<string, number> = {};
  await t.step("since a snapshot, and since a checkpoint, it is smaller, and whole again where these are", async () => {
    sizes.snapshot = (await json(micro, "export", snapshot, path("snapshot"))).bytes;
    sizes.one = (await json(micro, "export", "one", path("one"))).bytes;
    sizes.two = (await Deno.stat(path("two"))).size;
    sizes["one since snapshot"] = (await json(micro, "export", "one", path("one-since"), "--since", snapshot)).bytes;
    sizes["two since one"] = (await json(micro, "export", "two", path("two-since"), "--since", "one")).bytes;
    assert(sizes["one since snapshot"] < sizes.one / 10, JSON.stringify(sizes));
    assert(sizes["two since one"] < sizes.two / 10, JSON.stringify(sizes));
    assertEquals(
      await tool(`zstd -dc '${path("two-since")}' | tar -t`),
      "manifest.json\nram.map\nram.changes\ndevice.state\ndisk.qcow2\ndisk.1.qcow2\n",
    );
    assertRefused(await micro.run("snapshot export", ["one", path("x3"), "--since", "one"]), /that is itself/);

    await using other = await secretMicro(ROTATE);
    assertRefused(
      await other.run("snapshot import", [path("one-since")]),
      new RegExp(
        `it builds on '${snapshot}', which is not here: import that first, or export this one without --since`,
      ),
    );
    await other.succeed("snapshot import", [path("snapshot")]);
    assertRefused(
      await other.run("snapshot import", [path("two-since")]),
      new RegExp(`it builds on 'one' \\(${one}\\), which is not here: import that first`),
    );
    await assertEmpty(other);
    await other.succeed("snapshot import", [path("one-since")]);
    await other.succeed("snapshot import", [path("two-since")]);
    for (const [name, id] of [["one", one], ["two", two]]) {
      const [there, here] = [other, micro].map(({ home }) => `${home}/checkpoints/${KEY}/${id}/ram`);
      await tool(`cmp '${there}' '${here}'`);
      const [{ blocks: theirs }, { blocks: ours }] = [await Deno.stat(there), await Deno.stat(here)];
      assert(theirs! <= ours! * 1.02, `${name}: ${theirs} of ${ours} blocks`);
    }
    assertEquals((await layersOf(other)).length, 2); // the snapshot's own disk is below them
    assertRefused(await other.run("snapshot rm", [snapshot]), /stays: checkpoint '(one|two)' uses it/);
    // What it was built from is not needed any more, but the disks that both are on top of.
    await other.succeed("snapshot rm", ["one"]);
    assertEquals((await layersOf(other)).length, 2);
    assertEquals((await resumed(other, "two"))[0], seenTwo);
    await other.succeed("snapshot rm", ["two", snapshot]);
    await assertEmpty(other);
  });

  await t.step("renamed, it is found by its new name, also by what builds on it", async () => {
    await using other = await secretMicro(ROTATE);
    await other.succeed("snapshot import", [path("one")]);
    assertEquals(await json(other, "rename", "one", "first"), { id: one, name: "first", was: "one" });
    await other.succeed("snapshot import", [path("two-since")]);
    const taken = await other.run("snapshot import", [path("one"), "--name", "two"]);
    assertEquals(JSON.parse((await other.run("snapshot import", ["--json", path("one")])).stdout).wasThere, true);
    assertEquals(taken.code, 0); // it is there, whatever it is called
    await other.succeed("snapshot rm", ["first"]);
    assertRefused(
      await other.run("snapshot import", [path("one"), "--name", "two"]),
      /there is a checkpoint 'two' already, of .*: type --name NEW to import this one under another/,
    );
    assertRefused(await other.run("snapshot import", [path("one"), "--name", "../x"]), /cannot be called '\.\.\/x'/);
    await other.succeed("snapshot import", [path("one")]);
    assertEquals((await resumed(other, "one"))[0], seenOne);
    assertEquals((await resumed(other, "two"))[0], seenTwo);
  });

  await t.step("without its image, cut off, or with damage it is refused, and nothing is left", async () => {
    await using other = await secretMicro(ROTATE);
    await Deno.rename(`${other.home}/images`, `${other.home}/no-images`);
    assertRefused(
      await other.run("snapshot import", [path("two"), "--force"]),
      /it needs the image of 'micro' for \w+ with SHA-256 [0-9a-f]{64}, and there is none here: .*'hotboot build'/,
    );
    await Deno.rename(`${other.home}/no-images`, `${other.home}/images`);
    const whole = await Deno.readFile(path("two"));
    await Deno.writeFile(path("bad"), whole.subarray(0, whole.length - 9));
    assertRefused(await other.run("snapshot import", [path("bad")]), /bad was not imported: /);
    await assertEmpty(other);
    const pack = (names: string) => tool(`cd '${path("x")}' && tar -c ${names} | zstd -1 -o ../bad -f -q`);
    const all = "manifest.json ram device.state disk.qcow2 disk.1.qcow2 disk.2.qcow2 disk.3.qcow2";
    await pack(all.replace(" disk.2.qcow2", ""));
    assertRefused(await other.run("snapshot import", [path("bad")]), /its file 'disk\.2\.qcow2' is missing/);
    await tool(
      `cd '${path("x")}' && cp disk.2.qcow2 whole && printf x | dd of=disk.2.qcow2 bs=1 seek=200000 conv=notrunc`,
    );
    await pack(all);
    assertRefused(await other.run("snapshot import", [path("bad")]), /its file 'disk\.2\.qcow2' differs/);
    await tool(`cd '${path("x")}' && mv whole disk.2.qcow2`);
    await pack(all);
    await assertEmpty(other);
    await other.succeed("snapshot import", [path("bad")]); // packed anew by tar, it is what it was
    assertEquals(await exists(`${other.home}/checkpoints/${KEY}/${two}`), true);
  });

  await t.step("interrupted, it leaves nothing; killed, only what prune removes", async () => {
    await using other = await secretMicro(ROTATE);
    const begun = (await Deno.readFile(path("two"))).subarray(0, 5 << 20);
    const root = `${other.home}/checkpoints/${KEY}`;
    for (const [signal, left] of [["SIGINT", 0], ["SIGKILL", 1]] as const) {
      const child = other.spawnWith({ openStdin: true }, "snapshot import", "-");
      const outputs = Promise.all([child.stdout, child.stderr].map(toText));
      const writer = child.stdin.getWriter();
      await writer.write(begun);
      await until(async () => (await namesIn(root)).length > 0, "the import's files");
      child.kill(signal);
      await Promise.all([child.status, outputs]);
      writer.close().catch(() => {});
      assertEquals([(await namesIn(root)).length, await layersOf(other)], [left, []]);
    }
    const { removed } = await json(other, "prune");
    assertEquals(removed.map(({ why }: { why: string }) => why), ["left by a killed command"]);
    await assertEmpty(other);
    await other.succeed("snapshot import", [path("two")]);
  });

  await t.step("of its session, what was exported is still there", async () => {
    assertEquals((await micro.start("--no-fallback")).origin, "continue");
    assertEquals(await shell(micro, SEEN), seenTwo);
    assertEquals((await list(micro)).map(({ name }) => name), [undefined, "two", "one"]);
    await micro.succeed("stop", ["--discard"]);
  });

  await t.step("one whose manifest is damaged is listed, keeps what is below it, and is pruned", async () => {
    for (const id of [one, two]) await Deno.truncate(`${micro.home}/checkpoints/${KEY}/${id}/manifest.json`, 99);
    const listed = await micro.succeed("snapshot ls");
    for (const id of [one, two]) {
      assertMatch(listed, new RegExp(`^${id} .*no, damaged: its manifest.json is damaged`, "m"));
    }
    assertRefused(await micro.run("start", ["--from", "two"]), /there is no checkpoint 'two'/);
    assertRefused(
      await micro.run("snapshot rm", [snapshot]),
      new RegExp(
        `snapshot ${snapshot} stays: checkpoint '${one}', whose manifest cannot be read, uses it; .*rm ${one}'`,
      ),
    );
    const layers = await layersOf(micro);
    await micro.succeed("snapshot rm", [two]);
    assertEquals([(await layersOf(micro)).length, layers.length], [1, 2]);
    const { removed } = await json(micro, "prune");
    assertEquals(removed.map(({ path }: { path: string }) => idOf(path)), [one]);
    await assertEmpty(micro);
    assertEquals((await micro.start("--no-fallback")).origin, "resume");
  });
});
