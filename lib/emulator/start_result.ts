/** A start's options, its last step, and its result. */

import type { Phase, Timeline } from "../base/timeline.ts";
import { keepSecrets } from "../guest/rotate.ts";
import { instancePath } from "../instance/channels.ts";
import type { Emulator } from "../instance/emulator.ts";
import type { InstanceRecord, Origin } from "../instance/record.ts";
import { urlsOf } from "../instance/urls.ts";
import type { Secrets } from "../profile/secrets.ts";
import type { Engine } from "../snapshot/manifest.ts";
import { handOver, type Launched } from "./launch.ts";

/** How to start. */
export interface StartOptions {
  /** Boot from the image, or from the instance's own disk, and neither use nor make a snapshot. */
  cold?: boolean;
  /**
   * Fail if a snapshot cannot be resumed or captured, where start would boot by default; and if the guest makes no progress
   * with hardware acceleration, where it would boot with emulation.
   */
  noFallback?: boolean;
  /** Make no snapshot if there is none that can be resumed. */
  noCapture?: boolean;
  /** How to save RAM; the profile's engine by default. */
  engine?: Engine;
  /** Start from this checkpoint, given by its name or the beginning of its id. The instance must be stopped. */
  from?: string;
  /** With `from`: keep the checkpoint's secrets instead of making new ones. */
  keepSecrets?: boolean;
  /**
   * Ports of the host's 127.0.0.1 for the instance, by the names of the profile's ports; it has them from now on, until it
   * is reset. Those that are not named stay what they are.
   */
  ports?: Record<string, number>;
  /** Make no new secrets: a fresh instance has the image's placeholders, which are public. */
  noRotation?: boolean;
}

/** A started emulator. */
export interface StartResult {
  /** The instance's name. */
  instance: string;
  /** How it was started; undefined if it ran already. */
  origin?: Origin;
  /** The snapshot below its disk. */
  snapshot?: string;
  /** The path of its `credentials.json`, with its secrets; undefined if it has none of its own. */
  credentials?: string;
  /** Where its services are, by the names of the profile's ports. */
  urls: Record<string, string>;
  /** The host's ports, likewise. */
  ports: Record<string, number>;
  /** Where the time went; empty if it ran already. */
  timeline: Phase[];
}

/** Leaves a running guest on its own, and keeps its secrets. */
export async function finish(
  emulator: Emulator,
  launched: Launched,
  timeline: Timeline,
  secrets: Secrets | undefined,
): Promise<StartResult> {
  await keepSecrets(emulator, launched.record, secrets);
  await handOver(emulator, launched);
  return describeStart(emulator, launched.record, timeline);
}

/** The result of a start. */
export function describeStart(emulator: Emulator, record: InstanceRecord, timeline: Timeline): StartResult {
  const { origin, snapshot } = record;
  return { origin, snapshot, ...resultOf(emulator, record), timeline: timeline.phases };
}

/** The same without how it was started. */
export function resultOf(
  emulator: Emulator,
  record: InstanceRecord,
): Omit<StartResult, "origin" | "snapshot" | "timeline"> {
  const isRotated = record.secrets === "rotated";
  return {
    instance: emulator.instance,
    urls: urlsOf(emulator, record),
    ports: record.ports,
    ...(isRotated && { credentials: instancePath(emulator, "credentials") }),
  };
}
