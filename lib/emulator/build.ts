/** Building an image with the profile's recipe. */

import { encodeHex } from "@std/encoding/hex";
import { TextLineStream } from "@std/streams/text-line-stream";
import { HotbootError } from "../error.ts";
import { onPath } from "../on_path.ts";
import type { Emulator } from "./emulator.ts";
import { requireUnused } from "./in_use.ts";
import { lockImage } from "./image_store.ts";
import { type Image, type ImagePart, readImage, sha256File } from "./image.ts";
import { recipePath, scriptPath } from "./recipe.ts";
import { type NewFiles, putInPlace, removeLeftovers, temporaryPath } from "./image_store.ts";

/** How to build. */
export interface BuildOptions {
  /** Build although the image of the same recipe is there. */
  force?: boolean;
}

/** What building gave. */
export interface BuildResult {
  /** The image. */
  image: Image;
  /** False when it was there already, built by the same recipe. */
  built: boolean;
}

/** What a recipe leaves in its output directory; only the disk must be there. */
const OUTPUTS: Record<ImagePart, string> = { disk: "disk.qcow2", kernel: "kernel", initrd: "initrd" };

/**
 * Builds the emulator's image, unless its recipe has not changed since it was built.
 *
 * The recipe runs as a `bash` script with the user's permissions. The earlier image stays until the new one is whole.
 *
 * Needs run permission for `bash`, and env permission for `PATH` and read permission for its directories, to find it; read
 * permission for the recipe's files; read and write permission for the home; net permission for the sockets of instances.
 * `bash` itself is bound by none of these.
 *
 * @param emulator Which, from {@linkcode openEmulator}.
 * @param options Whether to build in any case.
 * @returns The image, and whether it was built now.
 * @throws {HotbootError} when the profile has no recipe, an instance stands on the present image, or the recipe fails,
 * with its last words.
 * @throws The reason of the emulator's signal, when that aborts. What the recipe has started is ended.
 *
 * @example
 * ```ts
 * import { build, openEmulator } from "@hotboot/hotboot";
 *
 * const { image, built } = await build(await openEmulator({ profile: "demo" }));
 * console.log(built ? "built" : "there already", image.paths.disk);
 * ```
 */
export async function build(emulator: Emulator, options: BuildOptions = {}): Promise<BuildResult> {
  const { profile } = emulator;
  const { build: steps } = profile.image;
  if (!steps) throw new HotbootError(`profile '${profile.name}' has no recipe to build: 'hotboot pull' gets its image`);
  using _lock = await lockImage(emulator);
  await removeLeftovers(emulator);

  const recipe = await recipeDigest(emulator, steps.inputs);
  // A damaged one is replaced when that is asked for.
  const image = await readImage(emulator).catch((error) => {
    if (options.force) return undefined;
    throw error;
  });
  if (!options.force) {
    const origin = image?.record.origin;
    if (image && origin?.kind === "build" && origin.recipe === recipe) return { image, built: false };
  }
  await requireUnused(emulator, image);
  const output = temporaryPath(emulator);
  await Deno.mkdir(output, { mode: 0o700 });
  try {
    await runRecipe(emulator, await scriptPath(emulator, output), output);
    const made = await describeOutput(emulator, output);
    return { image: await putInPlace(emulator, made, { kind: "build", recipe }), built: true };
  } finally {
    await Deno.remove(output, { recursive: true }).catch(() => {});
  }
}

/**
 * Runs a script, and ends all that it has started when it is ended itself. Deno lets only those end a process group who
 * may run everything. The image is not to depend on which permissions new files have here.
 */
const IN_A_GROUP = `umask 022; trap 'trap "" TERM; kill -TERM -- -$$' TERM; bash "$0" "$@" & wait $!`;

/** Runs the script in a process group of its own, so that ending it ends whatever it has started. */
async function runRecipe(emulator: Emulator, script: string, output: string): Promise<void> {
  const { profile, report, signal } = emulator;
  const bash = await onPath("bash");
  if (!bash) throw new HotbootError("bash, which runs the recipe, is not on PATH: install it");
  const child = new Deno.Command(bash, {
    args: ["-c", IN_A_GROUP, script, output, emulator.arch],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    detached: true,
  }).spawn();
  const onAbort = () => child.kill("SIGTERM");
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    signal.throwIfAborted();
    let lastWords = "";
    const hear = (line: string) => { // on either stream: tools that call back into the recipe may join them
      const step = line.match(/^step (.+)/)?.[1];
      if (step) return report.step(step);
      if (line.trim() !== "") lastWords = line.trim();
      report.detail(line);
    };
    await Promise.all([forEachLine(child.stdout, hear), forEachLine(child.stderr, hear)]);
    const { code } = await child.status;
    signal.throwIfAborted();
    if (code !== 0) {
      throw new HotbootError(`building the image of '${profile.name}' failed (exit code ${code}): ${lastWords}`);
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
    await child.status;
  }
}

/** The files that the recipe has left, checked and on the disk itself. */
async function describeOutput(emulator: Emulator, output: string): Promise<NewFiles> {
  const parts = Object.keys(OUTPUTS) as ImagePart[];
  const made: [ImagePart, NewFiles["disk"]][] = [];
  emulator.report.step("hash the image");
  for (const part of parts) {
    const path = `${output}/${OUTPUTS[part]}`;
    const isThere = await Deno.stat(path).then(() => true, () => false);
    if (!isThere) continue;
    await Deno.chmod(path, 0o600);
    made.push([part, { path, sha256: await sha256File(path, emulator.signal) }]);
  }
  const files = Object.fromEntries(made) as Partial<NewFiles>;
  if (!files.disk) throw new HotbootError(`the recipe of '${emulator.profile.name}' left no ${OUTPUTS.disk}`);
  return { ...files, disk: files.disk };
}

/** A digest of everything that decides what the recipe makes. */
async function recipeDigest(emulator: Emulator, inputs: string[]): Promise<string> {
  const lines: string[] = [emulator.arch];
  const visit = async (path: string, name: string) => {
    const stat = await Deno.lstat(path).catch(() => {
      throw new HotbootError(`the recipe of '${emulator.profile.name}' names ${name}, which is not there`);
    });
    if (stat.isDirectory) {
      const names = (await Array.fromAsync(Deno.readDir(path))).map((entry) => entry.name).sort();
      for (const entry of names) await visit(`${path}/${entry}`, `${name}/${entry}`);
    } else if (stat.isFile) {
      lines.push(`${name} ${(stat.mode ?? 0) & 0o111 ? "x" : "-"} ${await sha256File(path, emulator.signal)}`);
    } else {
      lines.push(`${name} -> ${await Deno.readLink(path)}`);
    }
  };
  for (const input of inputs) await visit(recipePath(emulator, input), input);
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(lines.join("\n")));
  return encodeHex(new Uint8Array(digest));
}

async function forEachLine(stream: ReadableStream<Uint8Array>, use: (line: string) => void): Promise<void> {
  const text = stream.pipeThrough(new TextDecoderStream());
  const lines: ReadableStream<string> = text.pipeThrough(new TextLineStream());
  for await (const line of lines) use(line);
}
