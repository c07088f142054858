/** Makes an image from another one: boots it once, and cloud-init sets it up. */

import { HotbootError, messageOf } from "../base/error.ts";
import { writeWhole } from "../base/files.ts";
import type { IsoEntry } from "../iso/entry.ts";
import { scanFiles } from "../iso/scan.ts";
import { writeIso } from "../iso/write.ts";
import type { CloudInit } from "../profile/profile.ts";
import { copyCompressed } from "../vm/compress.ts";
import { GuestAgent } from "../vm/guest_agent.ts";
import { qemuArguments } from "../vm/machine.ts";
import type { QemuFacts } from "../vm/probe.ts";
import { QemuProcess } from "../vm/process.ts";
import { createOverlay, readQcow2Header } from "../vm/qcow2.ts";
import { within } from "../base/wait.ts";
import { type Base, findBase } from "./base_image.ts";
import { makeConfigDisk } from "../instance/config_disk.ts";
import { bootWithin, qemuFacts } from "../instance/acceleration.ts";
import { builderOf, instancePath, machineName, makeChannels } from "../instance/channels.ts";
import type { Emulator } from "../instance/emulator.ts";
import { dropInstance } from "../instance/files.ts";
import { lockInstance } from "../instance/locks.ts";
import { describeMachine, firmwareFor } from "../instance/machine.ts";
import { writeRecord } from "../instance/record.ts";
import { settledState } from "../instance/state.ts";
import { type Booting, FailedGuest, unlessStuck, whileAlive } from "../instance/watch.ts";
import { watchProvisioning } from "./provisioning.ts";
import { describeFiles, digestOfLines, isProgram, recipePath } from "./recipe.ts";
import { REPORTER, SEED_LABEL, seedFiles } from "./seed_disk.ts";

const MIB = 1024 * 1024;
const DEFAULT_TIMEOUT_S = 1800;
const DEFAULT_SILENCE_S = 300;
const AGENT_MS = 60_000;
const FINISH_MS = 300_000;
const SHUTDOWN_MS = 120_000;

/** The date of all files on the disks for cloud-init, so that the same recipe makes the same disks. */
const DATE = new Date("2000-01-01T00:00:00Z");

/**
 * The last steps in the guest: cloud-init never runs again and leaves nothing of its input; each machine gets an id of its
 * own; and free space takes no room in the image.
 */
const FINISH = `set -e
touch /etc/cloud/cloud-init.disabled
rm -rf /var/lib/cloud/instance /var/lib/cloud/instances /var/log/cloud-init.log /var/log/cloud-init-output.log
: >/etc/machine-id
sync
fstrim --all || fstrim /
`;

/** A digest of everything that decides the recipe's result. */
export async function cloudInitDigest(emulator: Emulator, recipe: CloudInit): Promise<string> {
  const { arch, profile } = emulator;
  const { userData, bundle } = recipe;
  const base = await findBase(emulator, recipe.base);
  return await digestOfLines([
    arch,
    base.digest,
    JSON.stringify([profile.name, recipe.disk, userData, bundle, profile.secrets ?? [], REPORTER, FINISH]),
    ...await describeFiles(emulator, [userData, ...bundle?.paths ?? []]),
  ]);
}

/**
 * Makes the image's disk at `path`, in a directory of this run.
 *
 * @throws {HotbootError} if the guest does not report success, or its agent does not answer then.
 */
export async function provision(emulator: Emulator, recipe: CloudInit, digest: string, path: string): Promise<void> {
  const builder = builderOf(emulator);
  using _lock = await lockInstance(builder);
  await using _leftover = await settledState(builder); // its QEMU has been ended
  const base = await findBase(emulator, recipe.base);
  const work = path.slice(0, path.lastIndexOf("/"));
  const disk = `${work}/overlay.qcow2`;
  await makeOverlay(emulator, base, recipe, disk);
  const disks = await makeDisks(emulator, recipe, digest, work);

  try {
    await bootWithin(
      emulator,
      await qemuFacts(emulator),
      true,
      (qemu) => setUp(emulator, recipe, qemu, disk, disks, path),
    );
  } finally {
    await dropInstance(builder);
  }
}

/** Boots `disk`, lets cloud-init set it up, and copies the result to `path`. */
async function setUp(
  emulator: Emulator,
  recipe: CloudInit,
  qemu: QemuFacts,
  disk: string,
  disks: string[],
  path: string,
): Promise<void> {
  const { profile, report, signal } = emulator;
  const builder = builderOf(emulator);
  const channels = await makeChannels(builder);
  const progressLog = `${emulator.home.instance(builder.instance)}/progress.log`;
  // QEMU's own mode for a new file lets others read it.
  for (const log of [channels.serialLog, progressLog]) await writeWhole(log, "");
  const config = await makeConfigDisk(builder);
  const configDisk = instancePath(builder, "config");
  if (config) await writeWhole(configDisk, config.image);
  const image = { paths: { disk } };
  const firmware = await firmwareFor(emulator.arch, image.paths, qemu);
  const described = describeMachine(builder, { qemu, image, firmware, config }, disk);
  const uuid = crypto.randomUUID();
  await writeRecord(builder, {
    profile: profile.name,
    arch: emulator.arch,
    phase: "starting",
    uuid,
    origin: "cold boot",
    started: new Date().toISOString(),
    ports: {},
    identity: {},
    isDiskKept: false,
  });
  // Packages may come from outside, even if the guest's network is restricted later.
  const args = qemuArguments({ ...described, forwards: [], restricted: false, provisioning: { disks, progressLog } }, {
    name: machineName(builder.instance),
    uuid,
    memory: { kind: "anonymous" },
    incoming: false,
    channels,
  });
  report.detail(`${qemu.program} ${args.join(" ")}`);
  report.step(`boot the base image for cloud-init (${profile.machine.memory} MiB, ${qemu.accelerator})`);
  report.detail(`console: ${channels.serialLog}, progress: ${progressLog}`);
  await using machine = await QemuProcess.launch(qemu.program, args, channels, { signal });
  const { qmp } = machine;
  await qmp.execute("set-action", { shutdown: "pause" }); // its disk is still needed then
  const off = qmp.waitForEvent(({ event }) => event === "SHUTDOWN", "QEMU");
  const limits = {
    timeoutMs: (recipe.timeout ?? DEFAULT_TIMEOUT_S) * 1000,
    silenceMs: (recipe.silence ?? DEFAULT_SILENCE_S) * 1000,
  };
  const logs = { serial: channels.serialLog, progress: progressLog };
  // Emulated, a step may well say nothing for minutes; `silence` is its limit.
  const watched = { ...qemu, isPatient: qemu.accelerator === "tcg" };
  const booting: Booting = { qemu: watched, qmp, logs: [logs.serial, logs.progress], patienceMs: limits.silenceMs };
  await whileAlive(emulator, machine, async (emulator) => {
    await Promise.race([
      unlessStuck(emulator, booting, ({ signal }) => watchProvisioning(logs, limits, report, signal)),
      off.then(() =>
        Promise.reject(new HotbootError("the guest powered itself off before it was done: leave that to hotboot"))
      ),
    ]).catch((error) => {
      emulator.signal.throwIfAborted();
      if (error instanceof FailedGuest) throw error;
      throw new HotbootError(
        `cloud-init did not make the image of '${profile.name}': ${
          messageOf(error)
        }; see its full output in ${channels.serialLog} and ${progressLog}`,
      );
    });
    await finish(emulator, channels.agent, off);
  }, "the image was made");
  report.step("compress the disk");
  await copyCompressed(qmp, "disk", path, {
    signal,
    onProgress: (done, total) => report.progress("compress the disk", done, total),
  });
  await machine.quit();
}

/** The writable disk: the base's content, in the image's size. */
async function makeOverlay(emulator: Emulator, base: Base, { disk }: CloudInit, path: string): Promise<void> {
  const { profile } = emulator;
  const basePath = await base.obtain();
  const { virtualSize, needsOthers } = await readQcow2Header(basePath);
  if (needsOthers) {
    throw new HotbootError(`the base image of '${profile.name}' refers to other files: use a self-contained one`);
  }
  if (virtualSize > disk * MIB) {
    const least = Math.ceil(virtualSize / MIB);
    throw new HotbootError(
      `image.build.cloudInit.disk of '${profile.name}' is ${disk} MiB, and its base image has ${least}: set it to at least that`,
    );
  }
  await createOverlay(path, basePath, disk * MIB);
}

/** The disks of this machine only: the one for cloud-init, and the bundle. */
async function makeDisks(emulator: Emulator, recipe: CloudInit, digest: string, work: string): Promise<string[]> {
  const { profile, signal, report } = emulator;
  const { bundle } = recipe;
  const seed = seedFiles({
    instanceId: `hotboot-${digest.slice(0, 16)}`,
    hostname: profile.name,
    userData: await Deno.readTextFile(recipePath(emulator, recipe.userData)),
    secrets: profile.secrets ?? [],
  });
  const options = { date: DATE, signal, onWarning: report.detail };
  await writeIso(`${work}/seed.iso`, seed, { ...options, label: SEED_LABEL });
  if (!bundle) return [`${work}/seed.iso`];
  const entries = await scanFiles(bundle.paths.map((path) => recipePath(emulator, path)));
  const forGuest: IsoEntry[] = [];
  for (const entry of entries) forGuest.push(await asInGuest(emulator, entry));
  await writeIso(`${work}/bundle.iso`, forGuest, { ...options, label: bundle.label, depth: 64 });
  return [`${work}/seed.iso`, `${work}/bundle.iso`];
}

/** Normalizes an entry for the guest: owned by root, readable by all, with a fixed date. */
async function asInGuest(emulator: Emulator, entry: IsoEntry): Promise<IsoEntry> {
  const file = entry.kind === "file" ? (entry.content as { path: string }).path : undefined;
  const isForAll = file === undefined || await isProgram(emulator, file, entry.mode ?? null);
  return { ...entry, uid: 0, gid: 0, mtime: DATE, mode: isForAll ? 0o755 : 0o644 };
}

/** Runs the last steps in the guest, through its agent, which an image must have; returns when the guest is off. */
async function finish({ signal, report }: Emulator, agentPath: string, off: Promise<unknown>): Promise<void> {
  report.step("trim the disk and power off");
  const agent = await GuestAgent.connect(agentPath, { timeoutMs: AGENT_MS, signal }).catch((error) => {
    signal.throwIfAborted();
    throw new HotbootError(
      `the image has no guest agent (${messageOf(error)}): install and enable qemu-guest-agent in the user data`,
    );
  });
  {
    await using _ = agent;
    const what = "the guest's last steps";
    const command = { path: "/bin/sh", args: ["-c", FINISH] };
    const { exitCode, stderr } = await agent.exec(command, { timeoutMs: FINISH_MS, signal, what });
    if (exitCode !== 0) {
      throw new HotbootError(
        `${what} failed (exit code ${exitCode}): ${new TextDecoder().decode(stderr).trim()}; build the image again`,
      );
    }
    await agent.powerDown({ signal });
  }
  await within(off, "the guest's shutdown", { timeoutMs: SHUTDOWN_MS, signal });
}
