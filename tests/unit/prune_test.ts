import { assertEquals } from "@std/assert";
import { exists } from "@std/fs/exists";
import { pruneSnapshots } from "../../lib/emulator/prune.ts";
import { privateDirectory } from "../../lib/instance/home.ts";
import { imageKey } from "../../lib/instance/emulator.ts";
import { imageLock, tryLock } from "../../lib/instance/locks.ts";
import { testEmulator } from "./emulators.ts";
import { withDirectory } from "./temporary.ts";

Deno.test("prune: removes what killed commands have left, but not what others write or will continue", () =>
  withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const { home } = emulator;
    const key = imageKey(emulator);
    const uuid = crypto.randomUUID();
    const old = new Date(Date.now() - 2 * 3_600_000);
    const write = async (path: string, time = old) => {
      await privateDirectory(path.replace(/\/[^/]*$/, ""));
      await Deno.writeTextFile(path, "begun");
      await Deno.utime(path, time, time);
      return path;
    };
    const left = [
      await write(`${home.snapshots(key)}/.tmp-${uuid}/ram`),
      await write(`${home.images}/${key}.json.12345.tmp`),
      await write(`${home.images}/.tmp-${key}-${uuid}`),
      await write(`${home.cache}/qemu-x.json.12345.tmp`),
      await write(`${home.cache}/qemu-z.json.12345.tmp`, new Date(Date.now() + 365 * 86_400_000)), // before the clock was set back
      await write(`${home.root}/locks/owner-${uuid}`),
    ];
    const others = [
      await write(`${home.images}/${key}.json.12346.tmp`, new Date()),
      await write(`${home.cache}/qemu-y.json.12346.tmp`, new Date()),
      await write(`${home.images}/mine.json.old.tmp`),
      await write(`${home.cache}/qemu-x.json`),
    ];
    const there = async (paths: string[]) => (await Promise.all(paths.map((path) => exists(path)))).every(Boolean);

    const paths = left.map((path) => path.replace(/\/ram$/, "")).sort();
    const would = await pruneSnapshots(emulator, { dryRun: true });
    assertEquals([would.removed.map(({ path }) => path).sort(), await there(left)], [paths, true]);
    {
      using lock = await tryLock(home, imageLock(key));
      assertEquals(lock === undefined, false);
      const { removed } = await pruneSnapshots(emulator);
      assertEquals(removed.map(({ path }) => path).sort(), paths.filter((path) => !path.startsWith(home.images)));
    }
    const { removed } = await pruneSnapshots(emulator);
    assertEquals(removed.map(({ path }) => path).sort(), paths.filter((path) => path.startsWith(home.images)));
    assertEquals(await there(others), true);
  }));
