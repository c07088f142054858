/** Bringing an emulator up, the fastest way that is right. */

import { HotbootError, messageOf } from "../error.ts";
import type { Secrets } from "../secrets/secrets.ts";
import { type EngineContext, engineOf, type Load, type SnapshotEngine } from "../snapshot/engine.ts";
import { loadState } from "../snapshot/migration.ts";
import {
  difference,
  type Engine,
  type Identity,
  SNAPSHOT_FILES,
  UnusableSnapshot,
  wrongContent,
  wrongSize,
} from "../snapshot/manifest.ts";
import { newestSnapshot, type Snapshot, syncSnapshot } from "../snapshot/store.ts";
import { createOverlay, readQcow2Header } from "../vm/qcow2.ts";
import { type Emulator, imageKey, lockInstance } from "./emulator.ts";
import { backingPath, privateDirectory, writeJson } from "./home.ts";
import type { Image } from "./image.ts";
import { findRunningOrClear, instancePath, type InstanceRecord, type Origin, powerOff, urlsOf } from "./instance.ts";
import { forgetKept, forgetMemory, type Kept, readKept, wrongState } from "./kept.ts";
import {
  becomeHealthy,
  launch,
  type Launched,
  machineIdentity,
  makeSetup,
  release,
  requireFreePorts,
  type Setup,
  whileAlive,
} from "./launch.ts";
import { keepSecrets, newSecrets, wakeAndProve } from "./rotate.ts";
import { type Phase, Timeline } from "./timeline.ts";
import { asCaptured, engineFault, machineFault } from "./usable.ts";
import { wake } from "./wake.ts";

/** How to start. */
export interface StartOptions {
  /** Boot from the image, and neither use nor make a snapshot. */
  cold?: boolean;
  /** Fail, instead of booting, when a snapshot is there and cannot be resumed. */
  noFallback?: boolean;
  /** Make no snapshot where there is none that can be resumed. */
  noCapture?: boolean;
  /** How RAM is to be saved; what the profile says, unless told. */
  engine?: Engine;
  /** Leave the image's placeholders, which everybody knows, in the place of secrets. */
  noRotation?: boolean;
}

/** A started emulator. */
export interface StartResult {
  /** How it was started; undefined when it ran already. */
  origin?: Origin;
  /** The snapshot that it was resumed from. */
  snapshot?: string;
  /** The path of its `credentials.json`, where its secrets are; undefined when it has none of its own. */
  credentials?: string;
  /** Where its services are, by the names of the profile's ports. */
  urls: Record<string, string>;
  /** Where the time went; empty when it ran already. */
  timeline: Phase[];
}

/**
 * Starts the emulator and returns when all its health checks are green: by resuming its snapshot or, where that is
 * impossible, by a cold boot, after which the reason has been reported. The first start obtains the image and
 * captures a snapshot. QEMU lives on when this program ends. An instance that runs already is left alone.
 *
 * Needs run permission for QEMU; net permission for the profile's ports on 127.0.0.1 and the instance's sockets; read
 * and write permission for the home; sys permission for `osUptime`; env permission for `HOTBOOT_*`, `HOME`, `PATH`,
 * `TMPDIR` and `XDG_RUNTIME_DIR`.
 *
 * @throws {HotbootError} when a port is taken, there is no QEMU or image, or the guest does not become healthy.
 */
export async function start(emulator: Emulator, options: StartOptions = {}): Promise<StartResult> {
  const timeline = new Timeline();
  using _lock = await lockInstance(emulator);
  const kept = await readKept(emulator);
  if (kept?.how === "suspended") await powerOff(emulator); // its memory has been saved, and then something came in between
  const running = await findRunningOrClear(emulator);
  if (running) {
    const { profile } = running;
    if (profile === emulator.profile.name) return { ...resultOf(emulator, running), timeline: [] };
    throw new HotbootError(
      `instance '${emulator.instance}' runs profile '${profile}': stop it first ('hotboot stop'), or name another --instance`,
    );
  }
  if (kept && kept.profile !== emulator.profile.name) {
    throw new HotbootError(
      `instance '${emulator.instance}' is ${kept.how} and has profile '${kept.profile}': name another --instance, or drop it ('hotboot stop --discard')`,
    );
  }
  requireFreePorts(emulator);

  const setup = await makeSetup(emulator);
  if (kept?.memory && !options.cold) return await continueSuspended(emulator, setup, kept, timeline);
  return options.cold || kept
    ? await coldBoot(emulator, setup, timeline, options, kept)
    : await fastest(emulator, setup, timeline, options);
}

async function fastest(
  emulator: Emulator,
  setup: Setup,
  timeline: Timeline,
  options: StartOptions,
): Promise<StartResult> {
  const { report, signal } = emulator;
  const notResumed = (error: unknown) => {
    signal.throwIfAborted();
    const reason = `not resumed: ${messageOf(error)}`;
    if (options.noFallback) throw new HotbootError(reason);
    report.warn(reason);
  };
  try {
    const snapshot = await newestSnapshot(emulator.home.snapshots(imageKey(emulator)));
    if (snapshot) return await resume(emulator, setup, snapshot, timeline, options);
  } catch (error) {
    notResumed(error);
    if (options.noCapture || !(error instanceof UnusableSnapshot)) {
      return await coldBoot(emulator, setup, timeline, options);
    }
  }
  if (options.noCapture) return await coldBoot(emulator, setup, timeline, options);
  // No snapshot, or one that will never resume: the cold boot that is needed now can as well be captured.
  const { captureStopped } = await import("./capture.ts");
  const captured = await captureStopped(emulator, setup, timeline, options.engine);
  const synced = syncSnapshot(captured).then(() => undefined, (error: unknown) => error);
  try {
    return await resume(emulator, setup, captured, timeline, options);
  } catch (error) {
    notResumed(error);
    return await coldBoot(emulator, setup, timeline, options);
  } finally {
    const error = await synced;
    if (error) report.warn(`the snapshot may not survive a crash of the host: ${messageOf(error)}`);
  }
}

async function resume(
  emulator: Emulator,
  setup: Setup,
  snapshot: Snapshot,
  timeline: Timeline,
  options: StartOptions,
): Promise<StartResult> {
  const { profile, report, signal } = emulator;
  const { directory, manifest } = snapshot;
  const unfit = await engineFault(emulator, setup, manifest, options.engine);
  if (unfit) throw new UnusableSnapshot(`snapshot ${manifest.id}: ${unfit}`);
  setup = await asCaptured(emulator, setup, manifest);
  const version = manifest.identity["QEMU version"];
  const isTrial = version !== setup.qemu.version;
  const different = machineFault(emulator, setup, manifest);
  if (different) throw new UnusableSnapshot(`snapshot ${manifest.id} was captured on another machine: ${different}`);
  const wrong = await wrongSize(directory, manifest);
  if (wrong) throw new UnusableSnapshot(`snapshot ${manifest.id} is damaged: ${wrong}`);
  const disk = await freshDisk(emulator, setup.image, `${directory}/${SNAPSHOT_FILES.disk}`);

  report.step(`resume snapshot ${manifest.id}`);
  const secrets = newSecrets(profile, options.noRotation);
  const engine = await engineOf(manifest.engine);
  const memory = engine.memory(directory, "resume");
  const context = { socket: "", threads: profile.machine.cpus, onProgress: report.progress };
  const opened = openState(snapshot, engine, context, signal); // while QEMU starts
  opened.catch(() => {});
  const launched = await timeline.phase(
    "process",
    () => launch(emulator, setup, { memory, disk, origin: "resume", snapshot: manifest.id }),
  ).catch(async (error) => {
    await opened; // damage explains more than what QEMU says about it
    throw error;
  });
  await using _machine = launched;
  const { qemu, channels } = launched;
  const load = await timeline.phase("check", () => opened);
  await timeline.phase("incoming", async () => {
    try {
      await load(qemu.qmp, { ...context, socket: channels.migration }, { signal });
    } catch (error) {
      signal.throwIfAborted();
      const why = `${messageOf(error)} (QEMU: ${await qemu.reason()})`;
      if (!isTrial) throw new HotbootError(why);
      throw new UnusableSnapshot(`QEMU ${setup.qemu.version} does not take what QEMU ${version} has captured: ${why}`);
    }
  });
  await whileAlive(emulator, launched, async (emulator) => {
    const hooks = profile.hooks?.afterResume;
    const resumedAt = Date.now();
    const running = qemu.qmp.execute("cont", {}, { signal }); // the guest runs well before QEMU comes to answer
    await Promise.all([
      running,
      wakeAndProve(emulator, launched, { guest: manifest.guest, resumedAt, hooks, secrets }, timeline),
      becomeHealthy(emulator, launched, timeline, profile.timeouts.resume),
    ]);
  });
  return await finish(emulator, launched, timeline, secrets);
}

/** Gets ready to load it, once all of the snapshot's files have been found to be what was captured. */
async function openState(
  { directory, manifest }: Snapshot,
  engine: SnapshotEngine,
  context: EngineContext,
  signal: AbortSignal,
): Promise<Load> {
  const wrong = await wrongContent(directory, manifest);
  if (wrong) throw new UnusableSnapshot(`snapshot ${manifest.id} is damaged: ${wrong}`);
  return await engine.open(directory, manifest, context, signal);
}

async function coldBoot(
  emulator: Emulator,
  setup: Setup,
  timeline: Timeline,
  options: StartOptions,
  kept?: Kept,
): Promise<StartResult> {
  const { profile, report } = emulator;
  let disk: string;
  if (kept) {
    const different = diskDifference(kept, setup);
    if (different) {
      throw new HotbootError(`the disk that instance '${emulator.instance}' has kept cannot be used: ${different}`);
    }
    await forgetMemory(emulator, kept);
    disk = instancePath(emulator, "disk");
  } else {
    disk = await freshDisk(emulator, setup.image, setup.image.paths.disk);
  }
  report.step(`cold boot${kept ? " of its own disk" : ""} (${profile.machine.memory} MiB, ${setup.qemu.accelerator})`);
  const launched = await timeline.phase(
    "process",
    () =>
      launch(emulator, setup, {
        memory: { kind: "anonymous" },
        disk,
        origin: "cold boot",
        ...(kept && { snapshot: kept.snapshot }),
      }),
  );
  await using _machine = launched;
  const secrets = newSecrets(profile, options.noRotation);
  await whileAlive(emulator, launched, async (emulator) => {
    await becomeHealthy(emulator, launched, timeline, profile.timeouts.boot);
    await wakeAndProve(emulator, launched, { secrets }, timeline);
  });
  return await finish(emulator, launched, timeline, secrets);
}

/**
 * Goes on where the instance was suspended. Until its guest runs, everything is kept as it was; from then on it is the
 * user's, and is not ended for being slow or ill.
 */
async function continueSuspended(
  emulator: Emulator,
  setup: Setup,
  kept: Kept,
  timeline: Timeline,
): Promise<StartResult> {
  const { profile, report, signal } = emulator;
  const { guest, state } = kept.memory!;
  const refusal = (why: string) =>
    new HotbootError(
      `instance '${emulator.instance}' cannot go on where it was suspended, and is kept: ${why}; 'hotboot start --cold' boots its disk, without what was only in memory; 'hotboot reset' drops it`,
    );
  const wrong = difference(kept, machineIdentity(emulator, setup)) ?? await wrongState(emulator, state);
  if (wrong) throw refusal(wrong);
  report.step("go on where it was suspended");
  const run = { memory: { kind: "anonymous" }, disk: instancePath(emulator, "disk"), origin: "continue" } as const;
  const launched = await timeline.phase("process", () => launch(emulator, setup, { ...run, snapshot: kept.snapshot }));
  await using _machine = launched;
  const { qemu, channels, record } = launched;
  await timeline.phase("incoming", async () => {
    try {
      await loadState(qemu.qmp, "all", channels.migration, { path: instancePath(emulator, "state") }, { signal });
    } catch (error) {
      signal.throwIfAborted();
      throw refusal(`${messageOf(error)} (QEMU: ${await qemu.reason()})`);
    }
  });
  await forgetMemory(emulator, kept); // before the guest writes to the disk
  const resumedAt = Date.now();
  await qemu.qmp.execute("cont", {}, { signal });
  record.secrets = kept.secrets;
  await release(emulator, launched);
  await forgetKept(emulator);
  try {
    await Promise.all([
      wake(emulator, channels.agent, { guest, resumedAt }, timeline).catch((error) => {
        signal.throwIfAborted();
        report.warn(`the guest's clock still stands at the time of its suspension: ${messageOf(error)}`);
      }),
      becomeHealthy(emulator, launched, timeline, profile.timeouts.resume),
    ]);
  } catch (error) {
    signal.throwIfAborted();
    throw new HotbootError(`it goes on where it was suspended, but ${messageOf(error)}`);
  }
  await writeJson(instancePath(emulator, "timeline"), timeline.phases);
  return describeStart(emulator, record, timeline);
}

/** Why a kept disk cannot be used: it stands on an image that is no longer there. */
function diskDifference(kept: Kept, { image }: Setup): string | undefined {
  const name = "image's disk";
  const only = (identity: Identity) => ({ identity: { [name]: identity[name] } });
  return difference(only(kept.identity), { [name]: image.record.files.disk.sha256 });
}

/** An empty overlay for this run, on top of `backing`. */
async function freshDisk(emulator: Emulator, image: Image, backing: string): Promise<string> {
  const path = instancePath(emulator, "disk");
  const directory = emulator.home.instance(emulator.instance);
  await privateDirectory(directory);
  const { virtualSize } = await readQcow2Header(image.paths.disk);
  await createOverlay(path, await backingPath(emulator.home, directory, backing), virtualSize);
  return path;
}

async function finish(
  emulator: Emulator,
  launched: Launched,
  timeline: Timeline,
  secrets: Secrets | undefined,
): Promise<StartResult> {
  await writeJson(instancePath(emulator, "timeline"), timeline.phases);
  await keepSecrets(emulator, launched.record, secrets);
  await release(emulator, launched);
  await forgetKept(emulator);
  return describeStart(emulator, launched.record, timeline);
}

function describeStart(emulator: Emulator, record: InstanceRecord, timeline: Timeline): StartResult {
  const { origin, snapshot } = record;
  return { origin, snapshot, ...resultOf(emulator, record), timeline: timeline.phases };
}

function resultOf(emulator: Emulator, { ports, secrets }: InstanceRecord): Pick<StartResult, "urls" | "credentials"> {
  return { urls: urlsOf(ports), ...(secrets === "rotated" && { credentials: instancePath(emulator, "credentials") }) };
}
