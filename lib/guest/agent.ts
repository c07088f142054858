/** The guest's agent, where the instance's QEMU has its channel. */

import { channelsOf } from "../instance/channels.ts";
import type { Emulator } from "../instance/emulator.ts";
import { GuestAgent } from "../vm/guest_agent.ts";

/**
 * A connection to the guest's agent.
 *
 * @param options `timeoutMs`: the limit, the agent's own unless told.
 * @throws {HotbootError} when it does not answer in time; the signal's reason when it aborts.
 */
export async function connectAgent(emulator: Emulator, options: { timeoutMs?: number } = {}): Promise<GuestAgent> {
  const { agent } = await channelsOf(emulator);
  return await GuestAgent.connect(agent, { ...options, signal: emulator.signal });
}
