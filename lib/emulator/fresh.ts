/** A new instance that belongs to this program, and goes with it. */

import { HotbootError, messageOf } from "../base/error.ts";
import type { Emulator } from "../instance/emulator.ts";
import { forgetLocks } from "../instance/locks.ts";
import { becomeOwner, giveTo, giveToUser, type Owner } from "../instance/owners.ts";
import { stateOf } from "../instance/state.ts";
import { fork } from "./fork.ts";
import { reap } from "./reap.ts";
import { start } from "./start.ts";
import type { StartOptions, StartResult } from "./start_result.ts";
import { reset } from "./stop.ts";

/**
 * Does work with a new instance, which it starts itself, and drops that instance whatever happens: unless the work calls
 * `keep`, which makes it the user's.
 */
export async function withFresh<T>(emulator: Emulator, work: (keep: () => Promise<void>) => Promise<T>): Promise<T> {
  using owner = await becomeOwner(emulator.home);
  await ownFresh(emulator, owner);
  let isKept = false;
  const keep = async () => {
    await giveToUser(emulator);
    isKept = true;
  };
  try {
    return await work(keep);
  } finally {
    if (!isKept) {
      await dropFresh(emulator).catch((error) => {
        emulator.report.warn(
          `instance '${emulator.instance}' is left: ${
            messageOf(error)
          }; 'hotboot reset --instance ${emulator.instance}' drops it`,
        );
      });
    }
  }
}

/** Starts it: where `from`, a checkpoint or another instance, is, or from the newest snapshot. */
export async function startFresh(emulator: Emulator, options: StartOptions): Promise<StartResult> {
  const { from, ...starting } = options;
  return from === undefined ? await start(emulator, options) : await fork(emulator, { ...starting, source: from });
}

/**
 * Makes an instance of which there is nothing yet the owner's, after dropping those that dead owners have left.
 *
 * @throws {HotbootError} if there is something of it: that is the user's.
 */
export async function ownFresh(emulator: Emulator, owner: Owner): Promise<void> {
  {
    await using state = await stateOf(emulator);
    if (state.kind !== "stopped") {
      throw new HotbootError(`instance '${emulator.instance}' is ${state.kind}: name a new one`);
    }
  }
  await reap(emulator);
  await giveTo(owner, emulator);
}

/** Drops it with all that it has written, also after an abort. @throws {HotbootError} if that is impossible; the next owner tries again. */
export async function dropFresh(emulator: Emulator): Promise<void> {
  const own = { ...emulator, signal: new AbortController().signal };
  await reset(own);
  await forgetLocks(own);
}
