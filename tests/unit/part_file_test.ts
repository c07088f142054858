import { assertEquals, assertRejects } from "@std/assert";
import { encodeHex } from "@std/encoding/hex";
import { FileDigest } from "../../lib/release/digest.ts";
import { PartFile } from "../../lib/release/part_file.ts";
import { withDirectory } from "./temporary.ts";

async function withPath(use: (path: string) => Promise<void>): Promise<void> {
  await withDirectory((directory) => use(`${directory}/part`));
}

Deno.test("part file: ranges are merged, and the next run knows what is missing", async () => {
  await withPath(async (path) => {
    const part = await PartFile.open(path, "key");
    assertEquals([part.size, part.received, part.missing], [-1, 0, []]);
    await part.reset(100, '"tag"');
    await Deno.truncate(path, 100);
    for (const [start, end] of [[50, 60], [0, 10], [10, 20], [55, 70]]) await part.add({ start, end });
    assertEquals([part.received, part.contiguous], [40, 20]);
    assertEquals(part.missing, [{ start: 20, end: 50 }, { start: 70, end: 100 }]);
    await part.save();

    const again = await PartFile.open(path, "key");
    assertEquals([again.size, again.validator, again.missing], [100, '"tag"', part.missing]);
    assertEquals((await PartFile.open(path, "another")).size, -1);
    await again.remove();
    assertEquals([again.size, again.received], [-1, 0]);
    assertEquals((await PartFile.open(path, "key")).size, -1);
  });
});

Deno.test("part file: an impossible state is ignored", async () => {
  await withPath(async (path) => {
    for (
      const state of [
        "{",
        "null",
        '{"key":"key"}',
        '{"key":"key","size":10,"done":[{"start":5,"end":2}]}',
        '{"key":"key","size":10,"done":[{"start":0,"end":20}]}',
        '{"key":"key","size":10,"done":[{"start":0,"end":9}]}', // the file has 4 bytes
        '{"key":"key","size":10,"done":[{"start":2,"end":4},{"start":0,"end":1}]}',
      ]
    ) {
      await Deno.writeFile(path, new Uint8Array(4));
      await Deno.writeTextFile(`${path}.json`, state);
      assertEquals((await PartFile.open(path, "key")).size, -1, state);
    }
  });
});

Deno.test("part file: bytes that do not get to the disk are not in its state, and end the download", async () => {
  await withPath(async (path) => {
    const part = await PartFile.open(path, "key");
    await part.reset(100);
    const state = await Deno.readTextFile(`${path}.json`);
    await part.add({ start: 0, end: 10 });
    await Deno.remove(path); // so it cannot be flushed
    await assertRejects(() => part.save(), Deno.errors.NotFound);
    await assertRejects(() => part.add({ start: 10, end: 20 }), Deno.errors.NotFound);
    await assertRejects(() => part.end(20), Deno.errors.NotFound);
    assertEquals(await Deno.readTextFile(`${path}.json`), state);
    await part.reset(100); // forgets the failure, too
    await part.save();
  });
});

Deno.test("digest: parts in any order give the whole file's digest", async () => {
  await withPath(async (path) => {
    const bytes = crypto.getRandomValues(new Uint8Array(50_000));
    await Deno.writeFile(path, bytes);
    const expected = encodeHex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)));
    const digest = new FileDigest(path);
    digest.add(0, bytes.subarray(0, 10_000));
    digest.add(30_000, bytes.subarray(30_000, 40_000)); // out of turn
    await digest.catchUp(20_000);
    digest.add(20_000, bytes.subarray(20_000, 25_000));
    await digest.catchUp(50_000);
    assertEquals(digest.hex(), expected);
  });
});
