/** Feeds one target, in a Worker that can be ended when it hangs. */

import { HotbootError } from "../../lib/base/error.ts";
import { removeIfThere } from "../../lib/base/files.ts";
import { random } from "../unit/random.ts";
import { TARGETS } from "./hostile_targets.ts";

/** What the worker is told first. */
export interface Feed {
  target: string;
  samples: Uint8Array[];
  seed: number;
  ms: number;
  /** Where the worker may write. */
  directory: string;
  /** The seed that it is at. */
  at: SharedArrayBuffer;
}

/** What it tells at the end, and of each failure. */
export type Told =
  | { done: number; refused: number; rss: number }
  | { failed: string; seed: number };

/** An error that is no bug: hotboot's own, or the system's about a file. */
function isExpected(error: unknown): boolean {
  return error instanceof HotbootError || error instanceof Deno.errors.UnexpectedEof;
}

const MOST_FAILURES = 5;

/** A Worker's own scope, which the types of a program's main part do not have. */
const scope = globalThis as unknown as {
  onmessage: (event: MessageEvent<Feed>) => Promise<void>;
  postMessage(told: Told): void;
};

scope.onmessage = async ({ data }) => {
  const { target, samples, seed: first, ms, directory } = data;
  const { mutate, feed } = TARGETS[target];
  const at = new Uint32Array(data.at);
  const tell = (told: Told) => scope.postMessage(told);
  let [refused, failures, rss] = [0, 0, 0];
  const end = performance.now() + ms;
  let seed = first;
  for (; performance.now() < end && failures < MOST_FAILURES; seed++) {
    Atomics.store(at, 0, seed);
    await Deno.mkdir(directory);
    try {
      await feed(mutate(samples, random(seed)), directory);
    } catch (error) {
      if (isExpected(error)) refused++;
      else {
        failures++;
        tell({ failed: error instanceof Error ? error.stack ?? error.message : String(error), seed });
      }
    }
    await removeIfThere(directory);
    if (seed % 64 === 0) rss = Math.max(rss, Deno.memoryUsage().rss);
  }
  tell({ done: seed - first, refused, rss });
};
