/** The rooms of lib/, from the bottom up: nothing imports upwards, and there are no cycles. */

import { assertEquals } from "@std/assert";
import { walk } from "@std/fs/walk";
import { fromFileUrl } from "@std/path/from-file-url";

const LIB = fromFileUrl(new URL("../../lib/", import.meta.url));

/** Each list is a storey. Rooms of one storey do not import each other, except as {@linkcode NEIGHBOURS} says. */
const STOREYS = [
  ["base"],
  ["iso", "zstd", "release", "sigstore", "vm"],
  ["snapshot"],
  ["profile", "oci"],
  ["instance"],
  ["guest"],
  ["image"],
  ["emulator"],
  ["testing", "doctor"],
  ["ui"],
  ["cli"],
];
const LEVEL = new Map(STOREYS.flatMap((rooms, level) => rooms.map((room) => [room, level])));
/** The library's entry point and the program may use anything. */
const roomOf = (path: string) => path.split("/")[0];

interface Import {
  from: string;
  to: string;
  isType: boolean;
}

async function imports(): Promise<Import[]> {
  const found: Import[] = [];
  for await (const { path } of walk(LIB, { includeDirs: false })) {
    if (!/\.tsx?$/.test(path)) continue;
    const text = await Deno.readTextFile(path);
    const pattern = /(?:^|\n)(import|export)( type)?\b[^;]*?from "(\.[^"]+\.tsx?)"|import\("(\.[^"]+\.tsx?)"\)/g;
    for (const [, , type, specifier, dynamic] of text.matchAll(pattern)) {
      const target = fromFileUrl(new URL(specifier ?? dynamic, `file://${path}`));
      found.push({ from: path.slice(LIB.length), to: target.slice(LIB.length), isType: type !== undefined });
    }
  }
  return found;
}

Deno.test("architecture: nothing imports upwards or from a neighbour", async () => {
  const wrong = (await imports()).filter(({ from, to }) => {
    const [own, other] = [roomOf(from), roomOf(to)];
    return own !== other && LEVEL.get(other)! >= LEVEL.get(own)!;
  });
  assertEquals(wrong.map(({ from, to }) => `${from} -> ${to}`), []);
});

Deno.test("architecture: each file is in a room, and imports have no cycles", async () => {
  const all = await imports();
  assertEquals([...new Set(all.map(({ from }) => roomOf(from)))].filter((room) => !LEVEL.has(room)), []);
  const targets = new Map<string, string[]>();
  for (const { from, to } of all) targets.set(from, [...targets.get(from) ?? [], to]);
  const circles: string[] = [];
  const done = new Set<string>();
  const visit = (file: string, way: string[]) => {
    const at = way.indexOf(file);
    if (at >= 0) return void circles.push([...way.slice(at), file].join(" -> "));
    if (done.has(file)) return;
    for (const next of targets.get(file) ?? []) visit(next, [...way, file]);
    done.add(file);
  };
  for (const file of targets.keys()) visit(file, []);
  assertEquals(circles, []);
});
