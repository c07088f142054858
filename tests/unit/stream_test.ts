/** Migration streams, made by QEMU's rules and taken apart. The suspend tests show that QEMU's are like this. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { concat } from "@std/bytes/concat";
import type { Source } from "../../lib/base/io.ts";
import { PAGE, RamFile } from "../../lib/snapshot/ram_file.ts";
import { splitStream, UnknownStream } from "../../lib/snapshot/stream.ts";
import { random as seeded } from "./random.ts";
import { withDirectory } from "./temporary.ts";

const RAM_BYTES = 64 * PAGE;
const ID = 2;

const text = (value: string) => [...new TextEncoder().encode(value)];
const name = (value: string) => [value.length, ...text(value)];
const be = (bytes: number, value: number) =>
  Array.from({ length: bytes }, (_, index) => Math.floor(value / 2 ** (8 * (bytes - 1 - index))) % 256);
const word = (address: number, flags: number) => be(8, address + flags);
const content = (seed: number) => Uint8Array.from({ length: PAGE }, (_, index) => (seed * 31 + index * 7) % 251 + 1);

/** The items of RAM's section. `where`: a block's name, or `undefined` for the previous item's block. */
const page = (address: number, bytes: Uint8Array, where?: string) =>
  concat([Uint8Array.from([...word(address, 0x08 + (where ? 0 : 0x20)), ...where ? name(where) : []]), bytes]);
const zeroPage = (address: number, where?: string, value = 0) =>
  Uint8Array.from([...word(address, 0x02 + (where ? 0 : 0x20)), ...where ? name(where) : [], value]);
const END = Uint8Array.from(word(0, 0x10));
const sizes = (ram = RAM_BYTES) =>
  Uint8Array.from([...word(ram + PAGE, 0x04), ...name("ram"), ...be(8, ram), ...name("bios"), ...be(8, PAGE)]);
const FOOTER = Uint8Array.from([0x7e, ...be(4, ID)]);
const command = (...data: number[]) => Uint8Array.from([0x08, ...be(2, 11), ...be(2, data.length), ...data]);
const section = (kind: number) =>
  Uint8Array.from([kind, ...be(4, ID), ...kind === 1 ? [...name("ram"), ...be(4, 0), ...be(4, 4)] : []]);

const HEAD = Uint8Array.from([...text("QEVM"), ...be(4, 3), 0x07, ...be(4, 11), ...text("pc-q35-10.0")]);
const DEVICES = Uint8Array.from({ length: 5 * PAGE }, (_, index) => index % 253);

/** A whole stream, and the RAM that it results in. `rest` has everything that is not a page of RAM. */
function machine() {
  const pages = new Map<number, Uint8Array>();
  const ramPage = (address: number, seed: number, where?: string) => {
    pages.set(address, content(seed));
    return page(address, content(seed), where);
  };
  const kept: Uint8Array[] = [];
  const keep = (bytes: Uint8Array) => (kept.push(bytes), bytes);
  const parts = [
    keep(HEAD),
    ...[section(1), sizes(), END, FOOTER].map(keep),
    keep(command(1, 2, 3)),
    keep(section(2)),
    ramPage(0, 1, "ram"),
    ramPage(PAGE, 2),
    zeroPage(2 * PAGE),
    ramPage(5 * PAGE, 3),
    keep(page(0, content(9), "bios")),
    zeroPage(40 * PAGE, "ram"),
    keep(END),
    keep(FOOTER),
    keep(command()),
    keep(section(2)),
    ramPage(RAM_BYTES - PAGE, 4), // in the same block as in the previous part
    zeroPage(PAGE), // it had content before
    keep(END),
    keep(FOOTER),
    keep(section(3)),
    ramPage(7 * PAGE, 5),
    keep(END),
    keep(FOOTER),
    keep(DEVICES),
  ];
  pages.delete(PAGE);
  const ram = new Uint8Array(RAM_BYTES);
  for (const [address, bytes] of pages) ram.set(bytes, address);
  return { stream: concat(parts), rest: concat(kept), ram };
}

/** A source that gives its bytes in pieces of these lengths. */
function inPieces(bytes: Uint8Array, length: () => number): Source {
  let at = 0;
  return {
    read: (into) => {
      if (at === bytes.length) return null;
      const piece = bytes.subarray(at, at + Math.min(into.length, length()));
      into.set(piece);
      at += piece.length;
      return piece.length;
    },
  };
}

async function split(directory: string, source: Source): Promise<{ rest: Uint8Array; ram: Uint8Array; path: string }> {
  const path = `${directory}/${crypto.randomUUID()}`;
  const rest: Uint8Array[] = [];
  {
    using ram = await RamFile.create(path, RAM_BYTES);
    await splitStream(source, { ram, rest: (bytes) => Promise.resolve(rest.push(bytes.slice())) });
  }
  return { rest: concat(rest), ram: await Deno.readFile(path), path };
}

Deno.test("stream: pages go to their addresses and everything else to the rest, in pieces of any size", () =>
  withDirectory(async (directory) => {
    const { stream, rest, ram } = machine();
    const random = seeded(1);
    const lengths = [() => stream.length, () => 1, () => PAGE, () => 1 + Math.floor(random() * 9000)];
    for (const length of lengths) {
      const found = await split(directory, inPieces(stream, length));
      assertEquals(found.rest, rest);
      assertEquals(found.ram, ram);
    }
  }));

Deno.test("stream: pages that were never written are holes", () =>
  withDirectory(async (directory) => {
    const { stream } = machine();
    const { path } = await split(directory, inPieces(stream, () => stream.length));
    const { size, blocks } = await Deno.stat(path);
    assertEquals(size, RAM_BYTES);
    assert(blocks! * 512 <= 8 * PAGE, `${blocks} blocks`); // 5 pages and the file system's overhead
  }));

Deno.test("stream: unknown data is refused, and so is a stream that is cut before the devices", () =>
  withDirectory(async (directory) => {
    const { stream } = machine();
    const begin = [HEAD, section(1), sizes(), END, FOOTER, section(2)];
    const strange = {
      "a page compressed by XBZRLE": [...begin, Uint8Array.from(word(0, 0x40)), END],
      "a flag of multifd": [...begin, Uint8Array.from(word(0, 0x200)), END],
      "a page filled with something": [...begin, zeroPage(0, "ram", 7), END],
      "a page behind the end": [...begin, page(RAM_BYTES, content(1), "ram"), END],
      "RAM of another size": [HEAD, section(1), sizes(2 * RAM_BYTES), END],
      "another section among RAM's": [...begin, END, FOOTER, Uint8Array.from([1, ...be(4, 9), ...name("vfio")])],
      "no RAM": [HEAD, DEVICES],
      "two of RAM": [HEAD, section(1), section(1), sizes(), END],
    };
    for (const [what, parts] of Object.entries(strange)) {
      const bytes = concat([...parts, new Uint8Array(64)]);
      await assertRejects(() => split(directory, inPieces(bytes, () => 999)), UnknownStream, undefined, what);
    }
    const known = stream.length - DEVICES.length - FOOTER.length;
    for (let length = 0; length < known; length += length < 200 ? 1 : 517) {
      const source = inPieces(stream.subarray(0, length), () => 4000);
      await assertRejects(() => split(directory, source), UnknownStream, undefined, `${length}`);
    }
  }));

Deno.test("stream: a flipped bit is refused or goes unnoticed, but never causes another error", () =>
  withDirectory(async (directory) => {
    const { stream } = machine();
    const random = seeded(2);
    for (let round = 0; round < 300; round++) {
      const bytes = stream.slice();
      const at = Math.floor(random() * (stream.length - DEVICES.length));
      bytes[at] ^= 1 << Math.floor(random() * 8);
      await split(directory, inPieces(bytes, () => 4000)).catch((error) =>
        assert(error instanceof UnknownStream, error)
      );
    }
  }));
