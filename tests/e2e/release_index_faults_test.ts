/** Reading a release's packs from storage that is disturbed: schedules from seeds. HOTBOOT_TEST_SOAK=full runs 200 of them. */

import { assert, assertEquals } from "@std/assert";
import { HotbootError } from "../../lib/base/error.ts";
import { assemble } from "../../lib/oci/assemble.ts";
import { packsOf } from "../../lib/oci/chunk_sources.ts";
import { describe } from "../../lib/oci/describe.ts";
import { writePacks } from "../../lib/oci/write_packs.ts";
import { NoRanges, RangeReader } from "../../lib/release/ranges.ts";
import { random } from "../unit/random.ts";
import { withDirectory } from "../unit/temporary.ts";
import { rounds } from "./pace.ts";
import { type Fault, StorageServer } from "./storage_server.ts";

const MIB = 2 ** 20;
const SIZE = 12 * MIB;
const SIGNAL = new AbortController().signal;
/** What can happen to a request. The server is the storage, whose addresses do not expire here. */
const FAULTS: Record<string, Fault> = {
  cut: { cutAfter: 5000 },
  stall: { stallAfter: 5000 },
  wrong: { corruptFrom: 0 },
  short: { lengthOff: -7, cutAfter: 5000 },
  busy: { status: 503 },
  "asked to wait": { status: 429, headers: { "retry-after": "0" } },
  "other file": { totalOff: 1 },
  "web page": { html: true },
  "no length": { noLength: true },
  "no ranges": { ignoreRange: true },
  "no such range": { status: 416 },
  refused: { status: 403 },
};

Deno.test("release index: disturbed reads end with the right bytes or a clear error, and the next ones fetch only what is missing", () =>
  withDirectory(async (directory) => {
    const next = random(7);
    const words = Uint32Array.from({ length: SIZE / 4 }, () => next() * 2 ** 32);
    words.copyWithin(9 * MIB / 4, 0, MIB / 4); // some of it twice
    const content = new Uint8Array(words.buffer);
    await Deno.writeFile(`${directory}/disk`, content);
    const made = { profile: "noise", arch: "amd64" as const, created: "2026-01-01T00:00:00.000Z" };
    const { description, local } = await describe({ ...made, files: { disk: `${directory}/disk` } }, SIGNAL);
    const larger = await describe({ ...made, files: { disk: `${directory}/disk` } }, SIGNAL, 8);
    assertEquals([description.scale, larger.description.scale], [undefined, 4]);
    const longest = 5 * MIB;
    const packing = { directory, disk: "disk", signal: SIGNAL, longest, onProgress: () => {} };
    const { packs, frames } = await writePacks(local, packing);
    assertEquals(packs.map(({ size }) => size <= longest), [true, true, true]);

    await using storage = new StorageServer();
    for (const { name } of packs) {
      storage.files.set(`/${name}`, { bytes: await Deno.readFile(`${directory}/${name}`), etag: `"${name}"` });
    }
    const pull = async (place: string, answerMs?: number) => {
      const readers = packs.map(({ name, size }) =>
        new RangeReader({ name, size, request: { url: `${storage.origin}/${name}` } }, {
          signal: SIGNAL,
          retry: { attempts: 3, baseMs: 1, ...(answerMs !== undefined && { answerMs }) },
        })
      );
      const read = (pack: number, range: { start: number; end: number }) => readers[pack].read(range);
      const from = packsOf(frames, read);
      return await assemble({ description, from, directory: place, sources: [], signal: SIGNAL, onProgress: () => {} });
    };
    const seen = new Set<string>();
    const ends = { right: 0, wrong: 0 };
    for (let seed = 1; seed <= rounds(32, 200); seed++) {
      const place = `${directory}/${seed}`;
      await Deno.mkdir(place);
      const chance = random(seed);
      const pick = () => Object.keys(FAULTS)[Math.floor(chance() * Object.keys(FAULTS).length)];
      const often = [0.05, 0.15, 0.4][seed % 3];
      storage.options.fault = () => {
        if (chance() >= often) return undefined;
        const name = pick();
        seen.add(name);
        return FAULTS[name];
      };
      const first = await pull(place, 300).catch((error) => error);
      storage.options.fault = undefined;
      if (first instanceof Error) {
        ends.wrong++;
        assert(first instanceof HotbootError, `seed ${seed}: ${first.stack}`);
        assert(!first.message.includes("\n"), `seed ${seed}: ${first.message}`);
      } else {
        ends.right++;
        assertEquals(await Deno.readFile(`${place}/disk`), content, `seed ${seed}`);
      }
      const { moved } = await pull(place);
      if (!(first instanceof Error)) assertEquals(moved, 0, `seed ${seed}`);
      assertEquals(await Deno.readFile(`${place}/disk`), content, `seed ${seed}`);
      await Deno.remove(place, { recursive: true });
    }
    assertEquals([...seen].sort(), Object.keys(FAULTS).sort(), "a kind of fault was never tried");
    assert(ends.right > 0 && ends.wrong > 0, JSON.stringify(ends));

    // The chunks of a larger image are found in the earlier one, too.
    await Deno.mkdir(`${directory}/larger`);
    const { moved } = await assemble({
      description: larger.description,
      from: { sizes: larger.local.map(({ length }) => length), fetch: () => Promise.reject(new Error("not needed")) },
      directory: `${directory}/larger`,
      sources: [`${directory}/disk`],
      signal: SIGNAL,
      onProgress: () => {},
    });
    assertEquals([moved, await Deno.readFile(`${directory}/larger/disk`)], [0, content]);

    storage.options.fault = () => FAULTS["no ranges"];
    await Deno.mkdir(`${directory}/none`);
    assert(await pull(`${directory}/none`).catch((error) => error) instanceof NoRanges);
  }));
