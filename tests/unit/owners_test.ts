/** Instances that go with the program that has made them. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { exists } from "@std/fs/exists";
import { HotbootError } from "../../lib/base/error.ts";
import { ownFresh, withFresh } from "../../lib/emulator/fresh.ts";
import { pruneSnapshots } from "../../lib/emulator/prune.ts";
import { reap } from "../../lib/emulator/reap.ts";
import { instancePath } from "../../lib/instance/channels.ts";
import type { Emulator } from "../../lib/instance/emulator.ts";
import { becomeOwner, giveToUser, isOrphan, takeOrphan } from "../../lib/instance/owners.ts";
import { lockInstance } from "../../lib/instance/locks.ts";
import { type InstanceRecord, writeRecord } from "../../lib/instance/record.ts";
import { play, testEmulator, testRecord } from "./emulators.ts";
import { withDirectory } from "./temporary.ts";

/** An instance whose owner has died: that holds no lock any more, and has not tidied up. */
async function orphan(directory: string, instance: string): Promise<Emulator & { told: string[] }> {
  const emulator = await testEmulator(directory, { instance });
  const owner = await becomeOwner(emulator.home);
  await ownFresh(emulator, owner);
  owner[Symbol.dispose]();
  return emulator;
}

const isThere = ({ home, instance }: Emulator) => exists(home.instance(instance));
const locks = async ({ home }: Emulator) =>
  await Array.fromAsync(Deno.readDir(`${home.root}/locks`), ({ name }) => name);

Deno.test("owners: an instance goes when its owner has died, and not before", () =>
  withDirectory(async (directory) => {
    const emulator = await testEmulator(directory, { instance: "own" });
    {
      using owner = await becomeOwner(emulator.home);
      await ownFresh(emulator, owner);
      assertEquals([await isOrphan(emulator), await takeOrphan(emulator)], [false, undefined]);
      await reap(emulator);
      assert(await isThere(emulator));
    }
    assert(await isOrphan(emulator));
    await reap(emulator);
    assertEquals([await isThere(emulator), await locks(emulator)], [false, []]);
  }));

Deno.test("owners: one that somebody else is about to drop is left to them", () =>
  withDirectory(async (directory) => {
    const emulator = await orphan(directory, "left");
    {
      using taken = await takeOrphan(emulator);
      assert(taken);
      await reap(emulator);
      assert(await isThere(emulator));
    }
    await reap(emulator);
    assertEquals(await isThere(emulator), false);
  }));

Deno.test("owners: what belongs to the user, or to another profile, or cannot be dropped, stays", () =>
  withDirectory(async (directory) => {
    const kept = await orphan(directory, "kept");
    await giveToUser(kept);
    const others = await orphan(directory, "others");
    await writeRecord(others, testRecord({ profile: "other", phase: "stopped" }));
    const odd = await orphan(directory, "odd");
    await Deno.writeTextFile(instancePath(odd, "owner"), '{"owner":"../instance-odd"}');
    const torn = await orphan(directory, "torn");
    await Deno.writeTextFile(instancePath(torn, "owner"), '{"own');
    await reap(kept);
    await pruneSnapshots(kept);
    assertEquals(await Promise.all([kept, others, odd, torn].map(isThere)), [true, true, true, true]);
  }));

Deno.test("owners: a machine that runs is ended, and a dry run ends none", () =>
  withDirectory(async (directory) => {
    const emulator = await orphan(directory, "runs");
    const { machine } = await play(emulator);
    let quits = 0;
    machine.onCommand = (command) => void (quits += Number(command === "quit"));
    const path = emulator.home.instance("runs");
    const would = await pruneSnapshots(emulator, { dryRun: true });
    assertEquals([would.removed.map(({ path }) => path), quits, await isThere(emulator)], [[path], 0, true]);
    const { removed } = await pruneSnapshots(emulator);
    assertEquals([removed.map(({ path }) => path), quits, await isThere(emulator)], [[path], 1, false]);
  }));

Deno.test("owners: an instance that a killed command has not finished making is none, and any other stays", () =>
  withDirectory(async (directory) => {
    const begin = async (instance: string, changes: Partial<InstanceRecord>) => {
      const emulator = await testEmulator(directory, { instance });
      await Deno.mkdir(emulator.home.instance(instance), { recursive: true });
      await writeRecord(emulator, testRecord({ phase: "starting", isDiskKept: false, ...changes }));
      return emulator;
    };
    const begun = await begin("begun", { isNew: true });
    const putBack = await begin("put-back", {}); // to where it was started from
    const finished = await begin("finished", { isNew: true, isDiskKept: true });
    const others = await begin("others", { isNew: true, profile: "other" });
    const all = () => Promise.all([begun, putBack, finished, others].map(isThere));
    {
      using _lock = await lockInstance(begun); // a command makes it
      await pruneSnapshots(begun);
      await reap(begun);
      assertEquals(await all(), [true, true, true, true]);
    }
    const { removed } = await pruneSnapshots(begun, { dryRun: true });
    assertEquals(removed.map(({ path }) => path), [begun.home.instance("begun")]);
    assertEquals(await all(), [true, true, true, true]);
    await reap(begun);
    assertEquals(await all(), [false, true, true, true]);

    const runs = await testEmulator(directory, { instance: "runs" });
    const { machine } = await play(runs, { phase: "starting", isDiskKept: false, isNew: true });
    let quits = 0;
    machine.onCommand = (command) => void (quits += Number(command === "quit"));
    await pruneSnapshots(runs);
    assertEquals([quits, await isThere(runs)], [1, false]);
  }));

Deno.test("owners: a fresh instance is dropped whatever happens, and the user's is never one", () =>
  withDirectory(async (directory) => {
    const emulator = await testEmulator(directory, { instance: "fresh" });
    const work = async () => {
      await writeRecord(emulator, testRecord({ phase: "stopped" }));
      throw new HotbootError("the work failed");
    };
    await assertRejects(() => withFresh(emulator, work), HotbootError, "the work failed");
    assertEquals([await isThere(emulator), await locks(emulator)], [false, []]);

    const users = await testEmulator(directory, { instance: "users" });
    using _machine = (await play(users)).machine;
    await assertRejects(() => withFresh(users, work), HotbootError, "instance 'users' is running: name a new one");
    assertEquals([await isThere(users), await isOrphan(users)], [true, false]);
  }));
