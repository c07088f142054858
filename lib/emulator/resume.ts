/** Resumes a snapshot. */

import { HotbootError, messageOf } from "../base/error.ts";
import type { Timeline } from "../base/timeline.ts";
import { endConnections } from "../guest/peers.ts";
import { newSecrets, wakeAndProve } from "../guest/rotate.ts";
import { giveShare } from "../guest/share.ts";
import type { Emulator } from "../instance/emulator.ts";
import { checkpointSecrets, requireLayer } from "../instance/checkpoints.ts";
import { writeSecrets } from "../instance/files.ts";
import { layerDisk } from "../instance/layers.ts";
import type { Setup } from "../instance/machine.ts";
import { whileAlive } from "../instance/watch.ts";
import type { EngineContext, Load, SnapshotEngine } from "../snapshot/engine.ts";
import { engineOf } from "../snapshot/engines.ts";
import {
  damagedSnapshot,
  nameOfSaved,
  SNAPSHOT_FILES,
  UnusableSnapshot,
  wrongContent,
  wrongSize,
} from "../snapshot/manifest.ts";
import type { Snapshot } from "../snapshot/store.ts";
import { asCaptured } from "./compatibility.ts";
import { freshDisk, launch } from "./launch.ts";
import { finish, type StartOptions, type StartResult } from "./start_result.ts";

/**
 * Resumes a snapshot, a checkpoint or a spare that fits. Returns when all health checks pass and its new secrets are proven.
 *
 * @param origin `spare`: nobody else will use it, so its files can be removed when this returns.
 * @throws {UnusableSnapshot} if it will never resume here; {HotbootError} if it failed this time.
 */
export async function resume(
  emulator: Emulator,
  setup: Setup,
  snapshot: Snapshot,
  timeline: Timeline,
  options: StartOptions,
  origin: "resume" | "spare" = "resume",
): Promise<StartResult> {
  const { profile, report, signal } = emulator;
  const { directory, manifest } = snapshot;
  if (options.keepSecrets && !manifest.checkpoint) {
    throw new HotbootError("only a checkpoint has secrets to keep: name one to start from");
  }
  setup = await asCaptured(emulator, setup, manifest, { emulated: manifest.checkpoint !== undefined });
  const wrong = await wrongSize(directory, manifest);
  if (wrong) throw damagedSnapshot(manifest, wrong);
  await requireLayer(emulator, snapshot);
  // What stays of a spare is the layer: the instance is on top of the snapshot as any other.
  const [below, base] = origin === "spare"
    ? [layerDisk(emulator.home, manifest.checkpoint!.layer.name), manifest.checkpoint!.base]
    : [`${directory}/${SNAPSHOT_FILES.disk}`, manifest.id];
  const disk = await freshDisk(emulator, setup.image, below);

  report.step(origin === "spare" ? `use a spare of snapshot ${base}` : `resume snapshot ${base}`);
  // What a checkpoint's guest has of its own is in effect until it gets others.
  const kept = options.keepSecrets || options.noRotation ? await checkpointSecrets(snapshot) : undefined;
  const secrets = newSecrets(profile, options.keepSecrets || options.noRotation);
  const engine = await engineOf(manifest.engine);
  const memory = engine.memory(directory, "resume");
  const context = { threads: profile.machine.cpus, onProgress: report.progress };
  const opened = openState(snapshot, engine, context, signal); // while QEMU starts
  opened.catch(() => {});
  const launched = await timeline.phase(
    "process",
    () => launch(emulator, setup, { memory, disk, origin, snapshot: base }),
  ).catch(async (error) => {
    await opened; // damage explains more than QEMU's message
    throw error;
  });
  await using _machine = launched;
  const { qemu, record, channels } = launched;
  if (kept) {
    await writeSecrets(emulator, kept, true);
    record.secrets = "rotated";
  }
  const load = await timeline.phase("check", () => opened);
  await timeline.phase("incoming", async () => {
    try {
      await load(qemu.qmp, { ...context, socket: channels.migration }, { signal });
      await qemu.requireOneMoment();
    } catch (error) {
      signal.throwIfAborted();
      const why = `${messageOf(error)} (QEMU: ${await qemu.reason()})`;
      const [version, saved] = [manifest.identity["QEMU version"], nameOfSaved(manifest)];
      const another = `'hotboot ${manifest.checkpoint ? "snapshot save NAME" : "capture"}' makes another`;
      if (version === setup.qemu.version) throw new HotbootError(`QEMU does not accept ${saved}: ${why}; ${another}`);
      throw new UnusableSnapshot(
        `QEMU ${setup.qemu.version} does not accept ${saved}, which QEMU ${version} made: ${why}`,
        `use QEMU ${version}, or ${another}`,
      );
    }
  });
  await whileAlive(emulator, qemu, async (emulator) => {
    const { guest } = manifest;
    const { qmp } = qemu;
    const sleeper = { guest, resumedAt: Date.now(), hooks: profile.hooks?.afterResume, secrets };
    const running = qmp.execute("cont", {}, { signal }); // the guest runs well before QEMU answers
    await Promise.all([running, wakeAndProve(emulator, record, sleeper, timeline, profile.timeouts.resume)]);
    await endConnections(emulator, qmp, guest.peers); // now: what the services do about it would delay the rest
    await giveShare(emulator, qmp, timeline);
  });
  return await finish(emulator, launched, timeline, secrets);
}

/** Checks all of the snapshot's files against the capture, and prepares to load them. */
async function openState(
  { directory, manifest }: Snapshot,
  engine: SnapshotEngine,
  context: Omit<EngineContext, "socket">,
  signal: AbortSignal,
): Promise<Load> {
  const wrong = await wrongContent(directory, manifest);
  if (wrong) throw damagedSnapshot(manifest, wrong);
  return await engine.open(directory, manifest, context, signal);
}
