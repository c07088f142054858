/** The same again and again: nothing may pile up. */

import { assert, assertEquals } from "@std/assert";
import { walk } from "@std/fs/walk";
import { ROTATE, secretMicro } from "../e2e/secret_micro.ts";
import type { GuestHome } from "../e2e/guest_home.ts";
import { agreedStates, assertAllKnown, repaired } from "./invariants.ts";
import type { Order, Subject } from "./subject.ts";

/** After so many rounds, all that is made once is there: logs, caches, locks. */
const WARM_UP = 3;
/** How much larger the home may become, in bytes: the instance's history and log have limits, but grow until they reach them. */
const MOST_GROWTH = 2 * 2 ** 20;

/** What could pile up. */
interface Heap {
  files: number;
  bytes: number;
  processes: number;
  sockets: number;
}

async function heapOf(guest: GuestHome): Promise<Heap> {
  let [files, bytes, sockets] = [0, 0, 0];
  for await (const { path } of walk(guest.home)) {
    const { blocks, isSocket } = await Deno.lstat(path);
    files++;
    sockets += isSocket ? 1 : 0;
    bytes += (blocks ?? 0) * 512;
  }
  return { files, bytes, sockets, processes: (await guest.qemuProcesses()).length };
}

/** One round of each kind; the next one begins where it has begun. */
const ROUNDS: Record<string, (guest: GuestHome) => Promise<void>> = {
  "start and stop": async (guest) => {
    assertEquals((await guest.start()).origin, "continue");
    await guest.succeed("stop");
  },
  "start and stop --discard": async (guest) => {
    await guest.start("--instance", "fresh", "--no-fallback");
    await guest.succeed("stop", ["--instance", "fresh", "--discard"]);
  },
  "fork and reset": async (guest) => {
    await guest.succeed("fork", [guest.guest, "forked"]);
    await guest.succeed("reset", ["--instance", "forked"]);
  },
  "save and remove": async (guest) => {
    await guest.succeed("snapshot save", ["again"]);
    await guest.succeed("snapshot rm", ["again"]);
  },
};

export const subject: Subject = {
  survived: "There are as many files, sockets and processes as before all rounds, and the home is no larger.",
  about: "the same rounds again and again (`--runs`: rounds of each kind)",
  full: { runs: 125, seconds: 900 },
  ci: { runs: 2, seconds: 20 },
  async run({ seed, runs, tally }: Order) {
    await using guest = await secretMicro(ROTATE, undefined, { captured: true });
    await guest.start();
    await guest.succeed("stop");
    for (const [name, round] of Object.entries(ROUNDS)) {
      let before: Heap | undefined;
      for (let done = 0; done < WARM_UP + runs; done++) {
        if (done === WARM_UP) before = await heapOf(guest);
        const isCounted = done >= WARM_UP;
        if (isCounted && !await tally.run(name, seed + done, () => round(guest))) return;
        if (!isCounted) await round(guest);
      }
      await tally.run(`${name}: what is left after all rounds`, seed, async () => {
        await assertAllKnown(guest);
        await agreedStates(guest);
        const after = await heapOf(guest);
        const { bytes, ...rest } = after;
        const { bytes: bytesBefore, ...restBefore } = before!;
        assertEquals(rest, restBefore);
        assert(bytes - bytesBefore < MOST_GROWTH, `the home grew by ${bytes - bytesBefore} bytes`);
        assertEquals((await repaired(guest)).filter(({ id }) => /^(leftover|process|instance)/.test(id)), []);
        return "as many files, sockets and processes as before";
      });
    }
  },
};
