/**
 * What nobody may: code inside each command's sandbox, links and names that lead out of the home, a second user of the machine,
 * and a guest that attacks. Meanwhile, other commands start, fork, stop and kill another instance of the same home.
 */

import { assertEquals } from "@std/assert";
import { sleep } from "../../lib/base/wait.ts";
import type { GuestHome, GuestOptions } from "../e2e/guest_home.ts";
import { LACK_OF_OTHER_USER } from "../e2e/other_user.ts";
import { ROTATE, secretMicro } from "../e2e/secret_micro.ts";
import { random } from "../unit/random.ts";
import { assertClear } from "./concurrency.ts";
import { agreedStates, assertAllKnown, machinesOf, startNext } from "./invariants.ts";
import { attackByFrames, attackPage, attackTerminal, page, PLACES, Services } from "./sandbox_guest.ts";
import { chooseLink, tryLink, tryName } from "./sandbox_paths.ts";
import { Outside, tryRow } from "./sandbox_rows.ts";
import { tryPlanting, tryUser } from "./sandbox_user.ts";
import { type Order, Skipped, type Subject, type Tally } from "./subject.ts";

/** The instance that is started, forked, stopped and killed meanwhile. */
const BUSY = "busy";
const NAMES_EACH = 4;

/** Where the runs take place. */
class World implements AsyncDisposable {
  readonly #opened = new AsyncDisposableStack();
  readonly #guests = new Map<string, Promise<GuestHome>>();
  outside?: Outside;

  /** A guest with its home, made when it is first wanted, and running. */
  async guest(kind: "restricted" | "open" | "long"): Promise<GuestHome> {
    if (!this.#guests.has(kind)) this.#guests.set(kind, this.#make(kind));
    return await this.#guests.get(kind)!;
  }

  async #make(kind: "restricted" | "open" | "long"): Promise<GuestHome> {
    const options: GuestOptions = { captured: true, ...(kind === "long" && { name: "long".repeat(25) }) };
    const network = kind === "open" ? "open" : "restricted";
    return this.#opened.use(await secretMicro(ROTATE, ({ machine }) => machine.network = network, options));
  }

  /** The restricted guest, with what is around its home. */
  async main(): Promise<Outside> {
    const guest = await this.guest("restricted");
    this.outside ??= this.#opened.use(new Outside(guest));
    return this.outside;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#opened.disposeAsync();
  }
}

/** Does the work, while another instance is started, forked, stopped and killed. */
async function whileBusy<T>(guest: GuestHome, next: () => number, work: () => Promise<T>): Promise<T> {
  let isOver = false;
  const lines: [string, ...string[]][] = [
    ["start", "--instance", BUSY],
    ["fork", BUSY, `${BUSY}-2`],
    ["stop", "--instance", BUSY],
    ["reset", "--instance", `${BUSY}-2`],
  ];
  const lane = (async () => {
    for (let at = Math.floor(next() * lines.length); !isOver; at++) {
      const [verb, ...args] = lines[at % lines.length];
      assertClear(await guest.run(verb, args), verb);
      if (next() < 0.7) continue;
      for (const { pid, name } of await machinesOf(guest)) {
        if (name === `hotboot-${BUSY}`) Deno.kill(pid, "SIGKILL");
      }
      await sleep(200);
      await guest.run("reset", ["--instance", BUSY]); // a cold boot takes long
    }
  })();
  lane.catch(() => {}); // it is awaited below
  try {
    return await work();
  } finally {
    isOver = true;
    await lane;
    for (const instance of [BUSY, `${BUSY}-2`]) await guest.succeed("reset", ["--instance", instance]);
    await assertAllKnown(guest);
  }
}

/** One run. */
type Kind = (world: World, seed: number, tally: Tally) => Promise<unknown>;

const inside: Kind = async (world, seed, tally) => {
  const outside = await world.main();
  const next = random(seed);
  let found: Awaited<ReturnType<typeof tryRow>> = { name: "", through: new Map() };
  const title = "from inside a command";
  await tally.run(`${title}: meanwhile`, seed, async () => {
    await startNext(outside.guest);
    found = await whileBusy(outside.guest, next, () => tryRow(outside, next));
    assertEquals((await agreedStates(outside.guest)).get(outside.guest.guest)?.state, "running");
    return "it works";
  });
  for (const [kind, list] of found.through) {
    await tally.run(`${title}: ${kind}`, seed, () => {
      assertEquals(list, []);
      return "refused";
    });
  }
};

const link: Kind = (world, seed, tally) => {
  const next = random(seed);
  const { to } = chooseLink(random(seed));
  return tally.run(`a link in the home to ${to}`, seed, async () => tryLink(await world.main(), next));
};

const names: Kind = async (world, seed, tally) => {
  const next = random(seed);
  const outside = await world.main();
  for (let count = 0; count < NAMES_EACH; count++) {
    if (!await tally.run("a name that is a path", seed, () => tryName(outside, next))) return;
  }
};

const user: Kind = (world, seed, tally) => {
  const next = random(seed);
  return tally.run("a second user: files, sockets, processes", seed, async () => {
    const guest = await world.guest("restricted");
    const seen = await whileBusy(guest, next, () => tryUser(guest, next));
    await startNext(guest);
    return seen;
  });
};

const planting: Kind = (world, seed, tally) =>
  tally.run(
    "a second user: directories and links in /tmp",
    seed,
    async () => tryPlanting(await world.guest("long"), random(seed)),
  );

const frames = (network: "restricted" | "open"): Kind => (world, seed, tally) => {
  const next = random(seed);
  return tally.run(
    `a guest in ${network === "open" ? "an open" : "a restricted"} network: frames and connections`,
    seed,
    async () => {
      const guest = await world.guest(network);
      await startNext(guest);
      await using services = await Services.open();
      await using ui = await page(guest);
      const ports = [guest.port, ui.port];
      return await attackByFrames(guest, services, ports, network === "restricted", next);
    },
  );
};

const pages: Kind = (world, seed, tally) =>
  tally.run("a guest in an open network: the page of 'hotboot ui'", seed, async () => {
    const guest = await world.guest("open");
    await startNext(guest);
    await using ui = await page(guest);
    return await attackPage(guest, ui.port);
  });

const terminal: Kind = (world, seed, tally) => {
  const next = random(seed);
  const place = PLACES[Math.floor(next() * PLACES.length)];
  return tally.run(`a guest: what a terminal obeys, in ${place}`, seed, async () => {
    const guest = await world.guest("restricted");
    await startNext(guest);
    try {
      await attackTerminal(guest, place, next);
    } finally {
      await guest.run("reset");
    }
    return "it is shown as text";
  });
};

/** By a seed's remainder. The first ones are CI's. */
const KINDS: Kind[] = [
  ...[terminal, inside, frames("restricted"), user, names],
  ...[link, inside, planting, frames("open"), link, inside, pages, link, planting],
];

export const subject: Subject = {
  about: "what nobody may: from inside each command, by links and names, by a second user, by a guest that attacks",
  survived:
    "What is tried from inside a command is refused, and works outside of it. Links and names change nothing outside of the home. " +
    "A second user reads, connects to, signals and redirects nothing. A guest in a restricted network reaches nothing; in an open one, what " +
    "[the page](security.md#who-can-reach-what) says. Nothing that a guest writes is obeyed by a terminal. The next `start` works.",
  full: { runs: 140, seconds: 1500 },
  ci: { runs: 4, seconds: 25 },
  async run({ seed: first, runs, tally }: Order) {
    if (Deno.build.os !== "linux") throw new Skipped("it looks into /proc");
    if (LACK_OF_OTHER_USER !== undefined) throw new Skipped(LACK_OF_OTHER_USER);
    await using world = new World();
    for (let seed = first; seed < first + runs; seed++) await KINDS[seed % KINDS.length](world, seed, tally);
  },
};
