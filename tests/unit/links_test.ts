/** Nothing of a home is written through a link that leads out of it. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { ensureDir } from "@std/fs/ensure-dir";
import { HotbootError } from "../../lib/base/error.ts";
import { logs } from "../../lib/emulator/logs.ts";
import { reset, stop } from "../../lib/emulator/stop.ts";
import { start } from "../../lib/emulator/start.ts";
import { instancePath, makeChannels } from "../../lib/instance/channels.ts";
import type { Emulator } from "../../lib/instance/emulator.ts";
import { Home, ownDirectory, privateDirectory, requireNoLinks, requireOwnLink } from "../../lib/instance/home.ts";
import { lockInstance } from "../../lib/instance/locks.ts";
import { becomeOwner, giveTo } from "../../lib/instance/owners.ts";
import { rememberPorts } from "../../lib/instance/ports.ts";
import { readRecord, writeRecord } from "../../lib/instance/record.ts";
import { PartFile } from "../../lib/release/part_file.ts";
import { stateOf } from "../../lib/instance/state.ts";
import { wrongSize } from "../../lib/snapshot/manifest.ts";
import { testEmulator, testRecord } from "./emulators.ts";
import { withDirectory } from "./temporary.ts";

const PRECIOUS = "do not write here\n";

/** A file and a directory outside of the home, which must stay as they are. */
async function outside(directory: string) {
  const [file, folder] = [`${directory}/precious`, `${directory}/folder`];
  await Deno.writeTextFile(file, PRECIOUS, { mode: 0o644 });
  await Deno.mkdir(folder, { mode: 0o755 });
  await Deno.writeTextFile(`${folder}/disk.qcow2`, PRECIOUS);
  const assertUntouched = async () => {
    assertEquals(await Deno.readTextFile(file), PRECIOUS);
    assertEquals(await Deno.readTextFile(`${folder}/disk.qcow2`), PRECIOUS);
    assertEquals(await Array.fromAsync(Deno.readDir(folder), ({ name }) => name), ["disk.qcow2"]);
    assertEquals([(await Deno.stat(file)).mode! & 0o777, (await Deno.stat(folder)).mode! & 0o777], [0o644, 0o755]);
  };
  return { file, folder, assertUntouched };
}

/** Everything that makes, or writes to, an instance's directory. */
async function assertRefused(emulator: Emulator, link: string): Promise<void> {
  using owner = await becomeOwner(emulator.home);
  const uses: (() => Promise<unknown>)[] = [
    () => start(emulator),
    () => stop(emulator),
    () => makeChannels(emulator),
    () => rememberPorts(emulator.home, emulator.instance, {}),
    () => giveTo(owner, emulator),
  ];
  for (const use of uses) await assertRejects(use, HotbootError, `${link} is a link, and hotboot makes none there`);
}

Deno.test("links: no file of an instance is one; 'reset' removes it, and not what it leads to", () =>
  withDirectory(async (directory) => {
    const { file, assertUntouched } = await outside(directory);
    for (const name of ["serial", "config", "disk", "memory", "ram", "timeline", "credentials"] as const) {
      const emulator = await testEmulator(directory);
      const link = instancePath(emulator, name);
      await privateDirectory(emulator.home.instance(emulator.instance));
      await writeRecord(emulator, testRecord({ phase: "stopped", ended: { how: "shut down", at: "2026-01-01" } }));
      await Deno.symlink(file, link);
      await assertRefused(emulator, link);
      await reset(emulator);
      await requireNoLinks(emulator.home.instance(emulator.instance));
      await assertUntouched();
    }
  }));

Deno.test("links: an instance's directory is none; 'reset' removes it, and not what it leads to", () =>
  withDirectory(async (directory) => {
    const { file, folder, assertUntouched } = await outside(directory);
    const emulator = await testEmulator(directory);
    const link = emulator.home.instance(emulator.instance);
    await privateDirectory(emulator.home.instances);
    await Deno.symlink(folder, link);
    await assertRefused(emulator, link);
    await assertUntouched();
    await reset(emulator);
    await assertRejects(() => Deno.lstat(link), Deno.errors.NotFound);
    await assertUntouched();
    await Deno.symlink(file, link); // no directory at all
    await using state = await stateOf(emulator);
    assertEquals(state.kind, "stopped");
    await assertRejects(() => Array.fromAsync(logs(emulator)), HotbootError, "no console log");
    await assertRefused(emulator, link);
    await reset(emulator);
    await privateDirectory(link);
    const record = instancePath(emulator, "record");
    await Deno.symlink(folder, record);
    assertEquals(await readRecord(emulator), { damaged: `${record} is a directory` });
    await assertUntouched();
  }));

Deno.test("links: a lock, a download and a snapshot's file are none", () =>
  withDirectory(async (directory) => {
    const { file, folder, assertUntouched } = await outside(directory);
    const emulator = await testEmulator(directory);
    const lock = `${emulator.home.root}/locks/instance-${emulator.instance}`;
    await privateDirectory(`${emulator.home.root}/locks`);
    await Deno.symlink(`${folder}/new`, lock);
    await assertRejects(() => lockInstance(emulator), HotbootError, `${lock} is a link`);

    const download = `${directory}/download`;
    await Deno.symlink(file, download);
    const state = { key: "k", size: PRECIOUS.length, done: [{ start: 0, end: 4 }] };
    await Deno.writeTextFile(`${download}.json`, JSON.stringify(state));
    const part = await PartFile.open(download, "k");
    assertEquals(part.received, 0); // not what has come
    await part.reset(10);
    assert((await Deno.lstat(download)).isFile);

    const snapshot = `${directory}/snapshot`;
    await ensureDir(snapshot);
    await Deno.symlink(file, `${snapshot}/ram`);
    await Deno.writeTextFile(`${snapshot}/device.state`, "");
    await Deno.writeTextFile(`${snapshot}/disk.qcow2`, "");
    const size = (bytes: number) => ({ size: bytes, sparse: "" });
    const files = { "ram": size(PRECIOUS.length), "device.state": size(0), "disk.qcow2": size(0) };
    // deno-lint-ignore no-explicit-any -- the rest does not matter
    const manifest = { engine: "instant", files } as any;
    assertEquals(await wrongSize(snapshot, manifest), "its 'ram' is not a file");
    await assertUntouched();
  }));

Deno.test("links: one's own may lead to a directory on another disk, another user's may not", () =>
  withDirectory(async (directory) => {
    const { folder } = await outside(directory);
    const link = `${directory}/snapshots`;
    await Deno.symlink(folder, link);
    await requireOwnLink(link);
    await privateDirectory(link);
    assertEquals((await Deno.stat(folder)).mode! & 0o777, 0o700);
    await requireOwnLink(`${directory}/nothing`);
    await assertRejects(() => ownDirectory(link), HotbootError, `${link} is a link`);
  }));

Deno.test("links: a directory for sockets that another user has removed again is not made where that one may be faster", () =>
  withDirectory(async (directory) => {
    const [home, short] = [new Home(directory), `${directory}/short`];
    const { mkdir } = Deno;
    Deno.mkdir = () => { // there was one a moment ago
      Deno.mkdir = mkdir;
      return Promise.reject(new Deno.errors.AlreadyExists());
    };
    try {
      await assertRejects(() => home.shortDirectory(short), HotbootError, "was removed by another user");
    } finally {
      Deno.mkdir = mkdir;
    }
    await assertRejects(() => Deno.lstat(short), Deno.errors.NotFound);
    await home.shortDirectory(short);
    assertEquals((await Deno.lstat(short)).mode! & 0o777, 0o700);
  }));
