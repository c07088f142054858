/** Looks at all that a start needs on this machine, in the way that a start does. */

import { listInstances } from "../emulator/list.ts";
import type { Emulator } from "../instance/emulator.ts";
import { examineDisks } from "./disk.ts";
import type { Finding } from "./finding.ts";
import { examineHome } from "./home.ts";
import { examineImage } from "./image.ts";
import { examineInstances } from "./instances.ts";
import { examineMemory } from "./memory.ts";
import { examineNetwork, examineRelease } from "./network.ts";
import { examinePorts } from "./ports.ts";
import { examineQemu } from "./qemu.ts";
import { examineSnapshots } from "./snapshots.ts";
import { examineStrays } from "./strays.ts";

/** What to do besides looking. */
export interface ExamineOptions {
  /** End and remove what killed programs have left. */
  fix?: boolean;
  /** Ask GitHub for the image's release. Without it, no server is asked. */
  online?: boolean;
}

/** What was found. */
export interface Diagnosis {
  /** Whether the emulator's own instance would start, as far as that shows before. */
  starts: boolean;
  /** Of each thing, in the order in which a start needs them. */
  findings: Finding[];
}

/** Examines the emulator, its home and this machine. */
export async function examine(emulator: Emulator, { fix = false, online = false }: ExamineOptions): Promise<Diagnosis> {
  const home = await examineHome(emulator);
  const strays = home.isUsable ? await examineStrays(emulator, fix) : []; // first: they may have ports and space
  const instances = home.isUsable ? await listInstances(emulator) : [];
  const runs = instances.some(({ instance, running }) => instance === emulator.instance && running !== undefined);
  const qemu = await examineQemu(emulator, home.isUsable);
  const image = home.isUsable ? await examineImage(emulator, qemu.facts) : { findings: [], isThere: false };
  const snapshots = home.isUsable ? await examineSnapshots(emulator) : { findings: [], isUsable: false };
  const release = online ? await examineRelease(emulator, !image.isThere) : undefined;
  const missing = { imageBytes: image.isThere ? 0 : release?.bytes ?? 0, snapshot: !snapshots.isUsable };
  const findings = [
    ...qemu.findings,
    examineMemory(emulator.profile.machine.memory, runs),
    ...home.findings,
    ...home.isUsable ? await examineDisks(emulator, missing) : [],
    ...image.findings,
    ...await examinePorts(emulator, runs),
    ...await examineInstances(emulator, instances),
    ...snapshots.findings,
    ...strays,
    ...await examineNetwork(emulator),
    ...release ? [release.finding] : [],
  ];
  return { starts: findings.every(({ mark }) => mark !== "fail"), findings };
}
