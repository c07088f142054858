/** What proven secrets cost a new instance that uses a spare, and what they cost one that does not. */

import { GuestHome } from "../e2e/guest_home.ts";
import { type Bench, ratio, type Scale, seconds } from "./figure.ts";

const [SPARE, RESUME, BARE] = ["start from a spare", "start", "start --no-rotation"];

export const bench: Bench<Scale & { guest: "demo" | "micro"; runs: number }> = {
  about: "a new instance with proven secrets from a spare, against a resume without new secrets",
  full: { seconds: 120, guest: "demo", runs: 7 },
  smoke: { seconds: 25, guest: "micro", runs: 1 },

  async measure({ guest, runs }) {
    await using home = await GuestHome.make({ guest, captured: true });
    const samples: Record<string, number[]> = { [SPARE]: [], [RESUME]: [], [BARE]: [] };
    const measure = async (way: string, origin: string, ...args: string[]) => {
      let started: string | undefined;
      samples[way].push(
        await seconds(async () => void (started = (await home.start("--no-fallback", ...args)).origin)),
      );
      if (started !== origin) throw new Error(`${way}: its origin is ${started}`);
      await home.succeed("stop", ["--discard"]);
    };
    for (let run = 0; run < runs; run++) {
      await home.succeed("spare", ["1"]);
      await measure(SPARE, "spare");
      await measure(BARE, "resume", "--no-rotation");
      await measure(RESUME, "resume");
    }
    const figure = (name: string, ways: [string, string], target?: { atMost: number }) =>
      ratio(`${guest}: ${name}`, samples, ways, target);
    return [
      figure("start from a spare, with proven secrets ÷ resume without rotation", [SPARE, BARE], { atMost: 1.2 }),
      figure("resume with rotation and proof ÷ start from a spare", [RESUME, SPARE]),
    ];
  },
};
