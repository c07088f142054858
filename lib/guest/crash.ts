/** Finds guests that are up but dead: QEMU says so, or the kernel printed a panic. */

import { printable } from "../base/printable.ts";
import { readAt } from "../base/io.ts";
import { instancePath } from "../instance/channels.ts";
import type { Emulator } from "../instance/emulator.ts";
import { clearRun, dropMemory } from "../instance/files.ts";
import { writeEnding } from "../instance/record.ts";
import { quit, type State, type Up } from "../instance/state.ts";
import { connectAgent } from "./agent.ts";

/** QEMU's run states that a guest cannot leave ("QMP Reference Manual", RunState). */
const DEAD = new Set(["guest-panicked", "internal-error", "shutdown"]);
/** Linux's panic message, from kernel/panic.c. */
const PANIC = /Kernel panic - not syncing[^\r\n\]]*/g; // also at the end: ---[ end Kernel panic … ]---
/** A panic prints its call trace, and then nothing more. */
const LAST_BYTES = 64 * 1024;
const AGENT_MS = 2000;

/**
 * Why the guest died; `undefined` if it did not. The console alone proves nothing, because any program in the guest can
 * write to it: the agent must be silent, too.
 */
export async function crashOf(emulator: Emulator, state: State): Promise<string | undefined> {
  if (state.kind === "paused") return DEAD.has(state.runState) ? state.runState : undefined;
  if (state.kind !== "running") return undefined;
  const words = await lastPanic(instancePath(emulator, "serial"));
  return words !== undefined && !await hasAgent(emulator) ? words : undefined;
}

async function lastPanic(path: string): Promise<string | undefined> {
  using file = await Deno.open(path).catch(() => undefined);
  if (!file) return undefined;
  const bytes = new Uint8Array(LAST_BYTES);
  const got = await readAt(file, Math.max(0, (await file.stat()).size - LAST_BYTES), bytes);
  const found = new TextDecoder().decode(bytes.subarray(0, got)).match(PANIC)?.at(-1);
  return found && printable(found.trim());
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
