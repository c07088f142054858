/** Building an image with the profile's recipe. */

import { encodeHex } from "@std/encoding/hex";
import { fromFileUrl } from "@std/path/from-file-url";
import { TextLineStream } from "@std/streams/text-line-stream";
import { HotbootError } from "../error.ts";
import { type Emulator, imageKey } from "./emulator.ts";
import { lock, privateDirectory, writeJson } from "./home.ts";
import {
  describeImageFile,
  type Image,
  IMAGE_PARTS,
  type ImagePart,
  imagePath,
  type ImageRecord,
  imageRecordPath,
  readImage,
  sha256File,
  sizeAndTimes,
} from "./image.ts";

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
 * Needs run permission for `bash`, and read and write permission for the home.
 *
 * @throws {HotbootError} when the recipe fails, with its last words.
 */
export async function build(emulator: Emulator, options: BuildOptions = {}): Promise<BuildResult> {
  const { home, profile, report, signal } = emulator;
  const onWait = () => report.step(`waiting for another hotboot that builds the image of '${profile.name}'`);
  using _lock = await lock(home, `image-${imageKey(emulator)}`, onWait, signal);
  await privateDirectory(home.images);
  await removeLeftovers(emulator);

  const recipe = await recipeDigest(emulator);
  if (!options.force) {
    const image = await readImage(emulator);
    if (image?.record.origin.recipe === recipe) return { image, built: false };
  }
  const output = `${home.images}/${temporaryPrefix(emulator)}${crypto.randomUUID()}`;
  await Deno.mkdir(output, { mode: 0o700 });
  try {
    await runRecipe(emulator, output);
    return { image: await putInPlace(emulator, output, recipe), built: true };
  } finally {
    await Deno.remove(output, { recursive: true }).catch(() => {});
  }
}

/** Runs the script in a process group of its own, so that ending it ends whatever it has started. */
async function runRecipe(emulator: Emulator, output: string): Promise<void> {
  const { profile, report, signal } = emulator;
  const script = recipePath(emulator, profile.image.build.script);
  const child = new Deno.Command("bash", {
    args: [script, output, emulator.arch],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    detached: true,
  }).spawn();
  const onAbort = () => Deno.kill(-child.pid, "SIGTERM");
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

/** Checks what the recipe left, and renames it into place: the old description goes first, the new one comes last. */
async function putInPlace(emulator: Emulator, output: string, recipe: string): Promise<Image> {
  const parts = Object.keys(IMAGE_PARTS) as ImagePart[];
  const made = new Set<ImagePart>();
  for (const part of parts) {
    if (await Deno.stat(`${output}/${OUTPUTS[part]}`).catch(() => undefined)) made.add(part);
  }
  if (!made.has("disk")) throw new HotbootError(`the recipe of '${emulator.profile.name}' left no ${OUTPUTS.disk}`);
  emulator.report.step("hash the image");
  const files: Partial<ImageRecord["files"]> = {};
  for (const part of made) files[part] = await describeImageFile(`${output}/${OUTPUTS[part]}`, emulator.signal);

  await Deno.remove(imageRecordPath(emulator)).catch(() => {});
  for (const part of parts) {
    if (made.has(part)) await Deno.rename(`${output}/${OUTPUTS[part]}`, imagePath(emulator, part));
    else await Deno.remove(imagePath(emulator, part)).catch(() => {});
  }
  const record: ImageRecord = {
    origin: { kind: "build", recipe },
    created: new Date().toISOString(),
    files: files as ImageRecord["files"],
  };
  for (const part of made) Object.assign(files[part]!, await sizeAndTimes(imagePath(emulator, part))); // renaming is a touch
  await writeJson(imageRecordPath(emulator), record);
  return (await readImage(emulator))!;
}

/** A digest of everything that decides what the recipe makes. */
async function recipeDigest(emulator: Emulator): Promise<string> {
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
  for (const input of emulator.profile.image.build.inputs) await visit(recipePath(emulator, input), input);
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(lines.join("\n")));
  return encodeHex(new Uint8Array(digest));
}

function recipePath(emulator: Emulator, relative: string): string {
  return fromFileUrl(new URL(relative, emulator.profileUrl)).replace(/\/$/, "");
}

function temporaryPrefix(emulator: Emulator): string {
  return `.tmp-${imageKey(emulator)}-`;
}

/** Removes what builds that were killed have left; the lock says that none is under way. */
async function removeLeftovers(emulator: Emulator): Promise<void> {
  for await (const { name } of Deno.readDir(emulator.home.images)) {
    if (name.startsWith(temporaryPrefix(emulator))) {
      await Deno.remove(`${emulator.home.images}/${name}`, { recursive: true });
    }
  }
}

async function forEachLine(stream: ReadableStream<Uint8Array>, use: (line: string) => void): Promise<void> {
  const text = stream.pipeThrough(new TextDecoderStream());
  const lines: ReadableStream<string> = text.pipeThrough(new TextLineStream());
  for await (const line of lines) use(line);
}
