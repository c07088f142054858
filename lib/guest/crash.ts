/** Guests that are up and dead: QEMU says so, or their kernel has said so with its last words. */

import { printable } from "../base/error.ts";
import { readAt } from "../base/io.ts";
import { instancePath } from "../instance/channels.ts";
import type { Emulator } from "../instance/emulator.ts";
import { clearRun, dropMemory } from "../instance/files.ts";
import { writeEnding } from "../instance/record.ts";
import { quit, type State, type Up } from "../instance/state.ts";
import { connectAgent } from "./agent.ts";

/** QEMU's run states from which nothing leads on ("QMP Reference Manual", RunState). */
const DEAD = new Set(["guest-panicked", "internal-error", "shutdown"]);
/** Linux's, from kernel/panic.c. */
const PANIC = /Kernel panic - not syncing[^\r\n\]]*/g; // also at the end: ---[ end Kernel panic … ]---
/** A panic prints the calls that have led to it, and then nothing more. */
const LAST_BYTES = 64 * 1024;
const AGENT_MS = 2000;

/**
 * What a guest has died of; `undefined` when it has not. Its console alone proves nothing, since any program of the guest can
 * write there: its agent must be silent, too.
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

/** The same in a sentence, with what to do. */
export function whyCrashed(crash: string): string {
  return `the guest has crashed (${crash}): 'hotboot logs' shows its last words, 'hotboot start' boots its disk`;
}

/** Ends the QEMU of a dead guest. Its disk is the user's: the next start boots it. */
export async function endCrashed(emulator: Emulator, { qmp, record }: Up): Promise<void> {
  await quit(qmp, emulator.signal);
  await writeEnding(emulator, record, "crashed");
  await dropMemory(emulator);
  await clearRun(emulator);
}
