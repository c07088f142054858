/**
 * The `instant` engine: the guest's RAM is a file from the start. The capture shares it and each run maps it privately, so
 * only the state of the devices is ever moved. The default.
 *
 * Source: QEMU's documentation, "VM templating" (docs/system/vm-templating.rst).
 */

import type { SnapshotEngine } from "./engine.ts";
import { SNAPSHOT_FILES } from "./manifest.ts";
import { loadState, saveState } from "./migration.ts";

/** See {@linkcode SnapshotEngine}. */
export const instant: SnapshotEngine = {
  hasRamFile: true,
  impossible: () => undefined,
  memory: (directory, when) => ({
    kind: when === "capture" ? "shared" : "private",
    path: `${directory}/${SNAPSHOT_FILES.ram}`,
  }),
  async save(qmp, directory, { socket }, options) {
    await saveState(qmp, "devices", socket, `${directory}/${SNAPSHOT_FILES.state}`, options);
  },
  finish: () => Promise.resolve(undefined),
  async open(directory) {
    const state = await Deno.readFile(`${directory}/${SNAPSHOT_FILES.state}`);
    return (qmp, { socket }, options) => loadState(qmp, "devices", socket, state, options);
  },
};
