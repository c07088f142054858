/** The programs that the subjects run, and the directories for their files. */

import { statfs } from "node:fs/promises";
import { fromFileUrl } from "@std/path/from-file-url";
import { importArguments } from "../../dev/deno.ts";

export const MIB = 2 ** 20;

/** A program's output. @throws an error with its standard error, if it fails. */
export async function output(program: string, ...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(program, { args }).output();
  if (!success) throw new Error(`${program} ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout).trim();
}

/** Runs `peak.ts` in a separate process, and returns that process's peak memory in MiB. */
export async function peakOf(what: string, ...args: string[]): Promise<number> {
  const script = fromFileUrl(new URL("peak.ts", import.meta.url));
  return Number(await output(Deno.execPath(), "run", "-A", "-q", ...await importArguments(), script, what, ...args));
}

/**
 * A new directory in memory if there is room for this many bytes, so that no disk that is still busy with the last file
 * decides; else in the usual place. It is below /dev, where Deno lets only programs with all permissions open files, so
 * hotboot's commands cannot use it.
 */
export async function memoryDirectory(bytes: number): Promise<string> {
  const free = await statfs("/dev/shm").then(({ bavail, bsize }) => bavail * bsize, () => 0);
  const room = Math.min(free, Deno.systemMemoryInfo().available);
  const dir = room > bytes + 1024 * MIB ? "/dev/shm" : undefined;
  return await Deno.makeTempDir({ dir, prefix: "hotboot-bench-" });
}

/** Writes a file that does not compress. */
export async function writeNoise(path: string, size: number): Promise<void> {
  using file = await Deno.open(path, { write: true, create: true });
  for (let left = Math.floor(size); left > 0;) left -= await file.write(NOISE.subarray(0, left));
}

const NOISE = new Uint8Array(MIB);
for (let at = 0; at < NOISE.length; at += 65536) crypto.getRandomValues(NOISE.subarray(at, at + 65536));
