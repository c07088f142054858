/** The two engines' times for the same guest, on a QEMU that has both. */

import { newerQemu } from "../e2e/qemu.ts";
import { type Bench, ratio, type Scale } from "./figure.ts";
import { LARGE, measure, nameOf, type Ram } from "./memory.ts";

interface Counts {
  captures: number;
  runs: number;
}

export const bench: Bench<Scale & { ram: Ram; instant: Counts; mapped: Counts }> = {
  about: "the engine instant against mapped-ram",
  full: { seconds: 240, ram: LARGE, instant: { captures: 3, runs: 5 }, mapped: { captures: 2, runs: 3 } },
  smoke: {
    seconds: 35,
    ram: { memory: 320, touched: 128 },
    instant: { captures: 1, runs: 1 },
    mapped: { captures: 1, runs: 1 },
  },

  async measure({ ram, ...counts }) {
    const qemu = await newerQemu();
    const instant = await measure(ram, { engine: "instant", qemu, ...counts.instant });
    const mapped = await measure(ram, { engine: "mapped-ram", qemu, ...counts.mapped });
    const figure = (name: string, what: "incoming" | "saving", atMost: number) =>
      ratio(
        `${name}, ${nameOf(ram)}: instant ÷ mapped-ram`,
        { "instant": instant[what], "mapped-ram": mapped[what] },
        ["instant", "mapped-ram"],
        { atMost },
      );
    return [
      figure("incoming", "incoming", 0.05),
      // This excludes preparing the guest, which is the same for both.
      figure("capture, from stopped to in place", "saving", 0.02),
    ];
  },
};
