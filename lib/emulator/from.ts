/** Starting an instance from a checkpoint. */

import { HotbootError } from "../base/error.ts";
import type { Timeline } from "../base/timeline.ts";
import { findCheckpoint } from "../instance/checkpoints.ts";
import type { Emulator } from "../instance/emulator.ts";
import type { Setup } from "../instance/machine.ts";
import { manifestFault } from "./compatibility.ts";
import { resume } from "./resume.ts";
import type { StartOptions, StartResult } from "./start_result.ts";

/**
 * Starts a stopped instance from a checkpoint, with secrets of its own unless told otherwise.
 *
 * @param name The checkpoint's name, or the beginning of its id.
 * @throws {HotbootError} when there is none, or it does not fit: nothing else is started instead.
 */
export async function startFrom(
  emulator: Emulator,
  setup: Setup,
  timeline: Timeline,
  name: string,
  options: StartOptions,
): Promise<StartResult> {
  const checkpoint = await findCheckpoint(emulator, name);
  const fault = await manifestFault(emulator, setup, checkpoint.manifest);
  if (fault) throw new HotbootError(`checkpoint '${name}' does not fit here: ${fault}; change that back`);
  return await resume(emulator, setup, checkpoint, timeline, options);
}
