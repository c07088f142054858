/** What a user of the demo saves: the whole command, from power-on until all services have answered. */

import { GuestHome } from "../e2e/harness.ts";
import { type Bench, ratio, seconds } from "./figure.ts";

const RUNS = 5;
const WAYS = {
  "start --cold": ["--cold"],
  "start": ["--no-fallback"],
  "start --no-rotation": ["--no-fallback", "--no-rotation"],
};

const SUSPENDED = "stop, start";

async function suspendAndContinue(demo: GuestHome, samples: Record<string, number[]>): Promise<void> {
  samples[SUSPENDED] ??= [];
  samples[SUSPENDED].push(
    await seconds(async () => {
      await demo.succeed("stop");
      await demo.start();
    }),
  );
  await demo.succeed("stop", ["--discard"]);
}

export const bench: Bench = async () => {
  await using demo = await GuestHome.make({ guest: "demo" });
  await demo.succeed("capture");
  const samples: Record<string, number[]> = Object.fromEntries(Object.keys(WAYS).map((way) => [way, []]));
  for (let run = 0; run < RUNS; run++) {
    for (const [way, args] of Object.entries(WAYS)) {
      samples[way].push(await seconds(() => demo.start(...args)));
      if (way !== "start") await demo.succeed("stop", ["--discard"]);
      else await suspendAndContinue(demo, samples);
    }
  }
  return [
    ratio("demo: cold boot ÷ resume, both with rotation and proof", samples, ["start --cold", "start"], {
      atLeast: 12,
    }),
    ratio("demo: resume with rotation and proof ÷ without", samples, ["start", "start --no-rotation"], { atMost: 2.5 }),
    ratio("demo: stop and start of a suspended instance ÷ cold boot", samples, [SUSPENDED, "start --cold"], {
      atMost: 0.15,
    }),
    ratio("demo: cold boot ÷ resume without rotation", samples, ["start --cold", "start --no-rotation"], {
      atLeast: 30,
    }),
  ];
};
