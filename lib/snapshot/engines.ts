/** The engines by name. */

import type { SnapshotEngine } from "./engine.ts";
import type { SavedBy } from "./manifest.ts";

/** The engine of that name. Loads only its module, because a resume has no time for the others. */
export async function engineOf(name: SavedBy): Promise<SnapshotEngine> {
  if (name === "flat") return (await import("./flat.ts")).flat;
  return name === "instant" ? (await import("./instant.ts")).instant : (await import("./mapped_ram.ts")).mappedRam;
}
