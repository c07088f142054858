/** Hostile files and streams: real ones, made by the real tools, and then changed at random. Only hotboot's own errors may come out. */

import { assert } from "@std/assert";
import { corpora } from "./hostile_corpus.ts";
import { TARGETS } from "./hostile_targets.ts";
import type { Feed, Told } from "./hostile_worker.ts";
import type { Order, Subject, Tally } from "./subject.ts";

/** No input may take longer: it is at most 4 MiB. */
const HANGS_MS = 30_000;
const LOOK_MS = 1000;
/** No input may make the program larger than this, in bytes. */
const MOST_MEMORY = 2 * 2 ** 30;
/** Targets that are fed at once. */
const LANES = 2;

export const subject: Subject = {
  survived:
    "It is read, or hotboot refuses it with an error of its own: no crash, no hang (30 s), no file elsewhere, less than 2 GiB of memory.",
  about: "files and streams that are damaged, or that an enemy has written (`--runs`: seconds for each kind)",
  full: { runs: 600, seconds: 3900 },
  ci: { runs: 2, seconds: 25 },
  async run({ seed, runs, tally }: Order) {
    const directory = await Deno.makeTempDir({ dir: await inMemory(), prefix: "hotboot-chaos-" });
    try {
      const samples = await corpora(directory);
      const names = Object.keys(TARGETS).values();
      await Promise.all(Array.from({ length: LANES }, async () => {
        for (const name of names) await feed(name, samples[name], { seed, ms: runs * 1000, directory, tally });
      }));
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  },
};

/** A directory in memory, if the system has one: no disk is worn out. */
async function inMemory(): Promise<string | undefined> {
  return await Deno.stat("/dev/shm").then(() => "/dev/shm", () => undefined);
}

/** Feeds one target for so many milliseconds. */
async function feed(
  target: string,
  samples: Uint8Array[],
  { seed, ms, directory, tally }: { seed: number; ms: number; directory: string; tally: Tally },
): Promise<void> {
  const { fault } = TARGETS[target];
  const order: Feed = { target, samples, seed, ms, directory: `${directory}/${target}`, at: new SharedArrayBuffer(4) };
  const at = new Uint32Array(order.at);
  const worker = new Worker(new URL("hostile_worker.ts", import.meta.url), { type: "module" });
  let failed = 0;
  try {
    const told = await new Promise<Extract<Told, { done: number }>>((resolve, reject) => {
      let [seen, since] = [seed, performance.now()];
      const looking = setInterval(() => {
        const now = Atomics.load(at, 0);
        if (now !== seen) [seen, since] = [now, performance.now()];
        else if (performance.now() - since > HANGS_MS) end(() => reject(new Error(`it hangs at seed ${seen}`)));
      }, LOOK_MS);
      const end = (then: () => void) => {
        clearInterval(looking);
        then();
      };
      worker.onerror = (event) => {
        event.preventDefault();
        end(() => reject(new Error(`it ended at seed ${Atomics.load(at, 0)}: ${event.message}`)));
      };
      worker.onmessage = ({ data }: MessageEvent<Told>) => {
        if ("done" in data) return end(() => resolve(data));
        failed++;
        tally.run(fault, data.seed, () => Promise.reject(data.failed));
      };
      worker.postMessage(order);
    });
    await tally.run(fault, seed, () => {
      assert(told.rss < MOST_MEMORY, `it took ${told.rss} bytes of memory`);
      return `refused with one clear line: ${(100 * told.refused / told.done).toFixed()} %; the others are still valid`;
    }, told.done - failed);
  } catch (error) {
    await tally.run(fault, Atomics.load(at, 0), () => Promise.reject(error));
  } finally {
    worker.terminate();
  }
}
