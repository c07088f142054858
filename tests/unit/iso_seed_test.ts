/**
 * The contract of the small writer that hotboot's writer replaces. The test reads images with its own parser, so
 * that writer and reader cannot agree on a mistake.
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { buildIso, type IsoFile } from "../../lib/iso/build.ts";

const SECTOR = 2048;
const encode = (text: string) => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array) => new TextDecoder("latin1").decode(bytes);
const ucs2 = (text: string) =>
  Uint8Array.from(text, (char) => char.charCodeAt(0)).reduce<number[]>(
    (bytes, unit) => [...bytes, unit >> 8, unit & 0xff],
    [],
  );

interface Record {
  identifier: Uint8Array;
  extent: number;
  length: number;
  isDirectory: boolean;
}

class Parsed {
  constructor(readonly bytes: Uint8Array) {}

  sector(number: number): Uint8Array {
    return this.bytes.subarray(number * SECTOR, (number + 1) * SECTOR);
  }

  uint32(sector: number, offset: number): number {
    return new DataView(this.bytes.buffer, this.bytes.byteOffset + sector * SECTOR).getUint32(offset, true);
  }

  /** The type and the standard identifier of a volume descriptor. */
  descriptor(sector: number): [number, string] {
    return [this.sector(sector)[0], decode(this.sector(sector).subarray(1, 6))];
  }

  rootExtent(descriptor: number): number {
    return this.uint32(descriptor, 156 + 2);
  }

  /** The records of the root directory of the descriptor in this sector. */
  records(descriptor: number): Record[] {
    const root = this.sector(this.rootExtent(descriptor));
    const view = new DataView(root.buffer, root.byteOffset, SECTOR);
    const records: Record[] = [];
    for (let at = 0; at < SECTOR && root[at] !== 0; at += root[at]) {
      records.push({
        identifier: root.slice(at + 33, at + 33 + root[at + 32]),
        extent: view.getUint32(at + 2, true),
        length: view.getUint32(at + 10, true),
        isDirectory: (root[at + 25] & 2) !== 0,
      });
    }
    return records;
  }

  /** The bytes of the file with this identifier in the descriptor's root directory. */
  file(descriptor: number, identifier: ArrayLike<number>): Uint8Array {
    const record = this.records(descriptor).find((each) =>
      decode(each.identifier) === decode(Uint8Array.from(identifier))
    );
    assert(record !== undefined, `no ${decode(Uint8Array.from(identifier))}`);
    return this.bytes.subarray(record!.extent * SECTOR, record!.extent * SECTOR + record!.length);
  }

  iso(name: string): Uint8Array {
    return this.file(16, encode(name));
  }

  joliet(name: string): Uint8Array {
    assertEquals(this.sector(17)[0], 2);
    return this.file(17, ucs2(name));
  }
}

function image(files: IsoFile[], label = "STACKCFG"): Parsed {
  return new Parsed(buildIso(label, files));
}

const filled = (name: string, size: number, byte = 0x41): IsoFile => ({ name, data: new Uint8Array(size).fill(byte) });
const one = [filled("a.txt", 2)];

Deno.test("seed: descriptors of type 1, 2 and 255 are in sectors 16, 17 and 18", () => {
  const iso = image(one);
  assertEquals([16, 17, 18].map((sector) => iso.descriptor(sector)), [[1, "CD001"], [2, "CD001"], [255, "CD001"]]);
});

Deno.test("seed: both descriptors have the volume identifier, Joliet's in UCS-2", () => {
  const iso = image(one);
  assertEquals(decode(iso.sector(16).subarray(40, 48)), "STACKCFG");
  assertEquals([...iso.sector(17).subarray(40, 56)], ucs2("STACKCFG"));
});

Deno.test("seed: the escape sequence %/E announces Joliet", () => {
  assertEquals(decode(image(one).sector(17).subarray(88, 91)), "%/E");
});

Deno.test("seed: the volume's size is the image's, in whole sectors, whatever the file sizes", () => {
  for (const size of [0, 1, SECTOR - 1, SECTOR, SECTOR + 1, SECTOR * 5 - 1]) {
    const iso = image([filled("a.bin", size)]);
    assertEquals(iso.bytes.length % SECTOR, 0);
    assertEquals(iso.uint32(16, 80) * SECTOR, iso.bytes.length);
  }
});

Deno.test("seed: files have upper-case names with a version, and their own names in Joliet", () => {
  const iso = image([
    { name: "runtime.env", data: encode("KEY=value\n") },
    { name: "base.env", data: encode("FOO=bar\n") },
  ]);
  assertEquals(decode(iso.iso("RUNTIME.ENV;1")), "KEY=value\n");
  assertEquals(decode(iso.iso("BASE.ENV;1")), "FOO=bar\n");
  assertEquals(decode(iso.joliet("runtime.env")), "KEY=value\n");
  assertEquals(decode(iso.joliet("base.env")), "FOO=bar\n");
});

Deno.test("seed: content comes back byte for byte: any bytes, one sector, several sectors", () => {
  const contents = [
    Uint8Array.of(0, 0xff, 0x7f, 0x80, 0x41, 0x42, 0x43),
    new Uint8Array(SECTOR).fill(0x37),
    new Uint8Array(3 * SECTOR + 17).fill(0x55),
  ];
  for (const data of contents) assertEquals(image([{ name: "x.bin", data }]).joliet("x.bin"), data);
});

Deno.test("seed: each of several files has its own place", () => {
  const files = [
    filled("alpha.bin", SECTOR + 5, 0xaa),
    filled("beta.bin", 2 * SECTOR, 0xbb),
    filled("gamma.bin", 42, 0xcc),
  ];
  const iso = image(files);
  for (const { name, data } of files) assertEquals(iso.joliet(name), data);
});

Deno.test("seed: an empty file does not move the next one", () => {
  const iso = image([filled("empty.txt", 0), { name: "after.txt", data: encode("marker\n") }]);
  assertEquals(iso.joliet("empty.txt").length, 0);
  assertEquals(decode(iso.joliet("after.txt")), "marker\n");
  assertEquals(iso.uint32(16, 80) * SECTOR, iso.bytes.length);
});

Deno.test("seed: a record has the file's exact length", () => {
  const records = image([filled("tiny.txt", 3)]).records(17).filter(({ isDirectory }) => !isDirectory);
  assertEquals(records.map(({ length }) => length), [3]);
});

Deno.test("seed: the root begins with records for itself and its parent, which is itself", () => {
  const iso = image(one);
  for (const descriptor of [16, 17]) {
    const [self, parent] = iso.records(descriptor);
    assertEquals([[...self.identifier], [...parent.identifier]], [[0], [1]]);
    assert(self.isDirectory && parent.isDirectory);
    assertEquals([self.extent, parent.extent], [iso.rootExtent(descriptor), iso.rootExtent(descriptor)]);
  }
});

Deno.test("seed: a volume identifier of more than 32 bytes is cut, and nothing after it is overwritten", () => {
  const iso = image(one, "A".repeat(64));
  assertEquals(decode(iso.sector(16).subarray(40, 72)), "A".repeat(32));
  assertEquals(iso.sector(16)[881], 1);
  assertEquals(iso.descriptor(17), [2, "CD001"]);
});

Deno.test("seed: more files than fit in the root directory's one sector are refused", () => {
  const many = Array.from(
    { length: 80 },
    (_, at) => filled(`file-${String(at).padStart(3, "0")}-padding-padding.bin`, 1),
  );
  assertThrows(() => buildIso("STACKCFG", many), Error, "Root directory exceeds");
});

Deno.test("seed: no two files share a sector", () => {
  const iso = image([
    filled("a.bin", 10, 1),
    filled("b.bin", SECTOR, 2),
    filled("c.bin", 2 * SECTOR + 500, 3),
    filled("d.bin", 1, 4),
  ]);
  const places = iso.records(17).filter(({ isDirectory }) => !isDirectory).sort((a, b) => a.extent - b.extent);
  for (let at = 1; at < places.length; at++) {
    const end = places[at - 1].extent + Math.max(1, Math.ceil(places[at - 1].length / SECTOR));
    assert(places[at].extent >= end);
  }
});
