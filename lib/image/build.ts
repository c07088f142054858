/** Builds an image with the profile's recipe. */

import { sha256File } from "../base/hash.ts";
import { exists } from "@std/fs/exists";
import { HotbootError } from "../base/error.ts";
import type { Build } from "../profile/profile.ts";
import type { Emulator } from "../instance/emulator.ts";
import { requireUnused } from "../instance/users.ts";
import type { ImagePart } from "../instance/machine.ts";
import { type Image, readImage } from "./image.ts";
import { type NewFiles, openStore, putInPlace, requireKnown, temporaryPath } from "./store.ts";
import { scriptDigest } from "./recipe.ts";
import { runScript } from "./script.ts";

/** How to build. */
export interface BuildOptions {
  /** Build even if the image of the same recipe exists. */
  force?: boolean;
}

/** The result of a build. */
export interface BuildResult {
  /** The image. */
  image: Image;
  /** False if the same recipe had built it already. */
  built: boolean;
}

/** The files in a recipe's output directory; only the disk is required. */
const OUTPUTS: Record<ImagePart, string> = { disk: "disk.qcow2", kernel: "kernel", initrd: "initrd" };

/**
 * Builds the emulator's image, unless its recipe has not changed since it was built.
 *
 * A script recipe runs in `bash`, with the user's permissions. A cloud-init recipe runs in the machine, which boots once;
 * its output stays in the home, in `instances/build-NAME-ARCH`. The earlier image stays until the new one is complete.
 *
 * Needs run permission for `bash`, and env permission for `PATH` and read permission for its directories, to find it; read
 * permission for the recipe's files; read and write permission for the home; net permission for the sockets of instances.
 * `bash` itself is not limited by these. For cloud-init it needs what {@linkcode start} needs and, to download the base
 * image, net permission for its host and the hosts that it redirects to; `bash` only if a script makes the base image.
 *
 * @param emulator The emulator, from {@linkcode openEmulator}.
 * @param options Whether to build in any case.
 * @returns The image, and whether it was built now.
 * @throws {HotbootError} if the profile has no recipe, an instance uses the current image, or the recipe fails, with its
 * last output.
 * @throws The reason of the emulator's signal, if it aborts. Everything that the recipe started is ended.
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
  using _lock = await openStore(emulator);

  const recipe = await prepare(emulator, steps);
  // With `force`, a damaged image is replaced.
  const image = await readImage(emulator, { isOwner: true }).catch((error) => {
    if (options.force) return undefined;
    throw error;
  });
  if (!options.force) {
    const origin = image?.record.origin;
    if (image && origin?.kind === "build" && origin.recipe === recipe.digest) return { image, built: false };
  }
  if (!options.force) await requireKnown(emulator, image);
  await requireUnused(emulator, image?.record.files.disk.sha256);
  const output = temporaryPath(emulator);
  await Deno.mkdir(output, { mode: 0o700 });
  try {
    await recipe.run(output);
    const made = await describeOutput(emulator, output);
    return { image: await putInPlace(emulator, made, { kind: "build", recipe: recipe.digest }), built: true };
  } finally {
    await Deno.remove(output, { recursive: true }).catch(() => {});
  }
}

/** The recipe: a digest of everything that decides its result, and how to run it in a directory. */
async function prepare(
  emulator: Emulator,
  steps: Build,
): Promise<{ digest: string; run: (output: string) => Promise<void> }> {
  if ("script" in steps) {
    return { digest: await scriptDigest(emulator, steps), run: (output) => runScript(emulator, steps, output) };
  }
  const { cloudInitDigest, provision } = await import("./provision.ts");
  const digest = await cloudInitDigest(emulator, steps.cloudInit);
  return { digest, run: (output) => provision(emulator, steps.cloudInit, digest, `${output}/${OUTPUTS.disk}`) };
}

/** Checks the recipe's output files, and flushes them to disk. */
async function describeOutput(emulator: Emulator, output: string): Promise<NewFiles> {
  const parts = Object.keys(OUTPUTS) as ImagePart[];
  const made: [ImagePart, NewFiles["disk"]][] = [];
  emulator.report.step("hash the image");
  for (const part of parts) {
    const path = `${output}/${OUTPUTS[part]}`;
    if (!await exists(path, { isFile: true })) continue;
    await Deno.chmod(path, 0o600);
    made.push([part, { path, sha256: await sha256File(path, emulator.signal) }]);
  }
  const files = Object.fromEntries(made) as Partial<NewFiles>;
  if (!files.disk) {
    throw new HotbootError(`the recipe of '${emulator.profile.name}' left no ${OUTPUTS.disk}: make it write one`);
  }
  return { ...files, disk: files.disk };
}
