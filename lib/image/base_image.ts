/** Gets the disk that cloud-init makes an image from, and identifies it. */

import { HotbootError } from "../base/error.ts";
import type { BaseImage } from "../profile/profile.ts";
import { download } from "../release/download.ts";
import { findNetwork } from "../release/network.ts";
import { type Emulator, imageKey } from "../instance/emulator.ts";
import { privateDirectory } from "../instance/home.ts";
import { sha256File, sha512File } from "../base/hash.ts";
import { removeIfThere } from "../base/files.ts";
import { recipePath, scriptDigest } from "./recipe.ts";
import { runScript } from "./script.ts";

/** A base image by its content, and how to get it. */
export interface Base {
  /** Identifies it: its SHA-256 or SHA-512, or the digest of the script that makes it. */
  digest: string;
  /** The path of the disk; gets it if it is missing. Call it under the image's lock. */
  obtain(): Promise<string>;
}

/** The profile's base image. @throws {HotbootError} if there is none for the architecture. */
export async function findBase(emulator: Emulator, base: BaseImage): Promise<Base> {
  const { arch, profile, signal } = emulator;
  if ("file" in base) {
    const path = recipePath(emulator, base.file.replaceAll("{arch}", arch));
    const digest = await sha256File(path, signal).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      throw new HotbootError(`the base image of '${profile.name}' is not at ${path}: put it there`);
    });
    return { digest, obtain: () => Promise.resolve(path) };
  }
  if ("url" in base) {
    const digests = "sha256" in base ? base.sha256 : base.sha512;
    const digest = digests[arch];
    if (digest === undefined) {
      const others = Object.keys(digests).join(" or --arch ");
      throw new HotbootError(
        `profile '${profile.name}' has no base image for ${arch}: type --arch ${others}, or add one to the profile`,
      );
    }
    return { digest, obtain: () => fromCache(emulator, digest, (path) => fetchBase(emulator, base.url, digest, path)) };
  }
  const digest = await scriptDigest(emulator, base);
  const make = async (path: string) => {
    const output = `${path}.out`;
    await Deno.mkdir(output, { mode: 0o700 });
    await runScript(emulator, base, output);
    await Deno.rename(`${output}/disk.qcow2`, path).catch(() => {
      throw new HotbootError(`${base.script} left no disk.qcow2: make it write one`);
    });
    await Deno.remove(output, { recursive: true });
  };
  return { digest, obtain: () => fromCache(emulator, digest, make) };
}

/** The path of the base with this digest; `make` creates it if it is missing. Removes this image's other bases. */
async function fromCache(emulator: Emulator, digest: string, make: (path: string) => Promise<void>): Promise<string> {
  const { cache } = emulator.home;
  await privateDirectory(cache);
  const prefix = `base-${imageKey(emulator)}-`;
  const name = `${prefix}${digest}`;
  const path = `${cache}/${name}.qcow2`;
  const there = await Array.fromAsync(Deno.readDir(cache));
  for (const entry of there) {
    // Of this one, keep what a broken download can continue with: see download().
    const isUseful = [".qcow2", ".part", ".part.json"].some((end) => entry.name === name + end);
    const isOurs = entry.name.startsWith(prefix) && /^[0-9a-f]{64,128}\./.test(entry.name.slice(prefix.length));
    if (isOurs && !isUseful) await Deno.remove(`${cache}/${entry.name}`, { recursive: true });
  }
  if (there.some((entry) => entry.name === `${name}.qcow2`)) return path;
  const part = `${cache}/${name}.part`;
  await make(part);
  await Deno.chmod(part, 0o600);
  await Deno.rename(part, path);
  return path;
}

/** Downloads it. Its digest, in hex, is a SHA-256 or, if it is longer, a SHA-512. */
async function fetchBase(emulator: Emulator, pattern: string, digest: string, path: string): Promise<void> {
  const { arch, report, signal } = emulator;
  const url = pattern.replaceAll("{arch}", arch);
  const name = url.split("/").at(-1)!.replace(/\?.*/, "");
  report.step(`download the base image ${url}`);
  const network = emulator.network ?? await findNetwork();
  const isSha256 = digest.length === 64;
  await download(path, { name, ...(isSha256 && { sha256: digest }), request: { url, network } }, {
    signal,
    onProgress: (done, total) => report.progress(name, done, total),
    onTrouble: report.warn,
  });
  if (isSha256) return;
  const found = await sha512File(path, signal);
  if (found === digest) return;
  for (const file of [path, `${path}.json`]) await removeIfThere(file);
  throw new HotbootError(
    `${name}: its SHA-512 is ${found} instead of ${digest}: try again, or correct sha512 in the profile`,
  );
}
