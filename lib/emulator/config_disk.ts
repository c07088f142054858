/** The disk by which the host tells the guest what only the host knows. */

import { encodeHex } from "@std/encoding/hex";
import { HotbootError, messageOf } from "../error.ts";
import { fill } from "../fill.ts";
import { buildIso } from "../iso/build.ts";
import type { ConfigDisk } from "../profile/profile.ts";
import { portValue } from "../profile/references.ts";
import type { Emulator } from "./emulator.ts";

/** A fixed date: a resumed guest must find the very bytes that it has in its cache. */
const DATE = new Date("2000-01-01T00:00:00Z");

/** The config disk's image and its digest, where the profile has one. */
export async function makeConfigDisk(emulator: Emulator): Promise<{ image: Uint8Array; sha256: string } | undefined> {
  const { config } = emulator.profile;
  if (!config) return undefined;
  const image = buildIso(config.label, filesOf(config, (name) => valueOf(emulator, name)), DATE);
  const digest = await crypto.subtle.digest("SHA-256", image.slice());
  return { image, sha256: encodeHex(new Uint8Array(digest)) };
}

function filesOf({ files }: ConfigDisk, value: (name: string) => string | undefined) {
  return Object.entries(files).map(([name, lines]) => {
    try {
      const filled = lines.map((line) => fill(line, value));
      return { name, data: new TextEncoder().encode(filled.map((line) => `${line}\n`).join("")) };
    } catch (error) {
      throw new HotbootError(`the profile's config.files["${name}"]: ${messageOf(error)}`);
    }
  });
}

function valueOf({ profile, home, instance }: Emulator, variable: string): string | undefined {
  if (variable === "instance.name") return instance;
  if (variable === "instance.directory") return home.instance(instance);
  return portValue(profile.ports, variable);
}
