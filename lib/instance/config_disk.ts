/** Makes the disk that tells the guest what only the host knows. */

import { HotbootError, messageOf } from "../base/error.ts";
import { sha256 } from "../base/hash.ts";
import { fill } from "../base/fill.ts";
import { buildIso, type IsoFile } from "../iso/build.ts";
import type { ConfigDisk } from "../profile/profile.ts";
import { portValue } from "../profile/references.ts";
import type { Emulator } from "./emulator.ts";

/** A fixed date: a resumed guest must find exactly the bytes that it has in its cache. */
const DATE = new Date("2000-01-01T00:00:00Z");

/** The config disk's image and its digest, if the profile has one. */
export async function makeConfigDisk(emulator: Emulator): Promise<{ image: Uint8Array; sha256: string } | undefined> {
  const { config } = emulator.profile;
  if (!config) return undefined;
  const image = buildIso(config.label, await configFiles(emulator, config), DATE);
  return { image, sha256: await sha256(image) };
}

/** Its files. */
export function configFiles(emulator: Emulator, { files }: ConfigDisk): Promise<IsoFile[]> {
  return Promise.all(
    Object.entries(files).map(async ([name, content]) => {
      try {
        const { file = "", lines = [] } = Array.isArray(content) ? { lines: content } : content;
        return { name, data: file === "" ? filled(emulator, lines) : await copied(file) };
      } catch (error) {
        throw new HotbootError(`the profile's config.files["${name}"]: ${messageOf(error)}`);
      }
    }),
  );
}

function filled(emulator: Emulator, lines: string[]): Uint8Array {
  const texts = lines.map((line) => fill(line, (variable) => valueOf(emulator, variable)));
  return new TextEncoder().encode(texts.map((line) => `${line}\n`).join(""));
}

async function copied(path: string): Promise<Uint8Array> {
  return await Deno.readFile(path).catch((error) => {
    throw error instanceof Deno.errors.NotFound
      ? new HotbootError(`${path} does not exist: name a file that does`)
      : error;
  });
}

function valueOf({ profile, home, instance }: Emulator, variable: string): string | undefined {
  if (variable === "instance.name") return instance;
  if (variable === "instance.directory") return home.instance(instance);
  return portValue(profile.ports, variable);
}
