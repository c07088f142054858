import { assert, assertEquals, assertRejects } from "@std/assert";
import { StreamReader } from "../../lib/base/io.ts";
import {
  archiveChunks,
  fileMembers,
  OpenFiles,
  readArchivedManifest,
  type SealedManifest,
  unpackFiles,
} from "../../lib/snapshot/archive.ts";
import { fingerprint } from "../../lib/snapshot/fingerprint.ts";
import { adoptSnapshot, newestSnapshot, prepareSnapshot } from "../../lib/snapshot/store.ts";
import { tarEnd, tarHeader, tarPadding, TarReader } from "../../lib/snapshot/tar.ts";
import { findId } from "../../lib/emulator/snapshots.ts";
import { sha256File } from "../../lib/base/hash.ts";
import { withDirectory } from "./temporary.ts";

const ID = "20240102T030405Z-0a1b";
const text = (value: string) => new TextEncoder().encode(value);

/** A snapshot with made-up content, and its manifest. */
async function snapshot(parent: string): Promise<{ directory: string; manifest: SealedManifest }> {
  const directory = `${parent}/${ID}`;
  await Deno.mkdir(directory);
  const ram = new Uint8Array(3 << 20);
  ram.fill(7, 5000, 6000);
  ram[ram.length - 1] = 1;
  const contents = { ram, "device.state": text("state"), "disk.qcow2": new Uint8Array(0) };
  const files: SealedManifest["files"] = {};
  for (const [name, bytes] of Object.entries(contents)) {
    const path = `${directory}/${name}`;
    await Deno.writeFile(path, bytes);
    files[name] = { ...await fingerprint(path), sha256: await sha256File(path) };
  }
  const guest = { clock: "shift", clockOffsetMs: 0, stoppedAt: 0, reseeds: true, frozen: [], notFrozen: [] } as const;
  return {
    directory,
    manifest: {
      format: 2,
      id: ID,
      engine: "instant",
      created: "2024-01-02T03:04:05.000Z",
      identity: { memory: "3 MiB" },
      guest: { ...guest, frozen: [], notFrozen: [] },
      files,
      unsyncedSinceBoot: 1,
    },
  };
}

/** What exporting does with the snapshot in the directory. */
async function packed(directory: string, manifest: SealedManifest): Promise<Uint8Array<ArrayBuffer>> {
  using files = new OpenFiles();
  return join(await Array.fromAsync(archiveChunks(manifest, await fileMembers(files, directory, manifest))));
}

function join(parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

function member(name: string, content: Uint8Array, size = content.length): Uint8Array {
  return join([tarHeader({ name, size }, 0), content, new Uint8Array(tarPadding(content.length))]);
}

/** In pieces of odd lengths, so that no boundary suits the reader. */
function readerOf(bytes: Uint8Array, piece = 4999): TarReader {
  const pieces = function* () {
    for (let at = 0; at < bytes.length; at += piece) yield bytes.slice(at, at + piece);
  };
  return new TarReader(new StreamReader(ReadableStream.from(pieces())));
}

/** Does with the bytes what an import does. */
async function unpack(bytes: Uint8Array, directory: string): Promise<SealedManifest> {
  const tar = readerOf(bytes);
  const manifest = await readArchivedManifest(tar);
  await unpackFiles(tar, manifest, directory);
  return manifest;
}

/** Corrects the checksum after another field was changed. */
function withField(header: Uint8Array, at: number, value: string): Uint8Array {
  const changed = header.slice();
  changed.set(text(value), at);
  changed.fill(0x20, 148, 156);
  const sum = changed.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  changed.set(text(`${sum.toString(8).padStart(6, "0")}\0 `), 148);
  return changed;
}

Deno.test("archive: a written archive reads back the same, with holes for its zeros", async () => {
  await withDirectory(async (directory) => {
    const { directory: from, manifest } = await snapshot(directory);
    const bytes = await packed(from, manifest);
    assertEquals(bytes.length % 10240, 0);
    const { unsyncedSinceBoot: _, ...portable } = manifest;
    for (const piece of [1 << 20, 4999, 512]) {
      const to = await prepareSnapshot(`${directory}/elsewhere`);
      const tar = readerOf(bytes, piece);
      assertEquals(await readArchivedManifest(tar), portable);
      let count = 0;
      await unpackFiles(tar, manifest, to, (more) => count += more);
      assertEquals(count, (3 << 20) + 5);
      for (const name of Object.keys(manifest.files)) {
        assertEquals(await Deno.readFile(`${to}/${name}`), await Deno.readFile(`${from}/${name}`));
      }
      const { blocks, mode } = await Deno.stat(`${to}/ram`);
      assert(blocks! * 512 <= 64 * 1024, `${blocks} blocks`);
      assertEquals(mode! & 0o777, 0o600);
    }
  });
});

Deno.test("archive: a file that changed after it was hashed is not exported", async () => {
  await withDirectory(async (directory) => {
    const { directory: from, manifest } = await snapshot(directory);
    using file = await Deno.open(`${from}/ram`, { write: true });
    await file.seek(1 << 20, Deno.SeekMode.Start);
    await file.write(text("!"));
    const written = packed(from, manifest);
    await assertRejects(() => written, Error, "'ram' differs from what was captured");
  });
});

Deno.test("archive: the header can hold any size", async () => {
  const size = 9 * 2 ** 30;
  const header = tarHeader({ name: "ram", size }, 0);
  assertEquals(header.length, 3 * 512);
  assertEquals(await readerOf(header).next(), { name: "ram", size });
});

Deno.test("archive: hostile archives are refused", async (t) => {
  await withDirectory(async (directory) => {
    const { directory: from, manifest } = await snapshot(directory);
    const good = await packed(from, manifest);
    const contents = new Map<string, Uint8Array>();
    for (const name of Object.keys(manifest.files)) contents.set(name, await Deno.readFile(`${from}/${name}`));
    const files = [...contents].map(([name, content]) => member(name, content));
    const written = (changes: unknown) => member("manifest.json", text(JSON.stringify(changes)));
    const head = written(manifest);
    const ram = contents.get("ram")!;
    const fileAs = (changes: object) => ({ ...manifest, files: { ...manifest.files, ram: { ...changes } } });

    const refuses = (title: string, bytes: Uint8Array, why: string) =>
      t.step(title, async () => {
        const to = await Deno.makeTempDir({ dir: directory });
        await assertRejects(() => unpack(bytes, to), Error, why);
        for await (const { name } of Deno.readDir(to)) assert(contents.has(name), name);
        assertEquals((await Array.fromAsync(Deno.readDir(directory))).some(({ name }) => name === "evil"), false);
      });

    await refuses("an empty file", new Uint8Array(0), "cut off");
    await refuses("not a tar archive", text("x".repeat(10240)), "not a tar archive");
    await refuses("an empty archive", tarEnd(0), "it begins with nothing");
    for (const length of [100, 512, 700, good.length - 10240 - 5000, good.length - 10240]) {
      await refuses(`cut to ${length} bytes`, good.subarray(0, length), "cut off");
    }
    await refuses("data after the end", join([good, text("more")]), "something follows its end");
    await refuses("another archive after the end", join([good, good]), "something follows its end");
    await refuses("too many zeros after the end", join([good, new Uint8Array(2 << 20)]), "something follows its end");
    await refuses(
      "only one block of zeros",
      join([head, ...files, new Uint8Array(512), head]),
      "something follows its end",
    );
    await refuses("no manifest", join([...files, tarEnd(0)]), "it begins with 'ram'");
    await refuses("a manifest that is not JSON", join([member("manifest.json", text("{")), tarEnd(0)]), "not JSON");
    await refuses("a huge manifest", tarHeader({ name: "manifest.json", size: 2 ** 40 }, 0), "too long");
    await refuses("another format", written({ ...manifest, format: 99 }), "has format 99");
    await refuses("a manifest that is not an object", written(null), "has format undefined");

    for (const name of ["../evil", "/evil", "a/../../evil", "a/b", ".hidden", "", "manifest.json", "x".repeat(65)]) {
      const changed = { ...manifest, files: { ...manifest.files, [name]: manifest.files.ram } };
      await refuses(`a manifest that lists '${name}'`, written(changed), `a file called '${name}'`);
      if (name.length > 60) continue;
      const why = name === "manifest.json" ? "" : "its manifest does not list";
      await refuses(`a member called '${name}'`, join([head, member(name, text("evil")), tarEnd(0)]), why);
    }
    await refuses(
      "a path in the header's prefix",
      join([head, withField(tarHeader({ name: "ram", size: 0 }, 0), 345, ".."), tarEnd(0)]),
      "its manifest does not list '../ram'",
    );
    await refuses(
      "a path in an extended header",
      join([head, paxHeader("path", "../evil"), files[0], tarEnd(0)]),
      "has 'path'",
    );
    for (const [type, title] of [["1", "hard link"], ["2", "symbolic link"], ["3", "device"], ["5", "directory"]]) {
      const link = withField(withField(tarHeader({ name: "ram", size: 0 }, 0), 156, type), 157, "/etc/passwd");
      await refuses(`a ${title}`, join([head, link, tarEnd(0)]), "'ram' in it is not a plain file");
    }
    await refuses("a GNU tar sparse file", join([head, withField(files[0], 156, "S")]), "not a plain file");
    await refuses("a global header", join([withField(files[0], 156, "g"), head]), "not a plain file");
    await refuses("a duplicate file", join([head, files[1], ...files, tarEnd(0)]), "or it contains that file twice");
    await refuses("a missing file", join([head, ...files.slice(0, 2), tarEnd(0)]), "its file 'disk.qcow2' is missing");
    await refuses(
      "a wrong size",
      join([head, member("ram", ram.subarray(0, 512)), tarEnd(0)]),
      "has 512 bytes instead",
    );
    await refuses("a false size", join([head, tarHeader({ name: "ram", size: ram.length }, 0)]), "cut off");
    await refuses("no size", join([head, withField(files[0].subarray(0, 512), 124, "9".repeat(11))]), "how long 'ram'");
    await refuses(
      "a wrong size in an extended header",
      join([head, paxHeader("size", "5"), ...files, tarEnd(0)]),
      "has 5 bytes instead",
    );
    await refuses("a damaged header", join([head, files[0].map((byte, at) => at === 0 ? 0x73 : byte)]), "damaged");
    await refuses(
      "changed content",
      join([head, member("ram", ram.map((byte) => byte ^ 1)), tarEnd(0)]),
      "differs from what was captured",
    );

    await refuses("no digest", written(fileAs({ ...manifest.files.ram, sha256: undefined })), "no digest for 'ram'");
    await refuses(
      "a negative size",
      written(fileAs({ ...manifest.files.ram, size: -1 })),
      "no valid description of 'ram'",
    );
    await refuses(
      "a huge size",
      written(fileAs({ ...manifest.files.ram, size: 1e300 })),
      "no valid description of 'ram'",
    );
    await refuses(
      "invalid samples",
      written(fileAs({ ...manifest.files.ram, pages: ["../x"] })),
      "no valid description of 'ram'",
    );
    const pages = Array.from({ length: 5000 }, (_, at) => at);
    await refuses("many samples", written(fileAs({ ...manifest.files.ram, pages })), "no valid description of 'ram'");
    await refuses(
      "no fingerprint",
      written({ ...manifest, files: { ...manifest.files, ram: null } }),
      "no valid description of 'ram'",
    );
    await refuses("no files", written({ ...manifest, files: {} }), "no file 'ram'");
    await refuses(
      "an invalid identity",
      written({ ...manifest, identity: { memory: 3 } }),
      "an identity with other values",
    );
    await refuses("an invalid guest", written({ ...manifest, guest: { frozen: "all" } }), "no state of the guest");
    const peers = { ...manifest.guest, peers: [65_536] };
    await refuses("an impossible peer", written({ ...manifest, guest: peers }), "no state of the guest");
    await refuses("no date", written({ ...manifest, created: "yesterday" }), "no date");
  });
});

function paxHeader(key: string, value: string): Uint8Array {
  const rest = ` ${key}=${value}\n`;
  const record = text(`${rest.length + 2}${rest}`);
  return join([
    withField(tarHeader({ name: "extension", size: record.length }, 0), 156, "x"),
    record,
    new Uint8Array(tarPadding(record.length)),
  ]);
}

Deno.test("archive: an imported snapshot is the newest, and keeps its id if possible", async () => {
  await withDirectory(async (directory) => {
    const { manifest } = await snapshot(directory);
    const adopt = async (id: string) => {
      const prepared = await prepareSnapshot(`${directory}/home`);
      await unpack(await packed(`${directory}/${ID}`, manifest), prepared);
      const { manifest: { id: given } } = await adoptSnapshot(prepared, { ...manifest, id });
      const newest = await newestSnapshot(`${directory}/home`);
      assertEquals([newest?.manifest.id, newest?.manifest.unsyncedSinceBoot], [given, undefined]);
      assertEquals(newest?.manifest.files.ram.sha256, manifest.files.ram.sha256);
      return given;
    };
    assertEquals(await adopt(ID), ID);
    assert(await adopt(ID) > ID);
    assert(await adopt("20230102T030405Z-0a1b") > ID);
    for (const odd of ["29990101T000000Z-0000", "../../evil", "20999999T999999Z-0000", "zzz"]) {
      assert(/^20[2-8]\d{5}T\d{6}Z-/.test(await adopt(odd)), odd);
    }
  });
});

Deno.test("snapshot ids: a unique prefix is enough", async () => {
  const ids = ["20240102T030405Z-0a1b", "20240102T030405Z-0a2c", "20250101T000000Z-ffff"];
  assertEquals(findId(ids, undefined, "demo"), ids[2]);
  assertEquals(findId(ids, "2025", "demo"), ids[2]);
  assertEquals(findId(ids, ids[0], "demo"), ids[0]);
  assertEquals(findId(ids, "20240102T030405Z-0a2", "demo"), ids[1]);
  const fails = async (all: string[], prefix: string | undefined, why: string) =>
    await assertRejects(() => Promise.try(() => findId(all, prefix, "demo")), Error, why);
  await fails(ids, "2024", `2 snapshots of 'demo' begin with '2024' (${ids[0]}, ${ids[1]}): type more of the id`);
  await fails(ids, "2026", "'demo' has no snapshot '2026'");
  await fails(ids, "0a1b", "'demo' has no snapshot '0a1b'");
  await fails([], undefined, "'demo' has no snapshot: 'hotboot start'");
  await fails([], "2026", "'demo' has no snapshot");
});
