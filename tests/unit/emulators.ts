/** Emulators whose machines the test plays. */

import { type Emulator, openEmulator } from "../../lib/instance/emulator.ts";
import { type InstanceRecord, writeRecord } from "../../lib/instance/record.ts";
import { PlayedMachine } from "./played_machine.ts";

/** An emulator's messages. */
export type Told = string[];

/** The demo without health checks or secrets, in its own home. It collects its messages. */
export async function testEmulator(
  directory: string,
  options: { instance?: string; signal?: AbortSignal; profile?: string } = {},
): Promise<Emulator & { told: Told }> {
  const told: Told = [];
  const tell = (text: string) => void told.push(text);
  const emulator = await openEmulator({
    profile: "demo",
    home: `${directory}/home`,
    instance: options.instance,
    signal: options.signal,
    report: { step: tell, detail: tell, warn: tell, progress() {} },
  });
  const { secrets: _, rotation: __, ...profile } = emulator.profile;
  return {
    ...emulator,
    profile: { ...profile, name: options.profile ?? profile.name, health: [], freeze: [], ports: {} },
    ports: {},
    told,
  };
}

/** A record of its instance. */
export function testRecord(changes: Partial<InstanceRecord> = {}): InstanceRecord {
  return {
    profile: "demo",
    arch: "amd64",
    phase: "running",
    uuid: crypto.randomUUID(),
    origin: "resume",
    started: "2026-01-01T00:00:00.000Z",
    ports: {},
    identity: {},
    isDiskKept: true,
    ...changes,
  };
}

/** Writes that record, and plays a machine that runs. */
export async function play(
  emulator: Emulator,
  changes: Partial<InstanceRecord> = {},
  options: { agent?: boolean } = {},
): Promise<{ machine: PlayedMachine; record: InstanceRecord }> {
  const record = testRecord(changes);
  const machine = await PlayedMachine.start(emulator, { uuid: record.uuid, ...options });
  await writeRecord(emulator, record);
  return { machine, record };
}
