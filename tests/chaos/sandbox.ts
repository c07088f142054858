/** Who may not: code inside each command's sandbox, a second user of the machine, links and names that lead elsewhere, and a guest that attacks. */

import { assert, assertEquals } from "@std/assert";
import { sleep } from "../../lib/base/wait.ts";
import type { GuestHome } from "../e2e/guest_home.ts";
import { ROTATE, secretMicro } from "../e2e/secret_micro.ts";
import { random } from "../unit/random.ts";
import { agreedStates, assertAllKnown, killMachines, machinesOf, startNext } from "./invariants.ts";
import { Outside, tryRow } from "./sandbox_rows.ts";
import { lastMessage, type Order, type Subject } from "./subject.ts";

/** The instance that other commands start, fork, stop and kill meanwhile. */
const BUSY = "busy";

async function rows({ seed, tally }: Order, outside: Outside): Promise<void> {
  let found: Awaited<ReturnType<typeof tryRow>> | undefined;
  const title = "from inside a command";
  if (!await tally.run(title, seed, async () => void (found = await tryRow(outside, random(seed))))) return;
  for (const [kind, list] of found!.through) {
    await tally.run(`${title}: ${kind}`, seed, () => {
      assertEquals(list, []);
      return "refused";
    });
  }
}

export const subject: Subject = {
  about: "what nobody may, tried from inside commands, by a second user, by links and names, and by guests",
  survived: "x",
  full: { runs: 200, seconds: 1500 },
  ci: { runs: 5, seconds: 25 },
  async run({ seed: first, runs, tally }: Order) {
    await using guest = await secretMicro(ROTATE, ({ machine }) => machine.network = "restricted", { captured: true });
    await using outside = new Outside(guest);
    await guest.start();
    for (let seed = first; seed < first + runs; seed++) await rows({ seed, runs, tally }, outside);
  },
};
