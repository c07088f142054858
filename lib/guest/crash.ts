/** Finds guests that are up but dead: QEMU says so, or the kernel printed a panic. */

import { instancePath } from "../instance/channels.ts";
import type { Emulator } from "../instance/emulator.ts";
import { clearRun, dropMemory } from "../instance/files.ts";
import { writeEnding } from "../instance/record.ts";
import { lastPanic } from "../instance/serial_log.ts";
import { quit, type State, type Up } from "../instance/state.ts";
import { connectAgent } from "./agent.ts";

/** QEMU's run states that a guest cannot leave ("QMP Reference Manual", RunState). */
const DEAD = new Set(["guest-panicked", "internal-error", "shutdown"]);
const AGENT_MS = 2000;

/**
 * Why the guest died; `undefined` if it did not. The console alone proves nothing, because any program in the guest can
 * write to it: the agent must be silent, too.
 */
export async function crashOf(emulator: Emulator, state: State): Promise<string | undefined> {
  if (state.kind === "paused") return DEAD.has(state.runState) ? state.runState : undefined;
  if (state.kind !== "running") return undefined;
  const panic = await lastPanic(instancePath(emulator, "serial"));
  return panic && !await hasAgent(emulator) ? panic.words : undefined;
}

async function hasAgent(emulator: Emulator): Promise<boolean> {
  return await connectAgent(emulator, { timeoutMs: AGENT_MS }).then(async (agent) => {
    await agent[Symbol.asyncDispose]();
    return true;
  }, () => false);
}

/** The same as a sentence that says what to type. */
export function whyCrashed(crash: string): string {
  return `the guest crashed (${crash}): 'hotboot logs' shows its last output, 'hotboot start' boots its disk`;
}

/** Ends the QEMU of a dead guest. The disk belongs to the user: the next start boots it. */
export async function endCrashed(emulator: Emulator, { qmp, record }: Up): Promise<void> {
  await quit(qmp, emulator.signal);
  await writeEnding(emulator, record, "crashed");
  await dropMemory(emulator);
  await clearRun(emulator);
}
