/** Looks at all that a start needs on this machine, in the way that a start does. */

import { listInstances } from "../emulator/list.ts";
import { isBuiltIn } from "../image/recipe.ts";
import { makeConfigDisk } from "../instance/config_disk.ts";
import type { Emulator } from "../instance/emulator.ts";
import { examineDisks } from "./disk.ts";
import { failed, type Finding } from "./finding.ts";
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

/** Parts that a start does not need. */
const NOT_NEEDED = ["strays", "network"];
/** In which the parts are shown. */
const ORDER = [
  ...["profile", "qemu", "memory", "home", "disks", "image", "ports", "instances", "snapshots", "strays"],
  ...["network", "release"],
];

/** Examines the emulator, its home and this machine. @throws The reason of the emulator's signal, if it aborts. */
export async function examine(emulator: Emulator, { fix = false, online = false }: ExamineOptions): Promise<Diagnosis> {
  const { profile, profileUrl, signal } = emulator;
  const found: Record<string, Finding[]> = {};
  /** Does one part; what it throws is a finding too. */
  const look = async <T>(what: string, title: string, work: () => Promise<T>): Promise<Partial<T>> => {
    try {
      const result = await work();
      found[what] = Array.isArray(result) ? result : Object(result).findings;
      return result;
    } catch (error) {
      signal.throwIfAborted();
      found[what] = [{ ...failed(what, title, error), ...(NOT_NEEDED.includes(what) && { mark: "warn" }) }];
      return {};
    }
  };
  const { isUsable = false } = await look("home", "home", () => examineHome(emulator));
  const lookInHome: typeof look = async (...args) => isUsable ? await look(...args) : {};

  // First: strays may have ports and space.
  await lookInHome("strays", "strays", () => examineStrays(emulator, fix));
  let runs = false;
  await lookInHome("instances", "instance", async () => {
    const instances = await listInstances(emulator);
    runs = instances.some(({ instance, running }) => instance === emulator.instance && running !== undefined);
    return await examineInstances(emulator, instances);
  });
  const { facts } = await look("qemu", "QEMU", () => examineQemu(emulator, isUsable));
  const { isThere = true } = await lookInHome("image", "image", () => examineImage(emulator, facts));
  const { isUsable: isResumed = false } = await lookInHome("snapshots", "snapshot", () => examineSnapshots(emulator));
  const release = online && await look("release", "release", () => examineRelease(emulator, !isThere));
  const imageBytes = release && !isThere ? release.bytes ?? 0 : 0;
  await lookInHome("disks", "disk", () => examineDisks(emulator, { imageBytes, snapshot: !isResumed }));
  await look("ports", "ports", () => examinePorts(emulator, runs));
  await look("network", "network", () => examineNetwork(emulator));
  await look("profile", "profile", async () => {
    await makeConfigDisk(emulator);
    const where = isBuiltIn(profileUrl) ? "built in" : decodeURIComponent(profileUrl.pathname);
    return [{ id: "profile", mark: "ok", title: "profile", reason: `${profile.name}, ${where}` }];
  });
  await look("memory", "memory", () => examineMemory(profile.machine.memory, runs));
  const findings = ORDER.flatMap((what) => found[what] ?? []);
  return { starts: findings.every(({ mark }) => mark !== "fail"), findings };
}
