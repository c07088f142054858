import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { toBytes } from "@std/streams/to-bytes";
import { buildIso } from "../../lib/iso/build.ts";
import { HotbootError } from "../../lib/base/error.ts";
import { parseRecordDate } from "../../lib/iso/ecma119.ts";
import { type IsoEntry, IsoError } from "../../lib/iso/entry.ts";
import { loadProfile } from "../../lib/profile/load.ts";
import { compressFile, decompressFile } from "../../lib/zstd/file.ts";
import { ZstdError } from "../../lib/zstd/frame.ts";
import { withDirectory } from "./temporary.ts";
import { extractIso } from "../../lib/iso/extract.ts";
import { type IsoNode, type IsoViewName, readIso } from "../../lib/iso/read.ts";
import { readRockRidge } from "../../lib/iso/susp.ts";
import { inflateFile } from "../../lib/iso/zisofs.ts";
import { createIso } from "../../lib/iso/write.ts";
import { random } from "./random.ts";

const SECTOR = 2048;
const encode = (text: string) => new TextEncoder().encode(text);

const TREE: IsoEntry[] = [
  { kind: "file", path: "runtime.env", content: encode("KEY=value\n"), mode: 0o600, uid: 5, gid: 7 },
  { kind: "file", path: "empty", content: new Uint8Array() },
  { kind: "directory", path: "dir/none", mode: 0o700 },
  { kind: "file", path: `dir/${"long name ".repeat(20)}`, content: encode("long") },
  { kind: "file", path: "dir/größe 日本", content: encode("wide"), mtime: new Date("2001-02-03T04:05:06Z") },
  { kind: "symlink", path: "dir/link", target: `../${"a/".repeat(150)}./../${"x".repeat(255)}` },
  { kind: "symlink", path: "absolute", target: "/etc/hosts" },
];

async function image(entries = TREE): Promise<Uint8Array> {
  const options = { label: "cidata", date: new Date("2026-01-02T03:04:05Z") };
  return await toBytes(createIso(entries, options));
}

/** Everything that an image holds, with the files' content. */
async function readAll(
  bytes: Uint8Array,
  view?: IsoViewName,
): Promise<Map<string, IsoNode & { content?: Uint8Array }>> {
  using read = await readIso(bytes);
  const found = new Map<string, IsoNode & { content?: Uint8Array }>();
  for await (const node of read.entries(view)) {
    found.set(node.path, { ...node, ...(node.kind === "file" && { content: await read.bytes(node) }) });
  }
  return found;
}

Deno.test("iso: each view of a written image reads back all that the view can hold", async () => {
  const bytes = await image();
  using read = await readIso(bytes);
  assertEquals([read.label, ...read.views], ["cidata", "rock-ridge", "joliet", "iso9660"]);

  const full = await readAll(bytes);
  assertEquals([...full.keys()].sort(), [...TREE.map(({ path }) => path), "dir"].sort());
  for (const entry of TREE) {
    const node = full.get(entry.path)!;
    assertEquals(node.kind, entry.kind);
    if (entry.kind === "file") assertEquals(node.content, entry.content);
    if (entry.kind === "symlink") assertEquals(node.target, entry.target);
    if (entry.mode) assertEquals(node.mode, entry.mode);
    assertEquals(node.mtime, entry.mtime ?? new Date("2026-01-02T03:04:05Z"));
  }
  assertEquals([full.get("runtime.env")!.uid, full.get("runtime.env")!.gid], [5, 7]);

  const joliet = await readAll(bytes, "joliet");
  assertEquals(joliet.get("dir/größe 日本")!.content, encode("wide"));
  assertEquals(joliet.has("dir/link"), false);
  assertEquals((await readAll(bytes, "iso9660")).get("RUNTIME.ENV")!.content, encode("KEY=value\n"));
});

Deno.test("iso: the label comes from Joliet if the plain one is incomplete", async () => {
  const read = async (label: string) => (await readIso(buildIso(label, []))).label;
  assertEquals(await read("STACKCFG"), "STACKCFG");
  assertEquals(await read("a label of thirty-two characters"), "a label of thirty-two characters");
  assertEquals(await read("größer"), "größer");
});

Deno.test("iso: a missing view is reported", async () => {
  using read = await readIso(buildIso("X", [{ name: "a", data: new Uint8Array(1) }]));
  assertEquals(read.views, ["joliet", "iso9660"]);
  const error = await assertRejects(() => Array.fromAsync(read.entries("rock-ridge")), IsoError);
  assertMatch(error.message, /no rock-ridge view: choose joliet or iso9660/);
});

/** Changes a copy of an image, and returns the error that reading all of it gives. */
async function refusal(change: (bytes: Uint8Array, view: DataView) => Uint8Array | void): Promise<string> {
  const bytes = await image();
  const changed = change(bytes, new DataView(bytes.buffer)) ?? bytes;
  const error = await assertRejects(async () => {
    for (const view of ["rock-ridge", "joliet", "iso9660"] as const) await readAll(changed, view);
  }, IsoError);
  return error.message;
}

/** The byte at which a directory's record for `identifier` begins. */
function recordAt(bytes: Uint8Array, identifier: string): number {
  const wanted = encode(identifier);
  for (let at = 16 * SECTOR; at < bytes.length; at++) {
    if (bytes[at + 32] === wanted.length && wanted.every((byte, index) => bytes[at + 33 + index] === byte)) return at;
  }
  throw new Error(`no record of ${identifier}`);
}

Deno.test("iso: hostile and damaged images are refused with a reason", async () => {
  assertMatch(await refusal((bytes) => bytes.subarray(0, 20 * SECTOR)), /it is cut off or damaged|descriptor/);
  assertMatch(await refusal((bytes) => bytes.subarray(0, 16 * SECTOR + 100)), /not an ISO 9660 image/);
  assertMatch(await refusal((bytes) => bytes.subarray(0, 17 * SECTOR)), /ends within its volume descriptors/);
  assertMatch(await refusal(() => encode("not an image")), /not an ISO 9660 image/);
  assertMatch(await refusal(() => new Uint8Array()), /not an ISO 9660 image/);
  assertMatch(await refusal((bytes) => void bytes.fill(1, 18 * SECTOR, 18 * SECTOR + 1)), /no end|descriptors/);
  assertMatch(
    await refusal((_, view) => {
      view.setUint16(16 * SECTOR + 128, 512, true);
    }),
    /logical blocks of 512 bytes/,
  );
  assertMatch(
    await refusal((bytes, view) => { // a directory that contains itself
      const at = recordAt(bytes, "DIR");
      view.setUint32(at + 2, view.getUint32(16 * SECTOR + 158, true), true);
    }),
    /belongs to two directories, or to a circle/,
  );
  assertMatch(
    await refusal((bytes, view) => view.setUint32(recordAt(bytes, "DIR") + 2, 0xfffffff0, true)),
    /"dir": it is at bytes .* cut off or damaged/,
  );
  assertMatch(
    await refusal((bytes, view) => view.setUint32(recordAt(bytes, "DIR") + 10, 0xffffffff, true)),
    /"dir": it is at bytes/,
  );
  assertMatch(
    await refusal((bytes, view) => view.setUint32(recordAt(bytes, "RUNTIME.ENV;1") + 10, 0xffffffff, true)),
    /"runtime.env": it is at bytes/,
  );
  assertMatch(await refusal((bytes) => void (bytes[recordAt(bytes, "DIR") + 32] = 250)), /a record in this directory/);
  assertMatch(await refusal((bytes) => void (bytes[recordAt(bytes, "DIR")] = 20)), /a record in this directory/);
  assertMatch(await refusal((bytes) => void (bytes[recordAt(bytes, "EMPTY.;1") + 26] = 1)), /interleaved/);
  assertMatch( // the last record says that more of the same file follows
    await refusal((bytes) => void (bytes[recordAt(bytes, "RUNTIME.ENV;1") + 25] |= 0x80)),
    /"runtime.env": its last section is missing/,
  );
  assertMatch( // but another file follows
    await refusal((bytes) => void (bytes[recordAt(bytes, "EMPTY.;1") + 25] |= 0x80)),
    /"empty": its last section is missing/,
  );
});

/** Replaces all occurrences of some bytes in an image with others of the same length. */
const replace = (from: string | number[], to: string | number[]) => (bytes: Uint8Array) => {
  const [wanted, other] = [from, to].map((each) => typeof each === "string" ? encode(each) : Uint8Array.from(each));
  for (let at = 0; at < bytes.length - wanted.length; at++) {
    if (wanted.every((byte, index) => bytes[at + index] === byte)) bytes.set(other, at);
  }
};

Deno.test("iso: names that lead elsewhere are refused, and circular continuation areas end", async () => {
  assertMatch(await refusal(replace("runtime.env", "../../../ab")), /"\.\.\/\.\.\/\.\.\/ab": this is not a valid name/);
  assertMatch(await refusal(replace("runtime.env", "/etc/passwd")), /this is not a valid name/);
  assertMatch(
    await refusal((bytes, view) => {
      // The long name's continuation area starts with a CE field that leads back to itself.
      const at = bytes.findLastIndex((_, at) =>
        at > 19 * SECTOR && bytes[at] === 0x43 && bytes[at + 1] === 0x45 && bytes[at + 2] === 28
      );
      const area = view.getUint32(at + 4, true) * SECTOR + view.getUint32(at + 12, true);
      view.setUint32(at + 20, 28, true); // the area is only that field
      bytes.copyWithin(area, at, at + 28);
    }),
    /continuation areas never end/,
  );
});

Deno.test("iso: thousands of entries with shared continuation areas take no more work than the image's size", async () => {
  const files = Array.from({ length: 3000 }, (_, n): IsoEntry => (
    { kind: "file", path: `${"n".repeat(250)}${n}`, content: new Uint8Array() }
  ));
  const original = await image(files);
  const chain = 60; // sectors, each with a field that leads to the next one, and others that mean nothing
  const bytes = new Uint8Array(original.length + chain * SECTOR);
  bytes.set(original);
  const view = new DataView(bytes.buffer);
  const fields = Array.from(bytes.keys()).filter((at) =>
    bytes[at] === 0x43 && bytes[at + 1] === 0x45 && bytes[at + 2] === 28
  );
  const lead = (at: number, sector: number) => {
    bytes.set([0x43, 0x45, 28, 1], at);
    view.setUint32(at + 4, sector, true);
    view.setUint32(at + 12, 0, true);
    view.setUint32(at + 20, SECTOR, true);
  };
  const first = original.length / SECTOR;
  for (const at of fields.slice(1)) lead(at, first); // the first one is the root's
  for (let n = 0; n < chain; n++) {
    const at = (first + n) * SECTOR;
    if (n < chain - 1) lead(at, first + n + 1);
    for (let pad = 28; pad < SECTOR; pad += 202) bytes.set([0x50, 0x44, Math.min(202, SECTOR - pad), 1], at + pad);
  }
  const error = await assertRejects(() => readAll(bytes), IsoError);
  assertMatch(error.message, /continuation areas are more than the image/);
});

Deno.test("iso: each of thousands of random changes gives an IsoError or a tree, and always ends", async () => {
  const original = await image();
  const next = random(1);
  const metadata = 40 * SECTOR;
  for (let round = 0; round < 3000; round++) {
    const bytes = original.slice();
    for (let changes = 1 + Math.floor(next() * 6); changes > 0; changes--) {
      bytes[16 * SECTOR + Math.floor(next() * (Math.min(metadata, bytes.length) - 16 * SECTOR))] = Math.floor(
        next() * 256,
      );
    }
    for (const view of ["rock-ridge", "joliet", "iso9660"] as const) {
      try {
        let total = 0;
        using read = await readIso(bytes);
        for await (const node of read.entries(view)) total += node.path.length;
        assert(total < 1_000_000);
      } catch (error) {
        assert(error instanceof IsoError, `round ${round}: ${error}`);
      }
    }
  }
});

Deno.test("iso: an entry that cannot be extracted is named, without terminal control characters", async () => {
  const link: IsoEntry = { kind: "symlink", path: "link", target: "abcdefgh" };
  const cases: [IsoEntry, string | number[], string | number[], RegExp][] = [
    [link, "abcdefgh", "abc\0efgh", /^"link": cannot be written \(.*NUL.*\): extract into another directory$/],
    [link, "SL", "XX", /^"link": cannot be written \(/], // without a target
    [
      { kind: "file", path: "n".repeat(200), content: encode("x") },
      "nn",
      [0xe9, 0xe9],
      /^"é+": cannot be written \(/,
    ],
    // A character device with escape sequences in its name.
    [
      { kind: "file", path: "device", content: encode("x") },
      "device",
      "\x1b[31m\x7f",
      /^"\\u001b\[31m\?": left out, because it is a device/,
    ],
  ];
  for (const [entry, from, to, why] of cases) {
    const bytes = await image([entry]);
    replace(from, to)(bytes);
    if (entry.path === "device") replace([0xa4, 0x81], [0xa4, 0x21])(bytes); // a file's type and mode, 0o100644
    const directory = await Deno.makeTempDir();
    let said = "";
    try {
      using read = await readIso(bytes);
      await extractIso(read, directory, { view: "rock-ridge", onWarning: (message) => said = message })
        .catch((error) => {
          assert(error instanceof IsoError, `${error}`);
          said = error.message;
        });
      assertMatch(said, why);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  }
});

Deno.test("iso: a resource fork, which has its file's name, is not taken for the file", async () => {
  const bytes = await image();
  bytes[recordAt(bytes, "EMPTY.;1") + 25] |= 0x04;
  assertEquals((await readAll(bytes)).has("empty"), false);
});

Deno.test("iso: an unspecified long-form time is no time", async () => {
  const time = async (digits: string) => {
    const field = Uint8Array.of(...encode("TF"), 22, 1, 0x82, ...encode(digits), 0);
    const fail = (why: string): never => {
      throw new Error(why);
    };
    return (await readRockRidge(field, SECTOR, () => fail("there is no more"), fail)).mtime;
  };
  assertEquals(await time("2001020304050600"), new Date("2001-02-03T04:05:06Z"));
  assertEquals(await time("0000000000000000"), undefined);
});

Deno.test("iso: files compressed with zisofs are inflated, and damaged ones are refused", async () => {
  const deflated = (bytes: Uint8Array<ArrayBuffer>) =>
    toBytes(new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate")));
  const block = 2 ** 15;
  const first = new Uint8Array(block).map((_, at) => at % 251);
  const last = encode("the end");
  const [one, three] = [await deflated(first), await deflated(last)];
  const size = 2 * block + last.length; // the second block has no bytes, which means zeros
  const stored = new Uint8Array(32 + one.length + three.length);
  const view = new DataView(stored.buffer);
  stored.set([0x37, 0xe4, 0x53, 0x96, 0xc9, 0xdb, 0xd6, 0x07]);
  view.setUint32(8, size, true);
  stored.set([4, 15], 12);
  [32, 32 + one.length, 32 + one.length, stored.length].forEach((end, at) => view.setUint32(16 + 4 * at, end, true));
  stored.set(one, 32);
  stored.set(three, 32 + one.length);
  const read = async (stored: Uint8Array, told = size) => {
    const at = (offset: number, into: Uint8Array) =>
      Promise.resolve(into.set(stored.subarray(offset, offset + into.length)));
    const parts = await Array.fromAsync(inflateFile({ path: "z", size: told, stored: stored.length, read: at }));
    return new Uint8Array(await new Blob(parts as Uint8Array<ArrayBuffer>[]).arrayBuffer());
  };
  assertEquals(await read(stored), Uint8Array.of(...first, ...new Uint8Array(block), ...last));

  const bomb = await deflated(new Uint8Array(50 << 20));
  const changes: [RegExp, (bytes: Uint8Array, view: DataView) => Uint8Array | void, number?][] = [
    [/unknown format/, (bytes) => void bytes.fill(0, 0, 8)],
    [/blocks of 2\^40 bytes/, (bytes) => void bytes.fill(40, 13, 14)],
    [/two different sizes/, () => {}, size + 1],
    [/part of it is missing/, (_, view) => view.setUint32(8, 0xffffffff, true), 0xffffffff],
    [/part of it is missing/, (bytes) => bytes.subarray(0, bytes.length - 1)],
    [/block 0 has -1 bytes/, (_, view) => view.setUint32(20, 31, true)],
    [/block 0 is damaged/, (bytes) => void bytes.fill(0xff, 32, 40)],
    [/block 0 is damaged/, (bytes, view) => {
      view.setUint32(20, 32 + bomb.length, true);
      return Uint8Array.of(...bytes.subarray(0, 32), ...bomb);
    }],
  ];
  for (const [why, change, told] of changes) {
    const bytes = stored.slice();
    const changed = change(bytes, new DataView(bytes.buffer)) ?? bytes;
    assertMatch((await assertRejects(() => read(changed, told), IsoError)).message, why);
  }
});

Deno.test("iso: files compressed with zisofs version 2 are inflated; other algorithms and versions are named", async () => {
  const content = new Uint8Array(3 * 2 ** 20 / 2).map((_, at) => at % 249);
  const parts = await Promise.all(
    [content.slice(0, 2 ** 20), content.slice(2 ** 20)].map((part) =>
      toBytes(new Blob([part]).stream().pipeThrough(new CompressionStream("deflate")))
    ),
  );
  const stored = new Uint8Array(48 + parts[0].length + parts[1].length);
  const view = new DataView(stored.buffer);
  stored.set([0xef, 0x22, 0x55, 0xa1, 0xbc, 0x1b, 0x95, 0xa0, 0, 6, 1, 20]);
  view.setBigUint64(12, BigInt(content.length), true);
  [48, 48 + parts[0].length, stored.length].forEach((end, at) => view.setBigUint64(24 + 8 * at, BigInt(end), true));
  stored.set(parts[0], 48);
  stored.set(parts[1], 48 + parts[0].length);
  const read = async (stored: Uint8Array) => {
    const at = (offset: number, into: Uint8Array) =>
      Promise.resolve(into.set(stored.subarray(offset, offset + into.length)));
    const file = { path: "z", size: content.length, stored: stored.length, read: at };
    return await toBytes(ReadableStream.from(inflateFile(file)));
  };
  assertEquals(await read(stored), content);
  const changes: [RegExp, (bytes: Uint8Array, view: DataView) => void][] = [
    [/algorithm 2, where hotboot knows only 1 \(zlib\)/, (bytes) => bytes.fill(2, 10, 11)],
    [/blocks of 2\^21 bytes/, (bytes) => bytes.fill(21, 11, 12)],
    [/two different sizes/, (_, view) => view.setUint32(16, 1, true)],
    [/a part of it is missing/, (_, view) => view.setBigUint64(24, 2n ** 60n, true)],
    [/block 0 has \d+ bytes/, (_, view) => view.setBigUint64(32, 2n ** 60n, true)],
    [/block 1 is damaged/, (bytes) => bytes.fill(0xff, 48 + parts[0].length, 60 + parts[0].length)],
  ];
  for (const [why, change] of changes) {
    const bytes = stored.slice();
    change(bytes, new DataView(bytes.buffer));
    const error = await assertRejects(() => read(bytes), IsoError);
    if (why.source.startsWith("a part")) assertMatch(error.message, /block 0 has -\d+ bytes|a part of it is missing/);
    else assertMatch(error.message, why);
  }
});

Deno.test("iso: a field that lies about its length spoils its own entry only, which is reported", async () => {
  const told: string[] = [];
  const read = async (bytes: Uint8Array) => {
    told.length = 0;
    using image = await readIso(bytes, { onWarning: (message) => told.push(message) });
    return await Array.fromAsync(image.entries());
  };
  const entries: IsoEntry[] = [
    { kind: "symlink", path: "link", target: "abcdefgh" },
    { kind: "file", path: "other", content: encode("x") },
  ];
  const original = await image(entries);
  assertEquals((await read(original)).map(({ target }) => target), ["abcdefgh", undefined]);
  assertEquals(told, []);
  const at = original.findIndex((_, at) =>
    original[at] === 0x53 && original[at + 1] === 0x4c && original[at + 3] === 1
  );
  for (
    const [offset, value, target, why] of [
      [6, 12, "abcdefgh", /^link: a part of its link's target is longer than the field that holds it/],
      [2, 200, "", /^link: one of its Rock Ridge fields has the length 200, and what follows that is not read$/],
      [2, 3, "", /^link: one of its Rock Ridge fields has the length 3,/],
    ] as const
  ) {
    const bytes = original.slice();
    bytes[at + offset] = value;
    assertEquals((await read(bytes)).map(({ path, target }) => [path, target]), [["link", target], [
      "other",
      undefined,
    ]]);
    assertEquals(told.length, 1);
    assertMatch(told[0], why);
  }
});

Deno.test("iso: an image whose files are in a UDF file system is reported, and one that has them in both is not", async () => {
  const note: IsoEntry = { kind: "file", path: "README.TXT", content: encode("Use UDF.") };
  const udf = async (entries: IsoEntry[], identifier: string) => {
    const bytes = await image(entries); // sectors 19 to 22 are its path tables, which hotboot does not read
    ["BEA01", identifier, "TEA01"].forEach((text, at) => bytes.set(encode(`\0${text}\x01`), (19 + at) * SECTOR));
    const told: string[] = [];
    using read = await readIso(bytes, { onWarning: (message) => told.push(message) });
    await Array.fromAsync(read.entries());
    return told;
  };
  for (const identifier of ["NSR02", "NSR03"]) {
    const told = await udf([note], identifier);
    assertEquals(told.length, 1);
    assertMatch(told[0], /a UDF file system, too, which hotboot cannot read\. Its ISO 9660 part has only README\.TXT:/);
  }
  assertMatch((await udf([], "NSR02"))[0], /part has nothing:/);
  assertEquals(await udf([note], "NSR01"), []);
  assertEquals(await udf(TREE, "NSR02"), []);
});

Deno.test("iso: a date with an impossible zone is in UTC", () => {
  const bytes = (zone: number) => Uint8Array.of(126, 1, 2, 3, 4, 5, zone & 0xff);
  const at = "2026-01-02T03:04:05.000Z";
  assertEquals(
    [0, 4, -48, 52, -49, 53, 127].map((zone) => parseRecordDate(bytes(zone))?.toISOString()),
    [at, "2026-01-02T02:04:05.000Z", "2026-01-02T15:04:05.000Z", "2026-01-01T14:04:05.000Z", at, at, at],
  );
});

Deno.test("files: a pipe is refused, and not waited for", () =>
  withDirectory(async (directory) => {
    const pipe = `${directory}/pipe.json`;
    assert((await new Deno.Command("mkfifo", { args: [pipe] }).output()).success);
    await assertRejects(() => readIso(pipe), IsoError, "is a pipe, not an image: name a file");
    await assertRejects(() => decompressFile(pipe, `${directory}/out`), ZstdError, "is a pipe: name a file");
    await assertRejects(() => compressFile(pipe, `${directory}/out`), ZstdError, "is a pipe: name a file");
    await assertRejects(() => loadProfile(pipe), HotbootError, "is a pipe, not a profile: name a file");
  }));
