/** What a user of the demo saves: the whole command, from power-on until all services have answered. */

import { GuestHome } from "../e2e/guest_home.ts";
import { type Bench, ratio, type Scale, seconds } from "./figure.ts";

const WAYS = {
  "start --cold": ["--cold"],
  "start": ["--no-fallback"],
  "start --no-rotation": ["--no-fallback", "--no-rotation"],
};
const [SUSPENDED, CONTINUED] = ["stop, start", "start of a suspended instance"];

export const bench: Bench<Scale & { guest: "demo" | "micro"; runs: number }> = {
  about: "a cold boot against a resume, and against a suspended instance's start",
  full: { seconds: 210, guest: "demo", runs: 5 },
  smoke: { seconds: 40, guest: "micro", runs: 1 },

  async measure({ guest, runs }) {
    await using home = await GuestHome.make({ guest });
    await home.succeed("capture");
    const samples: Record<string, number[]> = Object.fromEntries(
      [...Object.keys(WAYS), SUSPENDED, CONTINUED].map((way) => [way, []]),
    );
    for (let run = 0; run < runs; run++) {
      for (const [way, args] of Object.entries(WAYS)) {
        samples[way].push(await seconds(() => home.start(...args)));
        if (way === "start") {
          const stop = await seconds(() => home.succeed("stop"));
          const start = await seconds(() => home.start());
          samples[SUSPENDED].push(stop + start);
          samples[CONTINUED].push(start);
        }
        await home.succeed("stop", ["--discard"]);
      }
    }
    const figure = (name: string, ways: [string, string], target: { atLeast?: number; atMost?: number }) =>
      ratio(`${guest}: ${name}`, samples, ways, target);
    return [
      figure("cold boot ÷ resume, both with rotation and proof", ["start --cold", "start"], { atLeast: 12 }),
      figure("resume with rotation and proof ÷ without", ["start", "start --no-rotation"], { atMost: 2.5 }),
      figure("stop and start of a suspended instance ÷ cold boot", [SUSPENDED, "start --cold"], { atMost: 0.15 }),
      figure("start of a suspended instance ÷ cold boot", [CONTINUED, "start --cold"], { atMost: 0.03 }),
      figure("cold boot ÷ resume without rotation", ["start --cold", "start --no-rotation"], { atLeast: 30 }),
    ];
  },
};
