import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { concat } from "@std/bytes/concat";
import { equals } from "@std/bytes/equals";
import { toBytes } from "@std/streams/to-bytes";
import { isAtLeast } from "../../lib/cli/permissions/program.ts";
import type { ZstdEngineName } from "../../lib/zstd/engine.ts";
import { openEngine } from "../../lib/zstd/open_engine.ts";
import { compressFile, decompressFile } from "../../lib/zstd/file.ts";
import { readHeader, ZstdError } from "../../lib/zstd/frame.ts";
import { FRAME } from "../../lib/zstd/jobs.ts";
import { isZero, stretches } from "../../lib/zstd/sparse.ts";
import { zstdCompressStream, zstdDecompressStream } from "../../lib/zstd/stream.ts";
import { ContentChecksum, contentChecksum } from "../../lib/zstd/xxh64.ts";
import { random } from "./random.ts";
import { withDirectory as inDirectory } from "./temporary.ts";

/** Before 2.7, Deno's own zstd does not write all frame fields that it is asked to. */
const HAS_NATIVE = isAtLeast(Deno.version.deno, 2, 7);
const ENGINES: ZstdEngineName[] = HAS_NATIVE ? ["native", "wasm"] : ["wasm"];
const KIB = 1024;
const MIB = 1024 * KIB;

/** Uses a directory, and asserts that no temporary files are left in it. */
async function withDirectory(use: (path: string) => Promise<void>): Promise<void> {
  await inDirectory(async (directory) => {
    await use(directory);
    const left = [...Deno.readDirSync(directory)].filter(({ name }) => name.endsWith(".tmp"));
    assertEquals(left, []);
  });
}

/** Tests with each engine, in a new directory. */
function testEngines(name: string, use: (engine: ZstdEngineName, directory: string) => Promise<void>): void {
  for (const engine of ENGINES) {
    Deno.test(`zstd: ${name} (${engine})`, () => withDirectory((directory) => use(engine, directory)));
  }
}

/** Runs the `zstd` tool. */
async function tool(...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("zstd", { args: ["-q", "-f", ...args] }).output();
  assert(success, new TextDecoder().decode(stderr));
}

/** Bytes like those in a VM's memory: repeated words, noise, and pages of zeros. */
function memory(size: number, seed = 1): Uint8Array<ArrayBuffer> {
  const next = random(seed);
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 4 * KIB) {
    const page = bytes.subarray(at, at + 4 * KIB);
    const kind = next();
    if (kind < 0.4) continue;
    const range = kind < 0.5 ? 256 : 8;
    for (let index = 0; index < page.length; index++) page[index] = next() * range;
  }
  return bytes;
}

async function through(bytes: Uint8Array, stream: TransformStream<Uint8Array, Uint8Array>): Promise<Uint8Array> {
  const chunks = function* () {
    for (let at = 0; at < bytes.length; at += 100_000) yield bytes.slice(at, at + 100_000);
  };
  const out = ReadableStream.from(chunks()).pipeThrough(stream);
  return await toBytes(out);
}

/** For long arrays, about which assertEquals prints too much. */
function assertSame(actual: Uint8Array, expected: Uint8Array, what?: string): void {
  assertEquals(actual.length, expected.length, what);
  assert(equals(actual, expected), what);
}

/** Decompresses as a file and as a stream: both must fail, in the same way, and leave nothing. */
async function assertRefused(
  bytes: Uint8Array,
  engine: ZstdEngineName,
  directory: string,
  why: RegExp,
  maxBytes?: number,
) {
  const from = `${directory}/refused.zst`;
  await Deno.writeFile(from, bytes);
  const error = await assertRejects(
    () => decompressFile(from, `${directory}/refused`, { engine, maxBytes }),
    ZstdError,
  );
  assertMatch(error.message, why);
  assert(error.message.startsWith(`${from}: `));
  assertEquals([...Deno.readDirSync(directory)].filter(({ name }) => /^refused(?!\.zst$)/.test(name)), []);
  const inStream = await assertRejects(() => through(bytes, zstdDecompressStream({ engine, maxBytes })), ZstdError);
  assertMatch(inStream.message, why);
}

testEngines(
  "the tool reads our files and we read the tool's, at sizes around all limits",
  async (engine, directory) => {
    const [raw, packed, back] = ["raw", "raw.zst", "back"].map((name) => `${directory}/${name}`);
    const around = [KIB, 128 * KIB, FRAME, 2 * FRAME].flatMap((size) => [size - 1, size, size + 1]);
    for (const size of [0, 1, 255, 256, ...around, 3 * FRAME + 12345]) {
      const bytes = memory(size, size);
      await Deno.writeFile(raw, bytes);
      await compressFile(raw, packed, { engine });
      await tool("-d", packed, "-o", back);
      assertSame(await Deno.readFile(back), bytes, `${size}`);
      await decompressFile(packed, back, { engine, maxBytes: size });
      assertSame(await Deno.readFile(back), bytes, `${size}`);
      await tool("-1", raw, "-o", packed);
      await decompressFile(packed, back, { engine });
      assertSame(await Deno.readFile(back), bytes, `${size}`);
    }
    assertEquals((await Deno.stat(packed)).mode! & 0o777, 0o644);
    await compressFile(raw, `${directory}/new.zst`, { engine });
    assertEquals((await Deno.stat(`${directory}/new.zst`)).mode! & 0o777, 0o600);
  },
);

testEngines("all of the tool's formats are read, also concatenated", async (engine, directory) => {
  const bytes = concat([memory(MIB), new Uint8Array(8 * MIB)]); // more than one decompression step takes
  await Deno.writeFile(`${directory}/raw`, bytes);
  const kinds = ["-19", "--no-check", "--long=27", "--ultra -20", "-3 -T0", "--fast=5", "-1 --no-content-size"];
  const files: Uint8Array[] = [];
  for (const kind of kinds) {
    await tool(...kind.split(" "), `${directory}/raw`, "-o", `${directory}/packed`);
    files.push(await Deno.readFile(`${directory}/packed`));
    await decompressFile(`${directory}/packed`, `${directory}/back`, { engine });
    assertSame(await Deno.readFile(`${directory}/back`), bytes, kind);
    assertSame(await through(files.at(-1)!, zstdDecompressStream({ engine })), bytes, kind);
  }
  const skippable = Uint8Array.of(0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3);
  await Deno.writeFile(`${directory}/all`, concat([skippable, files[0], skippable, files[1], files[6], skippable]));
  await decompressFile(`${directory}/all`, `${directory}/back`, { engine });
  const threefold = concat([bytes, bytes, bytes]);
  assertSame(await Deno.readFile(`${directory}/back`), threefold);
  assertSame(await through(await Deno.readFile(`${directory}/all`), zstdDecompressStream({ engine })), threefold);
});

testEngines(
  "thousands of small frames, as a log has that is appended to, are as much work as their bytes",
  async (engine, directory) => {
    const packed = async (bytes: Uint8Array, ...options: string[]) => {
      await Deno.writeFile(`${directory}/raw`, bytes);
      await tool(...options, `${directory}/raw`, "-o", `${directory}/packed`);
      return await Deno.readFile(`${directory}/packed`);
    };
    const [line, zeros] = [new TextEncoder().encode("one line of a log\n"), new Uint8Array(12 * KIB)];
    const nothing = new Uint8Array();
    const skippable = Uint8Array.of(0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3);
    const unsized = { content: line, frame: await packed(line, "--no-content-size") };
    const sized = { content: line, frame: await packed(line) };
    const hole = { content: zeros, frame: await packed(zeros) };
    const [empty, skipped] = [await packed(nothing), skippable].map((frame) => ({ content: nothing, frame }));
    for (
      const [kinds, times] of [
        [[sized], 5000],
        [[unsized], 5000],
        [[sized, unsized], 3000],
        [[sized, hole, sized, empty, hole, skipped, unsized, hole], 500],
      ] as const
    ) {
      const frames = Array.from({ length: times }, () => kinds).flat();
      const content = concat(frames.map(({ content }) => content));
      await Deno.writeFile(`${directory}/all`, concat(frames.map(({ frame }) => frame)));
      await decompressFile(`${directory}/all`, `${directory}/back`, { engine, maxBytes: content.length });
      assertSame(await Deno.readFile(`${directory}/back`), content);
      await assertRejects(
        () => decompressFile(`${directory}/all`, `${directory}/back`, { engine, maxBytes: content.length - 1 }),
        ZstdError,
        "becomes more than",
      );
    }
  },
);

testEngines("streams: stream, file and tool read what one makes", async (engine, directory) => {
  for (const size of [0, 1, FRAME, 2 * FRAME + 1]) {
    const bytes = memory(size, size + 7);
    const packed = await through(bytes, zstdCompressStream({ engine, level: 3 }));
    assertSame(await through(packed, zstdDecompressStream({ engine })), bytes);
    await Deno.writeFile(`${directory}/packed.zst`, packed);
    await tool("-d", `${directory}/packed.zst`, "-o", `${directory}/back`);
    assertSame(await Deno.readFile(`${directory}/back`), bytes);
    await decompressFile(`${directory}/packed.zst`, `${directory}/back`, { engine });
    assertSame(await Deno.readFile(`${directory}/back`), bytes);
  }
});

testEngines("holes stay holes, whichever program compressed them", async (engine, directory) => {
  const raw = `${directory}/raw`;
  {
    using file = await Deno.open(raw, { write: true, create: true });
    await file.truncate(64 * MIB + 5);
    for (const at of [0, 5 * MIB + 4096, 33 * MIB]) {
      await file.seek(at, Deno.SeekMode.Start);
      await file.write(new Uint8Array(4096).fill(1));
    }
  }
  await compressFile(raw, `${directory}/ours.zst`, { engine });
  await tool("-1", raw, "-o", `${directory}/tools.zst`);
  for (const packed of ["ours.zst", "tools.zst"]) {
    await decompressFile(`${directory}/${packed}`, `${directory}/back`, { engine });
    const { size, blocks } = await Deno.stat(`${directory}/back`);
    assertEquals(size, 64 * MIB + 5);
    assert(blocks! * 512 <= 64 * KIB, `${packed}: ${blocks} blocks`);
    assertSame(await Deno.readFile(`${directory}/back`), await Deno.readFile(raw));
  }
});

testEngines("progress grows up to the total", async (engine, directory) => {
  await Deno.writeFile(`${directory}/raw`, memory(3 * FRAME + 5));
  for (const size of [0, 3 * FRAME + 5]) {
    await Deno.truncate(`${directory}/raw`, size);
    await tool(`${directory}/raw`, "-o", `${directory}/tools.zst`);
    const check = async (from: string, work: (onProgress: (done: number, total: number) => void) => Promise<void>) => {
      const seen: number[] = [];
      const { size } = await Deno.stat(from);
      await work((done, total) => {
        assertEquals(total, size);
        seen.push(done);
      });
      assertEquals(seen.at(-1), size);
      assertEquals(seen, seen.toSorted((a, b) => a - b));
    };
    const [raw, packed, tools, back] = ["raw", "packed", "tools.zst", "back"].map((name) => `${directory}/${name}`);
    await check(raw, (onProgress) => compressFile(raw, packed, { engine, onProgress }));
    for (const from of [packed, tools]) {
      await check(from, (onProgress) => decompressFile(from, back, { engine, onProgress }));
    }
    await Deno.writeFile(raw, memory(3 * FRAME + 5));
  }
});

testEngines("an abort and an error leave the old file, and nothing else", async (engine, directory) => {
  const [raw, packed, target] = ["raw", "packed", "target"].map((name) => `${directory}/${name}`);
  await Deno.writeFile(raw, memory(8 * FRAME));
  await compressFile(raw, packed, { engine });
  await Deno.writeTextFile(target, "before");
  const reason = new Error("enough");
  for (const work of [compressFile, decompressFile]) {
    for (const whenAt of [-1, 0, 1]) {
      const abort = new AbortController();
      if (whenAt < 0) abort.abort(reason);
      let told = 0;
      const onProgress = () => {
        if (told++ === whenAt) abort.abort(reason);
      };
      const from = work === compressFile ? raw : packed;
      const running = work(from, target, { engine, signal: abort.signal, onProgress });
      assertEquals(await running.then(() => undefined, (error) => error), reason);
    }
  }
  const bytes = await Deno.readFile(packed);
  bytes[bytes.length - 1] ^= 1;
  await Deno.writeFile(packed, bytes);
  await assertRejects(() => decompressFile(packed, target, { engine }), ZstdError);
  assertEquals(await Deno.readTextFile(target), "before");
  assertEquals([...Deno.readDirSync(directory)].map(({ name }) => name).sort(), ["packed", "raw", "target"]);
});

testEngines("damage anywhere is found, or changes nothing", async (engine, directory) => {
  const bytes = memory(300 * KIB);
  await Deno.writeFile(`${directory}/raw`, bytes);
  await tool("--no-content-size", `${directory}/raw`, "-o", `${directory}/single`);
  await compressFile(`${directory}/raw`, `${directory}/multi`, { engine });
  const next = random(99);
  for (const name of ["single", "multi"]) {
    const packed = await Deno.readFile(`${directory}/${name}`);
    const places = [...Array(16).keys(), ...Array.from({ length: 60 }, () => Math.floor(next() * packed.length))];
    for (const at of [...places, packed.length - 1]) {
      const bad = packed.slice();
      bad[at] ^= 1 << Math.floor(next() * 8);
      await Deno.writeFile(`${directory}/bad`, bad);
      // A few bits mean nothing, such as the unused one in a frame's header.
      const file = decompressFile(`${directory}/bad`, `${directory}/back`, { engine });
      const ok = await file.then(() => true, (error) => {
        assert(error instanceof ZstdError, `${name} at ${at}: ${error.stack}`);
        return false;
      });
      if (ok) assertSame(await Deno.readFile(`${directory}/back`), bytes, `${name} at ${at}`);
      const streamed = await through(bad, zstdDecompressStream({ engine })).catch((error) => {
        assert(error instanceof ZstdError, `${name} at ${at}: ${error.stack}`);
      });
      if (streamed) assertSame(streamed, bytes, `${name} at ${at}`);
      assertEquals(streamed !== undefined, ok, `${name} at ${at}: the file and the stream`);
    }
  }
});

testEngines("damage late in a long frame is an error that can be caught", async (engine, directory) => {
  const bytes = memory(3 * MIB);
  await Deno.writeFile(`${directory}/raw`, bytes);
  await tool("--no-content-size", `${directory}/raw`, "-o", `${directory}/packed`);
  const packed = await Deno.readFile(`${directory}/packed`);
  assertEquals(readHeader(packed, true)?.contentSize, undefined);
  const next = random(17);
  const half = packed.length / 2;
  for (const at of [packed.length - 1, ...Array.from({ length: 8 }, () => Math.floor(half + next() * half))]) {
    const bad = packed.slice();
    bad[at] ^= 1;
    await Deno.writeFile(`${directory}/bad`, bad);
    await assertRejects(() => through(bad, zstdDecompressStream({ engine })), ZstdError);
    await assertRejects(() => decompressFile(`${directory}/bad`, `${directory}/back`, { engine }), ZstdError);
  }
});

testEngines("many small frames are decompressed in order", async (engine) => {
  const one = (await openEngine(engine)).compress(Uint8Array.of(7), 1).slice();
  const count = 20_000;
  const frames = concat(Array.from({ length: count }, () => one));
  assertSame(await through(frames, zstdDecompressStream({ engine })), new Uint8Array(count).fill(7), "frames");
});

testEngines("truncation anywhere is found, also if only the checksum is missing", async (engine, directory) => {
  await Deno.writeFile(`${directory}/raw`, memory(FRAME + 200 * KIB));
  await compressFile(`${directory}/raw`, `${directory}/multi`, { engine });
  await tool("-1", `${directory}/raw`, "-o", `${directory}/single`);
  const next = random(5);
  for (const name of ["single", "multi"]) {
    const packed = await Deno.readFile(`${directory}/${name}`);
    const random = Array.from({ length: 10 }, () => 5 + Math.floor(next() * (packed.length - 5)));
    for (const length of [1, 3, 4, 5, 6, 9, 12, ...random, packed.length - 5, packed.length - 4, packed.length - 1]) {
      await assertRefused(packed.slice(0, length), engine, directory, /truncated/);
    }
  }
});

testEngines("data that is not zstd, is too large or needs too much memory is refused", async (engine, directory) => {
  const encode = (text: string) => new TextEncoder().encode(text);
  const refuse = (bytes: Uint8Array, why: RegExp, maxBytes?: number) =>
    assertRefused(bytes, engine, directory, why, maxBytes);
  const good = await through(memory(100 * KIB), zstdCompressStream({ engine }));
  await refuse(new Uint8Array(), /it is empty/);
  await refuse(encode("not at all"), /no zstd data, it begins/);
  for (const rest of ["x", "tail", "a long tail of something"]) {
    await refuse(concat([good, encode(rest)]), /followed by something else/);
  }
  await refuse(concat([good, new Uint8Array(10)]), /followed by something else/);
  await refuse(concat([good, Uint8Array.of(0x50, 0x2a, 0x4d, 0x18, 9, 0, 0, 0, 1)]), /truncated/);
  await refuse(Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0x01, 0x58, 7, 1, 0, 0), /needs a dictionary/);
  await refuse(Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0x08, 0x58, 1, 0, 0), /reserved bit/);
  await refuse(Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58, 7, 0, 0), /no such block/);

  // More than expected, by the header or while decompressing.
  await refuse(good, /more than the 102399 bytes/, 100 * KIB - 1);
  await Deno.writeFile(`${directory}/zeros`, new Uint8Array(40 * MIB));
  for (const kind of [["--content-size"], ["--no-content-size"]]) {
    await tool("-19", ...kind, `${directory}/zeros`, "-o", `${directory}/bomb`);
    await refuse(await Deno.readFile(`${directory}/bomb`), /more than the 1048576 bytes/, MIB);
  }
  await compressFile(`${directory}/zeros`, `${directory}/bomb`, { engine });
  await refuse(await Deno.readFile(`${directory}/bomb`), /more than the 1048576 bytes/, MIB);

  // A window of 256 MiB, which the tool uses only on request.
  const { success, stdout } = await pipeTool(["--ultra", "-22", "--long=28"], new Uint8Array(1));
  assert(success);
  await refuse(stdout, /window of 256 MiB/);
});

/** Runs the tool as a filter: it does not know the size, so it takes the whole window. */
async function pipeTool(args: string[], input: Uint8Array<ArrayBuffer>): Promise<Deno.CommandOutput> {
  const child = new Deno.Command("zstd", { args: ["-q", "-c", ...args], stdin: "piped", stdout: "piped" }).spawn();
  const [output] = await Promise.all([child.output(), new Blob([input]).stream().pipeTo(child.stdin)]);
  return output;
}

testEngines("a frame with a wrong size or a wrong checksum is refused", async (engine, directory) => {
  const good = await through(memory(100 * KIB), zstdCompressStream({ engine }));
  const { length, contentSize } = readHeader(good, true)!;
  assertEquals(contentSize, 100 * KIB);
  for (const by of [-1, 1]) {
    const bad = good.slice();
    new DataView(bad.buffer).setUint32(length - 4, 100 * KIB + by, true);
    await assertRefused(bad, engine, directory, /damaged/);
  }
  const bad = good.slice();
  bad[bad.length - 1] ^= 0x80;
  await assertRefused(bad, engine, directory, /damaged .*checksum/);
});

Deno.test("zstd: a file that cannot be opened or replaced is named", () =>
  withDirectory(async (directory) => {
    const [raw, none] = [`${directory}/raw`, `${directory}/none`];
    await Deno.writeTextFile(raw, "x");
    for (const work of [compressFile, decompressFile]) {
      await assertRejects(() => work(none, `${directory}/to`), ZstdError, `${none} cannot be read`);
      await assertRejects(() => work(directory, `${directory}/to`), ZstdError, `${directory} is a directory`);
      await assertRejects(() => work(raw, directory), ZstdError, `${directory} is not a file`);
      await assertRejects(() => work(raw, `${none}/to`), ZstdError, `${none}/to cannot be written`);
    }
    await assertRejects(() => compressFile(raw, `${directory}/to`, { level: 23 }), ZstdError, "no zstd level 23");
    assertThrows(() => zstdCompressStream({ level: 0 }), ZstdError, "no zstd level 0");
  }));

Deno.test("zstd: the native engine is used if there is one; both engines write complete frame headers", async () => {
  const bytes = memory(200 * KIB);
  const names = [];
  for (const engine of [await openEngine(), ...await Promise.all(ENGINES.map(openEngine))]) {
    names.push(engine.constructor.name);
    const frame = engine.compress(bytes, 1);
    assertEquals(readHeader(frame, true)!.contentSize, bytes.length);
    assertEquals(frame.slice(-4), new Uint8Array(Uint32Array.of(contentChecksum(bytes)).buffer));
    assertSame(engine.decompress(frame, bytes.length), bytes);
  }
  assertEquals(names, HAS_NATIVE ? ["NativeEngine", "NativeEngine", "WasmEngine"] : ["WasmEngine", "WasmEngine"]);
  if (!HAS_NATIVE) await assertRejects(() => openEngine("native"), ZstdError, "no zstd of its own");
});

Deno.test("zstd: the checksum is XXH64's low half", () => {
  const encode = (text: string) => new TextEncoder().encode(text);
  // The tool's sums: the last four bytes of `printf TEXT | zstd`.
  for (
    const [text, sum] of [
      ["", 0x51d8e999],
      ["abc", 0xad770999],
      ["x".repeat(31), 0x083b99f0],
      ["hotboot ".repeat(20), 0x457eb549],
    ] as const
  ) assertEquals(contentChecksum(encode(text)), sum, text);
  const long = Uint8Array.from({ length: 76800 }, (_, at) => at);
  assertEquals(contentChecksum(long), 0x633cadab);
  const checksum = new ContentChecksum();
  for (let at = 0, length = 0; at < long.length; at += length++) checksum.add(long.subarray(at, at + length));
  assertEquals(checksum.value(), 0x633cadab);
});

Deno.test("zstd: pages of zeros are aligned to the file, wherever a piece begins", () => {
  for (const shift of [0, 1, 4]) {
    const bytes = new Uint8Array(5 * 4096 + shift).subarray(shift);
    assert(isZero(bytes));
    for (const at of [0, 1, 5000, bytes.length - 1]) {
      bytes[at] = 1;
      assert(!isZero(bytes));
      bytes[at] = 0;
    }
    bytes[4096] = bytes[3 * 4096] = 1;
    assertEquals([...stretches(bytes, 0)], [{ start: 4096, end: 8192 }, { start: 12288, end: 16384 }]);
    assertEquals([...stretches(bytes, 4095)], [{ start: 1, end: 4097 }, { start: 8193, end: 12289 }]);
    assertEquals([...stretches(bytes.subarray(0, 100), 7)], []);
  }
});
