/** Archives of checkpoints: what is in them becomes layers and whole memory, and what a forger would write is turned down. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { sha256 } from "../../lib/base/hash.ts";
import { StreamReader } from "../../lib/base/io.ts";
import { exportSnapshot } from "../../lib/emulator/export.ts";
import { packCheckpoint } from "../../lib/emulator/export_checkpoint.ts";
import { importCheckpoint } from "../../lib/emulator/import_checkpoint.ts";
import { findSealed, removeSnapshots } from "../../lib/emulator/snapshots.ts";
import { imagePath } from "../../lib/image/image.ts";
import { checkpointsOf, requireLayer } from "../../lib/instance/checkpoints.ts";
import { type Emulator, imageKey } from "../../lib/instance/emulator.ts";
import { disksUnder } from "../../lib/instance/layers.ts";
import { archiveChunks, OpenFiles, readArchivedManifest, type SealedManifest } from "../../lib/snapshot/archive.ts";
import { TarReader } from "../../lib/snapshot/tar.ts";
import { createOverlay } from "../../lib/vm/qcow2.ts";
import { madeCheckpoint, madeCompressed, madeSnapshot } from "./checkpoints.ts";
import { testEmulator } from "./emulators.ts";
import { withDirectory } from "./temporary.ts";

const PAGE = 4096;

/** An emulator with an image, in a home of its own. */
async function withImage(directory: string, name: string): Promise<Emulator> {
  const emulator = await testEmulator(`${directory}/${name}`);
  await Deno.mkdir(emulator.home.images, { recursive: true });
  await createOverlay(imagePath(emulator, "disk"), "", 1 << 26);
  return emulator;
}

/** RAM of four pages. */
function ram(...pages: number[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(pages.flatMap((value) => Array(PAGE).fill(value)));
}

/** An archive that can be changed before it is read. */
interface Packed {
  manifest: SealedManifest;
  members: { name: string; bytes: Uint8Array }[];
}

async function packed(emulator: Emulator, id: string, options = {}): Promise<Packed> {
  using files = new OpenFiles();
  const { manifest, members } = await packCheckpoint(emulator, files, await findSealed(emulator, id), options);
  const all: Packed["members"] = [];
  for (const { name, content } of members) {
    const pieces = await Array.fromAsync(content(), (piece) => piece.slice());
    all.push({ name, bytes: new Uint8Array(await new Blob(pieces).arrayBuffer()) });
  }
  return { manifest, members: all };
}

/** Reads it, as importing does once the machine has been judged. */
async function unpacked(emulator: Emulator, { manifest, members }: Packed, name?: string) {
  const given = members.map(({ name, bytes }) => ({
    name,
    size: bytes.length,
    content: () => ReadableStream.from([bytes]),
  }));
  const tar = new TarReader(new StreamReader(ReadableStream.from(archiveChunks(manifest, given))));
  return await importCheckpoint(emulator, tar, await readArchivedManifest(tar), name);
}

const namesIn = async (directory: string) =>
  (await Array.fromAsync(Deno.readDir(directory), ({ name }) => name).catch(() => [])).sort();

/** What an import may leave. */
async function leftIn({ home, ...emulator }: Emulator): Promise<string[]> {
  const key = imageKey({ home, ...emulator });
  return [...await namesIn(home.checkpoints(key)), ...await namesIn(home.instances)];
}

Deno.test("checkpoint archive: it is whole in another home, on what is there, whatever it was on", () =>
  withDirectory(async (directory) => {
    const [from, to] = [await withImage(directory, "from"), await withImage(directory, "to")];
    const snapshot = await madeSnapshot(from, imagePath(from, "disk"), ram(1, 1, 0, 1));
    const base = snapshot.manifest.id;
    const one = await madeCheckpoint(from, `${snapshot.directory}/disk.qcow2`, {
      name: "one",
      base,
      ram: ram(1, 2, 0, 0),
    });
    const { id } = one.manifest;
    const whole = await packed(from, "one");
    assertEquals(whole.members.map(({ name }) => name), [
      ...["ram", "device.state", "disk.qcow2", "disk.1.qcow2", "disk.2.qcow2"],
    ]);
    assertEquals(await unpacked(to, whole), { snapshot: id, exported: id, name: "one" });
    const [there] = await checkpointsOf(to);
    await requireLayer(to, there);
    assertEquals(await Deno.readFile(`${there.directory}/ram`), ram(1, 2, 0, 0));
    const below = (await disksUnder(`${there.directory}/disk.qcow2`))!;
    assertEquals(below.length, 3);
    assertEquals(below.at(-1), imagePath(to, "disk"));
    assertEquals([there.manifest.checkpoint.base, there.manifest.unsyncedSinceBoot], [undefined, undefined]);
    assertEquals("archive" in there.manifest, false);
    const kept = await leftIn(to);
    assertEquals((await unpacked(to, whole, "other")).wasThere, true);
    assertEquals(await leftIn(to), kept);

    // Since the snapshot: two pages of four are another's, one of them zeros.
    const since = await packed(from, "one", { since: base });
    assertEquals(since.members.map(({ name, bytes }) => [name, bytes.length]).slice(0, 2), [
      ["ram.map", 4],
      ["ram.changes", PAGE],
    ]);
    assertEquals([...since.members[0].bytes], [0, 1, 0, 2]);
    await removeSnapshots(to, { ids: ["one"] });
    assertEquals(await leftIn(to), []);
    await assertRejects(() => unpacked(to, since), Error, `it builds on '${base}', which is not here`);
    assertEquals(await leftIn(to), []);
    const others = await madeSnapshot(to, imagePath(to, "disk"), ram(1, 1, 0, 1));
    await findSealed(to, others.manifest.id); // it has another id, but what is in it is known
    await unpacked(to, since);
    const [again] = await checkpointsOf(to);
    assertEquals(await Deno.readFile(`${again.directory}/ram`), ram(1, 2, 0, 0));
    assertEquals(again.manifest.checkpoint.base, others.manifest.id);
    await assertRejects(() => removeSnapshots(to, { ids: [others.manifest.id] }), Error, "checkpoint 'one' uses it");
  }));

Deno.test("checkpoint archive: free space is asked for before anything is written", () =>
  withDirectory(async (directory) => {
    const [from, to] = [await withImage(directory, "from"), await withImage(directory, "to")];
    await madeCheckpoint(from, imagePath(from, "disk"), { name: "one", ram: ram(1) });
    const whole = await packed(from, "one");
    whole.manifest.archive!.bytes = 2 ** 50;
    await assertRejects(() => unpacked(to, whole), Error, "the import needs 1024 TB of disk");
    assertEquals(await leftIn(to), []);
  }));

Deno.test("checkpoint archive: an id that is taken becomes another one, and is still known", () =>
  withDirectory(async (directory) => {
    const [from, to] = [await withImage(directory, "from"), await withImage(directory, "to")];
    const { manifest: { id } } = await madeCheckpoint(from, imagePath(from, "disk"), { name: "one", ram: ram(1) });
    const whole = await packed(from, "one");
    await Deno.mkdir(`${to.home.checkpoints(imageKey(to))}/${id}`, { recursive: true });
    const { snapshot, exported } = await unpacked(to, whole);
    assert(snapshot > id && exported === id);
    assertEquals((await unpacked(to, whole)).snapshot, snapshot);
    const further = await withImage(directory, "further");
    await unpacked(further, await packed(to, "one"));
    assertEquals((await unpacked(further, whole)).wasThere, true);
  }));

Deno.test("checkpoint archive: an export that cannot be is refused, and leaves nothing", () =>
  withDirectory(async (directory) => {
    const from = await withImage(directory, "from");
    const snapshot = await madeSnapshot(from, imagePath(from, "disk"), ram(1));
    const one = await madeCheckpoint(from, imagePath(from, "disk"), { name: "one", ram: ram(1, 2) });
    const target = `${directory}/target`;
    const refuses = async (options: object, why: string, prefix = "one") => {
      await assertRejects(() => exportSnapshot(from, target, prefix, options), Error, why);
      assertEquals(await namesIn(directory), ["from"]);
    };
    await refuses({ since: snapshot.manifest.id }, "its memory has another size");
    await refuses({ since: "one" }, "that is itself");
    const compressed = await madeCompressed(from, imagePath(from, "disk"));
    await refuses({ since: compressed.manifest.id }, "its memory is compressed; name a snapshot of the engine instant");
    await refuses({ since: "nothing" }, "has no snapshot 'nothing'");
    await refuses({ withSecrets: true }, "has no secrets of its own: leave out --with-secrets");
    await refuses({ since: "one" }, "only a checkpoint", snapshot.manifest.id);
    await Deno.remove(imagePath(from, "disk"));
    await createOverlay(`${one.directory}/disk.qcow2`, "../../../images/other.qcow2", 1 << 26);
    await assertRejects(() => packed(from, "one"), Error, "damaged");
  }));

Deno.test("checkpoint archive: hostile ones are turned down, and nothing is left of them", async (t) => {
  await withDirectory(async (directory) => {
    const [from, to] = [await withImage(directory, "from"), await withImage(directory, "to")];
    const first = await madeCheckpoint(from, imagePath(from, "disk"), { name: "first", ram: ram(1, 1) });
    const below = `${first.directory}/disk.qcow2`;
    await madeCheckpoint(from, below, { name: "one", base: first.manifest.id, ram: ram(1, 2) });
    const refuses = (title: string, change: (archive: Packed) => void | Promise<void>, why: string, since?: string) =>
      t.step(title, async () => {
        const archive = await packed(from, "one", { since });
        if (since) await unpacked(to, await packed(from, since));
        const before = await leftIn(to);
        await change(archive);
        await assertRejects(() => unpacked(to, archive), Error, why);
        assertEquals(await leftIn(to), before);
        if (since) await removeSnapshots(to, { ids: [since] });
      });
    const cargo = (change: (archive: Record<string, unknown>) => void) => ({ manifest }: Packed) =>
      change(manifest.archive as unknown as Record<string, unknown>);
    /** What a forger would do: another content, with its digest. */
    const forge =
      (name: string, change: (bytes: Uint8Array) => Uint8Array) => async ({ manifest, members }: Packed) => {
        const member = members.find((each) => each.name === name)!;
        member.bytes = change(member.bytes.slice());
        const part = { size: member.bytes.length, sha256: await sha256(member.bytes) };
        const index = Number(name.match(/^disk\.(\d+)/)?.[1] ?? 0) - 1;
        if (index >= 0) manifest.archive!.disks![index] = part;
        else Object.assign(manifest.files[name] ??= { ...part, sample: part.sha256 }, part);
      };
    const overlayOn = (name: string) => (bytes: Uint8Array) => {
      const view = new DataView(bytes.buffer);
      const text = new TextEncoder().encode(name);
      bytes.set(text, Number(view.getBigUint64(8)));
      view.setUint32(16, text.length);
      return bytes;
    };

    await refuses(
      "no list of disks",
      ({ manifest }) => void delete manifest.archive,
      "no list of a checkpoint's disks",
    );
    await refuses("disks that are none", cargo((archive) => archive.disks = [null]), "no valid list");
    await refuses("no disks", cargo((archive) => archive.disks = []), "does not list 'disk.1.qcow2'");
    const part = { size: 1, sha256: "0".repeat(64) };
    await refuses("too many disks", cargo((archive) => archive.disks = Array(1025).fill(part)), "no valid list");
    await refuses("a size below zero", cargo((archive) => archive.bytes = -1), "no size");
    await refuses("more than there is room for", cargo((archive) => archive.bytes = 2 ** 52), "the import needs");
    await refuses(
      "no layer",
      ({ manifest }) => void (manifest.checkpoint!.layer.name = "../../x"),
      "the checkpoint's layer",
    );
    await refuses(
      "an odd name",
      ({ manifest }) => void (manifest.checkpoint!.name = "../x"),
      "cannot be called '../x'",
    );
    await refuses("no name", ({ manifest }) => void delete manifest.checkpoint!.name, "type --name NEW to give it one");
    await refuses(
      "an odd state of secrets",
      ({ manifest }) => void Object.assign(manifest.checkpoint!, { secrets: 7 }),
      "no valid state of its secrets",
    );
    for (const name of ["disk.qcow2", "disk.1.qcow2", "disk.2.qcow2"]) {
      for (const target of ["/etc/passwd", "../../images/other.qcow2", "json:{}"]) {
        await refuses(`${name} on ${target}`, forge(name, overlayOn(target)), `'${name}' names a disk below it`);
      }
    }
    await refuses("a disk that is none", forge("disk.1.qcow2", () => new Uint8Array(PAGE)), "not a qcow2 disk");
    await refuses(
      "a disk without another below it",
      forge("disk.2.qcow2", (bytes) => bytes.fill(0, 8, 16)),
      "'disk.2.qcow2' names a disk below it",
    );
    await refuses(
      "a disk whose data is elsewhere",
      forge("disk.2.qcow2", (bytes) => bytes.fill(4, 79, 80)),
      "its data is in another file",
    );
    await refuses("another disk", ({ members }) => void (members[3].bytes[99999] ^= 1), "'disk.1.qcow2' differs");
    for (const name of ["../evil", "/evil", "disk.9.qcow2", "credentials.json", "ram.map"]) {
      const more = { name, bytes: new Uint8Array(5) };
      await refuses(`a file called '${name}'`, ({ members }) => void members.unshift(more), "does not list");
    }
    for (const text of ["null", "[]", '{"A": 1}', "{"]) {
      await refuses(`secrets that are ${text}`, async ({ manifest, members }) => {
        const bytes = new TextEncoder().encode(text);
        members.push({ name: "credentials.json", bytes });
        manifest.archive!.credentials = { size: bytes.length, sha256: await sha256(bytes) };
      }, "its secrets are damaged");
    }

    const since = (change: (since: Record<string, unknown>) => void) =>
      cargo((archive) => change(archive.since as Record<string, unknown>));
    await refuses("it builds on what is odd", since((since) => since.ram = "x"), "no valid description", "first");
    await refuses("more pages than there are", since((since) => since.changed = 3), "not made of pages", "first");
    await refuses("other numbers of pages", since((since) => since.changed = 2), "instead of 2", "first");
    await refuses(
      "it builds on other disks",
      since((since) => since.disks = [part.sha256]),
      "has other disks here",
      "first",
    );
    await refuses(
      "a map with other kinds",
      ({ members }) => void (members[0].bytes[0] = 9),
      "map of pages is",
      "first",
    );
    await refuses("changes before the map", ({ members }) => void members.reverse(), "comes before 'ram.map'", "first");
    await refuses("other changes", ({ members }) => void (members[1].bytes[7] ^= 1), "its memory differs", "first");
    await refuses("no changes", ({ members }) => void members.splice(1, 1), "'ram.changes' is missing", "first");
  });
});
