/** What the two engines take for the same guest, on a QEMU that has both. */

import { newerQemu } from "../e2e/harness.ts";
import { type Bench, ratio } from "./figure.ts";
import { LARGE, measure } from "./memory.ts";

const BOTH: [string, string] = ["instant", "mapped-ram"];

export const bench: Bench = async () => {
  const qemu = await newerQemu();
  const instant = await measure(4096, 2560, "instant", { qemu, captures: 3, runs: 5 });
  const mapped = await measure(4096, 2560, "mapped-ram", { qemu, captures: 2, runs: 3 });
  const both = (what: "incoming" | "saving") => ({ "instant": instant[what], "mapped-ram": mapped[what] });
  return [
    ratio(`incoming, ${LARGE}: instant ÷ mapped-ram`, both("incoming"), BOTH, { atMost: 0.05 }),
    // Getting the guest ready is the same for both, and not in this.
    ratio(`capture, from stopped to in place, ${LARGE}: instant ÷ mapped-ram`, both("saving"), BOTH, { atMost: 0.02 }),
  ];
};
