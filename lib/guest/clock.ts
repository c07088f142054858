/** Corrects the guest's clock when it differs from the host's, as after a pause that the guest did not notice. */

import { HotbootError, messageOf } from "../base/error.ts";
import { formatSpan } from "../base/format.ts";
import type { Emulator } from "../instance/emulator.ts";
import type { GuestAgent } from "../vm/guest_agent.ts";
import { connectAgent } from "./agent.ts";

/** The largest difference that counts as correct, in milliseconds: asking takes time, too. */
const TOLERANCE_MS = 1000;
const TIMEOUT_MS = 10_000;
const QUICK_MS = 1000;

/**
 * Sets the clock of a running guest to the host's if it is off by more than a second, and reports that. Warns if the guest
 * does not answer or cannot set its clock.
 */
export async function rightClock(emulator: Emulator): Promise<void> {
  await tryToRight(emulator, TIMEOUT_MS, (why) => {
    emulator.report.warn(
      `the guest's clock may be wrong, because its agent does not answer: ${why}; 'hotboot start' tries again`,
    );
  });
}

/**
 * The same for a command that is about something else: it does not wait for an agent that is busy or missing.
 *
 * @param connected A connection to the agent, if there is one already; then this costs one question.
 */
export async function rightClockInPassing(emulator: Emulator, connected?: GuestAgent): Promise<void> {
  const onFailure = (why: string) => emulator.report.detail(`the guest's clock was not looked at: ${why}`);
  await tryToRight(emulator, QUICK_MS, onFailure, connected);
}

async function tryToRight(
  emulator: Emulator,
  timeoutMs: number,
  onFailure: (why: string) => void,
  connected?: GuestAgent,
): Promise<void> {
  try {
    if (connected) return await rightClockWith(connected, emulator);
    await using agent = await connectAgent(emulator, { timeoutMs });
    await rightClockWith(agent, emulator);
  } catch (error) {
    emulator.signal.throwIfAborted();
    onFailure(messageOf(error));
  }
}

/** @throws {HotbootError} if the guest does not answer or cannot set its clock. */
async function rightClockWith(
  agent: GuestAgent,
  { signal, report }: Pick<Emulator, "signal" | "report">,
): Promise<void> {
  const offsetMs = await clockOffset(agent, signal);
  if (Math.abs(offsetMs) <= TOLERANCE_MS) return;
  if (!await agent.setTimeWithDate(undefined, { signal })) await agent.setTime(undefined, { signal });
  const off = formatSpan(Math.abs(offsetMs) / 1000);
  report.step(`the guest's clock was ${off} ${offsetMs < 0 ? "behind" : "ahead"}; it is set`);
}

/** How far the guest's clock is ahead of the host's, or of another one, in milliseconds. */
export async function clockOffset(agent: GuestAgent, signal: AbortSignal, now = Date.now): Promise<number> {
  const before = now();
  const nanoseconds = await agent.execute<number>("guest-get-time", {}, { signal });
  if (!Number.isFinite(nanoseconds)) {
    throw new HotbootError("the guest agent says no time: restart the guest, and use only images that you trust");
  }
  return nanoseconds / 1e6 - (before + now()) / 2;
}
