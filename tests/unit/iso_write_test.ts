import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { toBytes } from "@std/streams/to-bytes";
import { type IsoEntry, IsoError, type IsoOptions } from "../../lib/iso/entry.ts";
import { layOut } from "../../lib/iso/layout.ts";
import { readIso } from "../../lib/iso/read.ts";
import { scanFiles } from "../../lib/iso/scan.ts";
import { TreeBuilder } from "../../lib/iso/tree.ts";
import { createIso, writeIso } from "../../lib/iso/write.ts";
import { withDirectory } from "./temporary.ts";
import { isAtLeast } from "../../lib/cli/permissions/program.ts";

const SECTOR = 2048;
const DATE = new Date("2026-01-02T03:04:05Z");
const encode = (text: string) => new TextEncoder().encode(text);
const file = (path: string, text = path): IsoEntry => ({ kind: "file", path, content: encode(text) });

async function image(entries: IsoEntry[], options: IsoOptions = {}): Promise<Uint8Array> {
  return await toBytes(createIso(entries, { date: DATE, ...options }));
}

/** A path table's rows, read independently of the writer. */
function pathTable(bytes: Uint8Array, descriptor: number, littleEndian: boolean) {
  const view = new DataView(bytes.buffer);
  const size = view.getUint32(descriptor * SECTOR + 132, true);
  const sector = littleEndian
    ? view.getUint32(descriptor * SECTOR + 140, true)
    : view.getUint32(descriptor * SECTOR + 148);
  const rows: { id: string; extent: number; parent: number }[] = [];
  for (let at = sector * SECTOR, end = at + size; at < end;) {
    const length = bytes[at];
    const id = new TextDecoder("latin1").decode(bytes.subarray(at + 8, at + 8 + length));
    rows.push({ id, extent: view.getUint32(at + 2, littleEndian), parent: view.getUint16(at + 6, littleEndian) });
    at += 8 + length + (length % 2);
  }
  return rows;
}

/** A directory's identifiers in order, with each record's offset and length. */
function identifiers(bytes: Uint8Array, extent: number) {
  const view = new DataView(bytes.buffer);
  const size = view.getUint32(extent * SECTOR + 10, true);
  const found: { id: string; offset: number; length: number }[] = [];
  for (let at = 0; at < size;) {
    const offset = extent * SECTOR + at;
    const length = bytes[offset];
    if (length === 0) {
      at = Math.ceil((at + 1) / SECTOR) * SECTOR;
      continue;
    }
    const id = new TextDecoder("latin1").decode(bytes.subarray(offset + 33, offset + 33 + bytes[offset + 32]));
    found.push({ id, offset, length });
    at += length;
  }
  return found;
}

Deno.test("iso: path tables are the same in both byte orders, and sorted by level, parent and name", async () => {
  const names = ["zeta", "alpha", "m", "mm", "a1", "b"];
  const entries = names.flatMap((a) => names.map((b) => file(`${a}/${b}/f`)));
  const bytes = await image(entries);
  for (const descriptor of [16, 17]) {
    const rows = pathTable(bytes, descriptor, true);
    assertEquals(pathTable(bytes, descriptor, false), rows);
    assertEquals(rows.length, 1 + 6 + 36);
    assertEquals([rows[0].id, rows[0].parent], ["\0", 1]);
    const levels = rows.map(() => 0);
    for (const [index, { parent }] of rows.entries()) levels[index] = index === 0 ? 1 : levels[parent - 1] + 1;
    const keys = rows.map(({ id, parent }, index) => [levels[index], parent, id] as const);
    const sorted = keys.toSorted((a, b) => a[0] - b[0] || a[1] - b[1] || (a[2] < b[2] ? -1 : 1));
    assertEquals(keys, sorted);
    for (const { extent } of rows) assertEquals(bytes[extent * SECTOR + 33], 0); // each points to a directory
  }
});

Deno.test("iso: records are sorted as ECMA-119 requires, and none straddles a sector", async () => {
  const names = [
    "a",
    "a.b",
    "a.1",
    "a.12",
    "ab",
    "a-b",
    "b",
    "1",
    "10",
    "2",
    ...Array.from({ length: 300 }, (_, n) => `n${n}`),
  ];
  const bytes = await image(names.map((name) => file(name)));
  for (const descriptor of [16, 17]) {
    const [root] = pathTable(bytes, descriptor, true);
    const view = new DataView(bytes.buffer);
    const size = view.getUint32(descriptor * SECTOR + 166, true);
    assertEquals(size % SECTOR, 0); // a directory's length includes the unused bytes at its end
    assertEquals(view.getUint32(root.extent * SECTOR + 10, true), size);
    const found = identifiers(bytes, root.extent);
    const ids = found.map(({ id }) => id).slice(2);
    assertEquals(ids.length, names.length);
    const key = (id: string) => descriptor === 17 ? id : id.replace(/;1$/, "").replace(".", " ".repeat(20));
    assertEquals(ids, ids.toSorted((a, b) => (key(a) < key(b) ? -1 : 1)));
    for (const { offset, length } of found) assert(offset % SECTOR + length <= SECTOR);
  }
});

Deno.test("iso: identifiers are valid and unique, whatever the names", async () => {
  const names = [
    "ä.txt",
    "ö.txt",
    "ü.txt",
    ...Array.from({ length: 1100 }, (_, n) => `a name that is long enough to be cut ${n}.extension-long`),
    "noext",
    "noext.",
    ".hidden",
    "two.dots.here",
    "日本",
    "x".repeat(255),
  ];
  const directories = names.slice(0, 50).map((name) => file(`dirs/${name}/f`));
  const bytes = await image([...names.map((name) => file(name)), ...directories], { joliet: false });
  using read = await readIso(bytes);
  const seen = new Set<string>();
  for (const { extent } of pathTable(bytes, 16, true)) {
    const inOne = new Set<string>();
    for (const { id } of identifiers(bytes, extent).slice(2)) {
      assertMatch(id, /^(?:[A-Z0-9_]{1,30}|[A-Z0-9_]*\.[A-Z0-9_]*;1)$/);
      assert(id.replace(";1", "").replace(".", "").length <= 30, id);
      const shown = id.replace(/\.?;1$/, "");
      assert(!inOne.has(shown), id);
      inOne.add(shown);
    }
  }
  for await (const { path } of read.entries("rock-ridge")) seen.add(path);
  for (const name of names) assert(seen.has(name), name);
});

Deno.test("iso: the same input and date give the same bytes; another date does not", async () => {
  const entries = [file("b"), file("a/c"), { kind: "symlink", path: "l", target: "b" } as const];
  const first = await image(entries);
  assertEquals(await image(entries.toReversed()), first);
  const other = await image(entries, { date: new Date(0) });
  assert(other.length === first.length && other.some((byte, at) => byte !== first[at]));
});

Deno.test("iso: a file of many gigabytes has several sections, all but the last one marked", () => {
  const size = 9 * 2 ** 30 + 12345;
  const stream = () => new ReadableStream<Uint8Array>();
  const entries: IsoEntry[] = [{ kind: "file", path: "big", content: { stream, size } }, file("small")];
  const tree = new TreeBuilder({});
  for (const entry of entries) tree.add(entry, entry.path === "big" ? size : 5);
  const { head, sectors } = layOut(tree.finish(), {});
  const bytes = new Uint8Array(64 * SECTOR);
  let at = 0;
  for (const piece of head()) {
    bytes.set(piece, at);
    at += piece.length;
  }
  const view = new DataView(bytes.buffer);
  for (const descriptor of [16, 17]) {
    const records = identifiers(bytes, pathTable(bytes, descriptor, true)[0].extent)
      .filter(({ id }) => /B\0?I|b\0?i|\0b/.test(id))
      .map(({ offset }) => ({
        extent: view.getUint32(offset + 2, true),
        size: view.getUint32(offset + 10, true),
        flags: bytes[offset + 25],
      }));
    assertEquals(records.map(({ flags }) => flags), [0x80, 0x80, 0]);
    assertEquals(records.reduce((sum, record) => sum + record.size, 0), size);
    for (let n = 1; n < 3; n++) {
      assertEquals(records[n].extent, records[n - 1].extent + records[n - 1].size / SECTOR);
    }
  }
  assert(sectors * SECTOR > size);
});

Deno.test("iso: an entry that cannot be stored is named, with the reason", async () => {
  const link = (path: string, target: string): IsoEntry => ({ kind: "symlink", path, target });
  const cases: [IsoEntry[], RegExp, IsoOptions?][] = [
    [[file("")], /"": a name in it is empty/],
    [[file("/a")], /"\/a": a path in an image does not begin with/],
    [[file("a//b")], /"a\/\/b?": a name in it is empty|"a\/": a name in it is empty/],
    [[file("a/")], /"a\/": a name in it is empty/],
    [[file("a/../b")], /'\.\.' is not a valid name/],
    [[file(".")], /'\.' is not a valid name/],
    [[file("a\0b")], /"a\\u0000b": a name cannot contain a NUL/],
    [[file("a"), file("a")], /"a": two entries have this name/],
    [[file("a"), file("a/b")], /"a": two entries have this name/],
    [[{ kind: "directory", path: "d" }, { kind: "directory", path: "d" }], /"d": it is there twice/],
    [[file("d/Readme"), file("d/README")], /"d\/README" only|differs from "d\/README" only in upper and lower case/],
    [[file("half \ud83d")], /half a surrogate pair/],
    [[file("x".repeat(256))], /more than 255 bytes/],
    [[file("ä".repeat(128))], /more than 255 bytes/],
    [[file("1/2/3/4/5/6/7/8/file")], /at level 9, and there are 8 at most/],
    [[file("a/".repeat(100_000) + "b")], /^.{0,400}at level 100001, and there are 8 at most/],
    [[{ ...file("f"), mtime: DATE }], /image's date is outside the years/, { date: new Date("3000-01-01") }],
    [[], /image's date is outside the years/, { date: new Date(NaN) }],
    [[link("l", "")], /a link's target has 1 to 4095 bytes/],
    [[link("l", "a\0")], /a link's target has/],
    [[link("l", "a")], /only Rock Ridge has symbolic links/, { rockRidge: false }],
    [[{ kind: "file", path: "f", content: { path: "/no/such/file" } }], /"?f"?: its file no longer exists/],
    [[{ kind: "file", path: "f", content: { path: "/" } }], /f: \/ is not a file/],
    [[{ ...file("f"), uid: -1 }], /not user and group ids/],
    [[{ ...file("f"), mtime: new Date("1800-01-01") }], /outside the years 1900 to 2155/],
    [[{ ...file("f"), mtime: new Date(NaN) }], /outside the years 1900 to 2155/],
    [[file("f")], /the label 'x{33}' has 33 bytes: use 32 at most/, { label: "x".repeat(33) }],
  ];
  for (const [entries, why, options] of cases) {
    const error = await assertRejects(() => image(entries, options), IsoError);
    assertMatch(error.message, why);
  }
});

Deno.test("iso: without Joliet, names may differ only in case and have any character, and trees may be deeper", async () => {
  const paths = ["A", "a", "😀", "1/2/3/4/5/6/7/8/9/10/deep"];
  using read = await readIso(await image(paths.map((path) => file(path)), { joliet: false, depth: 20 }));
  const found = (await Array.fromAsync(read.entries())).filter(({ kind }) => kind === "file").map(({ path }) => path);
  assertEquals(found.toSorted(), paths.toSorted());
});

Deno.test("iso: names that Joliet cannot hold are reported, and replaced there", async () => {
  const long = "long ".repeat(20);
  const told: string[] = [];
  const bytes = await image([file(`${long}1.txt`), file(`${long}2.txt`), file("a:b?"), file("a_b_"), file("ok")], {
    onWarning: (message) => told.push(message),
  });
  assertEquals(told.length, 3, told.join("\n"));
  assert(told.every((message) => /Joliet cannot store this name and has '.*' instead/.test(message)));
  using read = await readIso(bytes);
  const joliet = (await Array.fromAsync(read.entries("joliet"))).map(({ path }) => path);
  assertEquals(new Set(joliet).size, 5);
  assert(joliet.every((name) => name.length <= 64 && !/[*/:;?\\]/.test(name)), joliet.join());
  assert(joliet.includes("a_b_") && joliet.includes("ok"));
  assertEquals(joliet.filter((name) => name.endsWith(".txt")).length, 2);

  told.length = 0; // Linux drops dots at the end
  await image([file("same"), file("same.."), file("other.")], { onWarning: (message) => told.push(message) });
  assertEquals(told, [
    "same..: Joliet cannot store this name and has 'same..000' instead",
    "other.: Windows cannot have this name: it ends with a dot. Rename it if Windows has to read it",
  ]);
});

Deno.test("iso: a name beyond Joliet's characters keeps its own in Rock Ridge, and refuses nothing", async () => {
  const told: string[] = [];
  const bytes = await image([file("smile 😀.txt"), file("plain")], { onWarning: (message) => told.push(message) });
  using read = await readIso(bytes);
  const names = async (view?: "joliet") => (await Array.fromAsync(read.entries(view))).map(({ path }) => path);
  assertEquals(await names(), ["plain", "smile 😀.txt"]);
  assertEquals(await names("joliet"), ["plain", "smile _.txt"]);
  assertEquals(told, ["smile 😀.txt: Joliet cannot store this name and has 'smile _.txt' instead"]);
});

Deno.test("iso: names that Windows cannot have are reported, in one line each", async () => {
  const names = ["a<b", "a|b", 'a"b', "dot.", "space ", "CON", "nul.txt", "com¹", "LPT9 .x"];
  const fine = ["console", "com10", "my con", "a.con", ".nul", " a", "ä"];
  const told: string[] = [];
  const onWarning = (message: string) => told.push(message);
  await image([...names, ...fine].map((name) => file(name)), { onWarning });
  const reported = told.map((message) =>
    message.match(/^(.*): Windows cannot have this name: it|^(.*): Windows .* device/)!
  );
  assertEquals(reported.map((match) => match[1] ?? match[2]).toSorted(), names.toSorted());

  told.length = 0;
  await image([file("two\nlines")], { onWarning });
  assertEquals(told, [`"two\\nlines": Joliet cannot store this name and has 'two_lines' instead`]);
  told.length = 0;
  await image(names.map((name) => file(name)), { onWarning, joliet: false });
  assertEquals(told, []);
});

Deno.test("iso: a link that is too long for xorriso is reported; slashes that mean nothing are left out", async () => {
  const targets = ["/", "//", "//z", "a//b", "a/", "/a///b//", "./", "../", "x".repeat(1023), "y/".repeat(511) + "zz"];
  const told: string[] = [];
  const links = targets.map((target, at): IsoEntry => ({ kind: "symlink", path: `${at}`, target }));
  using read = await readIso(await image(links, { onWarning: (message) => told.push(message) }));
  const found = new Map((await Array.fromAsync(read.entries())).map(({ path, target }) => [path, target]));
  const kept = ["/", "/", "/z", "a/b", "a", "/a/b", ".", "..", ...targets.slice(8)];
  assertEquals(targets.map((_, at) => found.get(`${at}`)), kept);
  assertEquals(told.length, 1);
  assertMatch(told[0], /^9: this link's target has 1024 bytes\. Linux reads it, but xorriso refuses/);
});

Deno.test("iso: hard links' bytes are stored once, and times before 1970 are kept", () =>
  withDirectory(async (directory) => {
    const content = crypto.getRandomValues(new Uint8Array(5 * SECTOR));
    await Deno.mkdir(`${directory}/below`);
    await Deno.writeFile(`${directory}/one`, content);
    await Deno.link(`${directory}/one`, `${directory}/below/two`);
    await Deno.writeFile(`${directory}/copy`, content);
    const old = new Date("1969-07-20T20:17:40Z");
    await Deno.utime(`${directory}/copy`, old, old);
    const bytes = await image(await scanFiles([directory]));
    using read = await readIso(bytes);
    const nodes = new Map((await Array.fromAsync(read.entries())).map((node) => [node.path, node]));
    for (const path of ["one", "below/two", "copy"]) assertEquals(await read.bytes(nodes.get(path)!), content);
    assertEquals(nodes.get("one")!.sections, nodes.get("below/two")!.sections);
    assert(nodes.get("one")!.sections[0].offset !== nodes.get("copy")!.sections[0].offset);
    assert(bytes.length < 2 * content.length + 40 * SECTOR);
    if (isAtLeast(Deno.version.deno, 2, 9)) assertEquals(nodes.get("copy")!.mtime, old); // older ones tell another
  }));

Deno.test("iso: content of a wrong size ends the writing, and leaves nothing", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const source = `${directory}/source`;
    await Deno.writeFile(source, new Uint8Array(300_000));
    const target = `${directory}/image.iso`;
    await Deno.writeTextFile(target, "what was there");
    const streamOf = (size: number) => () => new Response(new Uint8Array(size)).body!;
    for (
      const [content, why] of [
        [{ path: source, size: 299_999 }, /has more: /],
        [{ path: source, size: 300_001 }, /only 300000: /],
        [{ stream: streamOf(10), size: 9 }, /has more: /],
        [{ stream: streamOf(10), size: 11 }, /only 10: /],
        [{ path: source, size: 0 }, /has more: /],
        [{ stream: streamOf(10), size: 0 }, /has more: /],
      ] as const
    ) {
      const entries: IsoEntry[] = [file("before"), { kind: "file", path: "changing", content }];
      const error = await assertRejects(() => writeIso(target, entries), IsoError);
      assertMatch(error.message, /changing: it should have/);
      assertMatch(error.message, why);
      assertEquals(await Deno.readTextFile(target), "what was there");
      assertEquals((await Array.fromAsync(Deno.readDir(directory))).length, 2);
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("iso: an aborted write leaves nothing, and the old file stays", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const abort = new AbortController();
    const stream = () => {
      abort.abort(new Error("enough"));
      return new Response(new Uint8Array(9 << 20)).body!;
    };
    const entries: IsoEntry[] = [{ kind: "file", path: "f", content: { stream, size: 9 << 20 } }];
    await assertRejects(() => writeIso(`${directory}/image`, entries, { signal: abort.signal }), Error, "enough");
    assertEquals(await Array.fromAsync(Deno.readDir(directory)), []);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("iso: an abort also ends a silent input stream and an image that is written as a stream", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const abort = new AbortController();
    const stream = () =>
      new ReadableStream<Uint8Array>({
        pull() {
          setTimeout(() => abort.abort(new Error("enough")));
          return new Promise(() => {});
        },
      });
    const options = { signal: abort.signal };
    const entries: IsoEntry[] = [{ kind: "file", path: "f", content: { stream, size: 5 } }];
    await assertRejects(() => writeIso(`${directory}/image`, entries, options), Error, "enough");
    assertEquals(await Array.fromAsync(Deno.readDir(directory)), []);
    await assertRejects(() => image([file("f")], options), Error, "enough");
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("iso: an image does not replace a device, a directory or a link", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const pipe = `${directory}/pipe`;
    await new Deno.Command("mkfifo", { args: [pipe] }).output();
    for (const path of [pipe, directory]) {
      const error = await assertRejects(() => writeIso(path, [file("f")]), IsoError);
      assertMatch(error.message, /is not a file, so it is not replaced/);
    }
    assert((await Deno.lstat(pipe)).isFifo);
    await Deno.writeTextFile(`${directory}/before`, "");
    await Deno.symlink("before", `${directory}/link`);
    const size = await writeIso(`${directory}/link`, [file("f")]);
    assertEquals((await Deno.stat(`${directory}/before`)).size, size);
    assertEquals(Array.from(Deno.readDirSync(directory), ({ name }) => name).sort(), ["before", "link", "pipe"]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("iso: an image is not put into itself, and a file name that is not UTF-8 is an error", async () => {
  const directory = await Deno.makeTempDir();
  const shell = (script: string) => new Deno.Command("bash", { args: ["-c", script], cwd: directory }).output();
  try {
    const output = `${directory}/image.iso`;
    await Deno.writeTextFile(`${directory}/a`, "a");
    for (let run = 0; run < 2; run++) {
      const entries = await scanFiles([directory], output);
      assertEquals(entries.map(({ path }) => path), ["a"]);
      await writeIso(output, entries);
    }
    assertEquals((await scanFiles([output], output)).length, 1); // but it is, if named explicitly

    if (isAtLeast(Deno.version.deno, 2, 8)) { // older ones skip it when they list a directory
      await shell("touch $'bad\\xff'");
      await assertRejects(() => scanFiles([directory]), IsoError, "its name is not UTF-8");
    }
    await shell("rm bad*; ln -s $'to\\xff' link");
    await assertRejects(() => scanFiles([directory]), IsoError, "link\": this link's target cannot be read");
  } finally {
    await shell("rm -f link bad*");
    await Deno.remove(directory, { recursive: true });
  }
});
