/** What a test's own stack takes, beside a boot. */

import { fork, stackPool } from "../../testing.ts";
import { GuestHome } from "../e2e/guest_home.ts";
import { type Bench, ratio, type Scale, seconds } from "./figure.ts";

export const bench: Bench<Scale & { guest: "demo" | "micro"; runs: number }> = {
  about: "a test's own stack, beside a boot",
  full: { seconds: 300, guest: "demo", runs: 3 },
  smoke: { seconds: 20, guest: "micro", runs: 1 },

  async measure({ guest, runs }) {
    await using home = await GuestHome.make({ guest, captured: true });
    const options = { profile: home.profile, home: home.home, noFallback: true };
    const samples = { boot: [] as number[], stack: [] as number[], "stack of a pool": [] as number[] };
    await using pool = await stackPool(options);
    for (let run = -1; run < runs; run++) {
      const boot = await seconds(() => home.start("--cold", "--no-fallback"));
      await home.succeed("stop", ["--discard"]);
      const own = await seconds(async () => {
        await using _stack = await fork(options);
      });
      const pooled = await seconds(async () => {
        await using _stack = await pool.take();
      });
      if (run < 0) continue; // in the first round the pool is empty
      samples.boot.push(boot);
      samples.stack.push(own);
      samples["stack of a pool"].push(pooled);
    }
    return [
      ratio(`${guest}: boot ÷ stack, made and dropped`, samples, ["boot", "stack"], { atLeast: 5 }),
      ratio(`${guest}: stack of a pool ÷ stack`, samples, ["stack of a pool", "stack"], { atMost: 1.3 }),
    ];
  },
};
