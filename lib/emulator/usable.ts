/** Whether a snapshot can be resumed here, found out without making anything that it would need. */

import { messageOf } from "../error.ts";
import { difference, type Identity, type Manifest, wrongContent, wrongSize } from "../snapshot/manifest.ts";
import { makeConfigDisk } from "./config_disk.ts";
import { type Emulator, qemuFacts } from "./emulator.ts";
import { readImage } from "./image.ts";
import { identityOf, IMAGE_DISK } from "./launch.ts";

/** What a snapshot is good for here. */
export interface Verdict {
  /** `unknown` when something else is missing, such as its image or QEMU; it may be usable with that. */
  state: "usable" | "unusable" | "unknown";
  /** Why, unless it is usable. */
  why?: string;
}

/** Looks at this machine once, and says of each manifest whether the machine is the one that it wants. */
export async function judgeOf(emulator: Emulator): Promise<(manifest: Manifest) => Verdict> {
  let identity: Identity;
  try {
    const config = await makeConfigDisk(emulator);
    const qemu = await qemuFacts(emulator);
    const image = await readImage(emulator, { look: "only" });
    if (!image) return (manifest) => ({ state: "unknown", why: lacksImage(emulator, manifest) });
    identity = identityOf(emulator, { qemu, image, ...(config && { config }) });
  } catch (error) {
    emulator.signal.throwIfAborted();
    return () => ({ state: "unknown", why: messageOf(error) });
  }
  return (manifest) => {
    const why = difference(manifest, identity);
    return why === undefined ? { state: "usable" } : { state: "unusable", why };
  };
}

function lacksImage({ profile, arch }: Emulator, { identity }: Manifest): string {
  const how = profile.image.release ? "pull" : "build";
  const digest = identity[IMAGE_DISK] ?? "unknown";
  return `the image that it stands on is not here ('${profile.name}' for ${arch}, SHA-256 ${digest}): 'hotboot ${how}' gets it`;
}

/** What is wrong with the snapshot's files, as far as their sizes and some of their pages tell. */
export async function fileFault(directory: string, manifest: Manifest): Promise<string | undefined> {
  return await wrongSize(directory, manifest) ?? await wrongContent(directory, manifest);
}
