/** What a user of the demo saves: the whole command, from power-on until all services have answered. */

import { GuestHome } from "../e2e/harness.ts";
import { type Bench, ratio, seconds } from "./figure.ts";

const RUNS = 5;

export const bench: Bench = async () => {
  await using demo = await GuestHome.make({ guest: "demo" });
  await demo.succeed("capture");
  const samples: Record<string, number[]> = { "start --cold": [], start: [] };
  for (let run = 0; run < RUNS; run++) {
    for (
      const [what, ...args] of [["start --cold", "--cold"], ["start", "--no-fallback"], ["start", "--no-fallback"]]
    ) {
      samples[what].push(await seconds(() => demo.start(...args)));
      await demo.succeed("stop");
    }
  }
  return [ratio("demo: cold boot ÷ resume", samples, ["start --cold", "start"], { atLeast: 30 })];
};
