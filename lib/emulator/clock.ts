/** The guest's clock: a resumed guest wakes with that of its capture. */

import { HotbootError, messageOf } from "../error.ts";
import { GuestAgent } from "../vm/guest_agent.ts";
import type { Manifest } from "../snapshot/manifest.ts";
import type { Emulator } from "./emulator.ts";

type ClockSetter = Manifest["clock"];

/** Finds out, before a capture, what is to set the guest's clock after each resume. */
export async function findClockSetter(emulator: Emulator, agentPath: string): Promise<ClockSetter> {
  const { signal, report } = emulator;
  try {
    await using agent = await GuestAgent.connect(agentPath, { signal });
    return await agent.setTimeWithDate(undefined, { signal }) ? "date" : "agent";
  } catch (error) {
    signal.throwIfAborted();
    report.detail(`the guest agent: ${messageOf(error)}`);
    return "nothing";
  }
}

/** Sets a resumed guest's clock. A guest that does not let it keeps its clock, and the user is told. */
export async function correctClock(emulator: Emulator, agentPath: string, setter: ClockSetter): Promise<void> {
  const { signal, report } = emulator;
  try {
    if (setter === "nothing") throw new HotbootError("the guest has no agent");
    await using agent = await GuestAgent.connect(agentPath, { signal });
    const isSet = setter === "date" && await agent.setTimeWithDate(undefined, { signal });
    if (!isSet) await agent.setTime(undefined, { signal });
  } catch (error) {
    signal.throwIfAborted();
    report.warn(`the guest's clock still stands at the time of its capture: ${messageOf(error)}`);
  }
}
