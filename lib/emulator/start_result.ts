/** A start's options, its end, and what it gives. */

import type { Phase, Timeline } from "../base/timeline.ts";
import { writeJson } from "../base/files.ts";
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
  /** Boot from the image, or from the disk that the instance has kept, and neither use nor make a snapshot. */
  cold?: boolean;
  /**
   * Fail, instead of booting, when a snapshot is there and cannot be resumed, or none can be captured; and instead of booting
   * by emulation, when the guest gets nowhere with hardware acceleration.
   */
  noFallback?: boolean;
  /** Make no snapshot where there is none that can be resumed. */
  noCapture?: boolean;
  /** How RAM is to be saved; what the profile says, unless told. */
  engine?: Engine;
  /**
   * Ports of the host's 127.0.0.1 for the instance, by the names of the profile's ports; it has them from now on, until it
   * is reset. Those that are not named stay what they are.
   */
  ports?: Record<string, number>;
  /** Make no new secrets: a fresh instance has the image's placeholders, which everybody knows. */
  noRotation?: boolean;
}

/** A started emulator. */
export interface StartResult {
  /** How it was started; undefined when it ran already. */
  origin?: Origin;
  /** The snapshot that its disk is on top of. */
  snapshot?: string;
  /** The path of its `credentials.json`, where its secrets are; undefined when it has none of its own. */
  credentials?: string;
  /** Where its services are, by the names of the profile's ports. */
  urls: Record<string, string>;
  /** Where the time went; empty when it ran already. */
  timeline: Phase[];
}

/** Lets a guest that is up run on, on its own, with its secrets kept and nothing else. */
export async function finish(
  emulator: Emulator,
  launched: Launched,
  timeline: Timeline,
  secrets: Secrets | undefined,
): Promise<StartResult> {
  await writeJson(instancePath(emulator, "timeline"), timeline.phases);
  await keepSecrets(emulator, launched.record, secrets);
  await handOver(emulator, launched);
  return describeStart(emulator, launched.record, timeline);
}

/** What has been started. */
export function describeStart(emulator: Emulator, record: InstanceRecord, timeline: Timeline): StartResult {
  const { origin, snapshot } = record;
  return { origin, snapshot, ...resultOf(emulator, record), timeline: timeline.phases };
}

/** The same without how. */
export function resultOf(
  emulator: Emulator,
  record: InstanceRecord,
): Pick<StartResult, "urls" | "credentials"> {
  const isRotated = record.secrets === "rotated";
  return { urls: urlsOf(emulator, record), ...(isRotated && { credentials: instancePath(emulator, "credentials") }) };
}
