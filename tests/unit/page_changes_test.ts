/** RAM as what has changed since another one: it is whole again, holes stay holes, and a damaged map is turned down. */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { sha256File } from "../../lib/base/hash.ts";
import { StreamReader } from "../../lib/base/io.ts";
import { changedPages, comparePages, mergePages, requireMap } from "../../lib/snapshot/page_changes.ts";
import { withDirectory } from "./temporary.ts";

const PAGE = 4096;
/** More than is compared at once, and no multiple of that. */
const PAGES = 1000;

/** What each page has: 0 is zeros. */
async function write(path: string, content: (page: number) => number): Promise<void> {
  using file = await Deno.open(path, { write: true, create: true });
  await file.truncate(PAGES * PAGE);
  for (let page = 0; page < PAGES; page++) {
    const value = content(page);
    if (value === 0) continue;
    await file.seek(page * PAGE, Deno.SeekMode.Start);
    await file.write(new Uint8Array(PAGE).fill(value));
  }
}

Deno.test("page changes: only what differs is carried, and the whole comes out of it", () =>
  withDirectory(async (directory) => {
    const [base, other, made] = ["base", "other", "made"].map((name) => `${directory}/${name}`);
    // The first 700 are full; of these every third changes, and every seventh becomes zero; one that was zero is filled.
    await write(base, (page) => page < 700 ? 1 : 0);
    const isZero = (page: number) => page % 7 === 0 || page >= 700;
    const after = (page: number) => page === 998 ? 5 : isZero(page) ? 0 : page % 3 === 0 ? 2 : 1;
    await write(other, after);
    using before = await Deno.open(base);
    using now = await Deno.open(other);
    const { map, changed } = await comparePages(before, now, PAGES * PAGE);
    const expected = Array.from({ length: PAGES }, (_, page) => {
      const [was, is] = [page < 700 ? 1 : 0, after(page)];
      return was === is ? 0 : is === 0 ? 2 : 1;
    });
    assertEquals([...map], expected);
    assertEquals(changed, expected.filter((kind) => kind === 1).length);
    requireMap(map, changed);

    const carried = await Array.fromAsync(changedPages(now, map), (piece) => piece.slice());
    assertEquals(carried.reduce((sum, { length }) => sum + length, 0), changed * PAGE);
    const digest = await mergePages(before, map, new StreamReader(ReadableStream.from(carried)), made);
    assertEquals(digest, await sha256File(other));
    assertEquals(await Deno.readFile(made), await Deno.readFile(other));
    const [{ blocks }, { blocks: theirs }] = [await Deno.stat(made), await Deno.stat(other)];
    assert(blocks! <= theirs! + 64, `${blocks} of ${theirs}`);

    const short = new StreamReader(ReadableStream.from(carried.slice(0, -1)));
    await assertRejects(() => mergePages(before, map, short, `${made}.short`), Error, "cut off");
  }));

Deno.test("page changes: a map with other numbers, or another sum, is turned down", () => {
  requireMap(new Uint8Array([0, 1, 2, 1]), 2);
  assertThrows(() => requireMap(new Uint8Array([0, 1, 3]), 1), Error, "its map of pages is damaged");
  assertThrows(() => requireMap(new Uint8Array([0, 1, 1]), 1), Error, "has 2 that differ, instead of 1");
});
