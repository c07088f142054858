/** Spares in their directory: who takes one has it alone, and what is not whole does not count. */

import { assertEquals } from "@std/assert";
import { exists } from "@std/fs/exists";
import { pruneSnapshots } from "../../lib/emulator/prune.ts";
import { countSpares } from "../../lib/emulator/spares.ts";
import { type Emulator, imageKey } from "../../lib/instance/emulator.ts";
import { layerDisk, removeUnusedLayers } from "../../lib/instance/layers.ts";
import {
  isSpareFor,
  removeHalfMade,
  removeOrphanedSpares,
  removeSpares,
  spareDigest,
  sparesOf,
  takeSpare,
  wantedSpares,
  wantSpares,
} from "../../lib/instance/spares.ts";
import { FORMAT, writeManifest } from "../../lib/snapshot/manifest.ts";
import { createOverlay } from "../../lib/vm/qcow2.ts";
import { testEmulator } from "./emulators.ts";
import { withDirectory } from "./temporary.ts";

const [SNAPSHOT, OTHER] = ["20260101T000000Z-abcd", "20260102T000000Z-abcd"];

/** A spare as far as its directory is looked at, with a layer below it. */
async function putSpare(
  emulator: Emulator,
  id: string,
  base = SNAPSHOT,
): Promise<{ directory: string; layer: string }> {
  const layer = crypto.randomUUID();
  const directory = `${emulator.home.spares(imageKey(emulator))}/${id}`;
  await Deno.mkdir(directory, { recursive: true });
  await Deno.mkdir(emulator.home.layer(layer), { recursive: true });
  await createOverlay(layerDisk(emulator.home, layer), "nothing.qcow2", 1 << 20);
  await createOverlay(`${directory}/disk.qcow2`, `../../../instances/.layer-${layer}/disk.qcow2`, 1 << 20);
  await writeManifest(directory, {
    format: FORMAT,
    id,
    engine: "flat",
    created: "2026-01-01T00:00:00.000Z",
    identity: {},
    files: {},
    guest: { clock: "nothing", clockOffsetMs: 0, stoppedAt: 0, reseeds: false, frozen: [], notFrozen: [] },
    checkpoint: {
      instance: "x",
      layer: { name: layer, disk: { size: 0, sample: "" } },
      base,
      profileDigest: await spareDigest(emulator),
    },
  });
  return { directory, layer };
}

const ID = (n: number) => `20260103T00000${n}Z-abcd`;

Deno.test("spares: of many that take at once, each gets another, and each spare is taken once", () =>
  withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    for (let n = 0; n < 3; n++) await putSpare(emulator, ID(n));
    const all = await sparesOf(emulator);
    assertEquals(all.map(({ manifest }) => manifest.id), [ID(0), ID(1), ID(2)]);
    const taken = await Promise.all(
      Array.from({ length: 4 }, () => all.map((each) => takeSpare(emulator, each))).flat(),
    );
    const got = taken.filter((each) => each !== undefined);
    assertEquals(got.map(({ manifest }) => manifest.id).sort(), [ID(0), ID(1), ID(2)]);
    assertEquals(new Set(got.map(({ directory }) => directory)).size, 3);
    assertEquals(await sparesOf(emulator), []);
  }));

Deno.test("spares: what was half made goes; whole ones, and what somebody has taken, stay with their layers", () =>
  withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const whole = await putSpare(emulator, ID(0));
    const broken = await putSpare(emulator, ID(1));
    await Deno.remove(`${broken.directory}/manifest.json`);
    const used = await putSpare(emulator, ID(2));
    const taken = await takeSpare(emulator, (await sparesOf(emulator)).at(-1)!);
    const half = await putSpare(emulator, ".tmp-1234");
    await removeHalfMade(emulator);
    await removeUnusedLayers(emulator);
    const there = async (paths: string[]) => await Promise.all(paths.map((path) => exists(path)));
    assertEquals(await there([whole.directory, taken!.directory]), [true, true]);
    assertEquals(await there([broken.directory, half.directory]), [false, false]);
    const layers = [whole, used, broken, half].map(({ layer }) => emulator.home.layer(layer));
    assertEquals(await there(layers), [true, true, false, false]);
  }));

Deno.test("spares: those whose snapshot is gone go, with their layers", () =>
  withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    await Deno.mkdir(`${emulator.home.snapshots(imageKey(emulator))}/${OTHER}`, { recursive: true });
    const gone = await putSpare(emulator, ID(0), SNAPSHOT);
    const stays = await putSpare(emulator, ID(1), OTHER);
    const spares = () => countSpares(emulator).then(({ spares }) => spares);
    assertEquals([await spares(), (await sparesOf(emulator)).length], [1, 2]);
    const { removed } = await pruneSnapshots(emulator, { dryRun: true });
    const found = removed.filter(({ path }) => path.startsWith(emulator.home.spares(""))).map(({ path }) => path);
    assertEquals(found, [gone.directory]);
    await removeOrphanedSpares(emulator);
    assertEquals((await sparesOf(emulator)).map(({ manifest }) => manifest.id), [ID(1)]);
    assertEquals(await exists(emulator.home.layer(gone.layer)), false);
    assertEquals(await exists(emulator.home.layer(stays.layer)), true);
    await removeSpares(emulator);
    assertEquals([await sparesOf(emulator), await exists(emulator.home.layer(stays.layer))], [[], false]);
  }));

Deno.test("spares: one fits its snapshot, and the profile but for the host's ports", () =>
  withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    await putSpare(emulator, ID(0));
    const [spare] = await sparesOf(emulator);
    const fits = async (profile: Partial<Emulator["profile"]>, snapshot = SNAPSHOT) =>
      isSpareFor(spare, snapshot, await spareDigest({ ...emulator, profile: { ...emulator.profile, ...profile } }));
    assertEquals(await fits({}), true);
    assertEquals(await fits({ ports: { web: { guest: 80, host: 20001 } } }), true);
    assertEquals(await fits({ rotation: { command: ["other"], proof: [] } }), false);
    assertEquals(await fits({}, OTHER), false);
  }));

Deno.test("spares: how many are wanted is remembered for the image", () =>
  withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    assertEquals(await wantedSpares(emulator), 0);
    await wantSpares(emulator, 3);
    assertEquals(await wantedSpares(emulator), 3);
    assertEquals(await wantedSpares({ ...emulator, arch: emulator.arch === "amd64" ? "arm64" : "amd64" }), 0);
    const path = `${emulator.home.spares(imageKey(emulator))}.json`;
    for (const text of ["", "[]", '{"wanted":-1}', '{"wanted":"2"}']) {
      await Deno.writeTextFile(path, text);
      assertEquals(await wantedSpares(emulator), 0, text);
    }
    await wantSpares(emulator, 0);
    assertEquals(await exists(path), false);
  }));
