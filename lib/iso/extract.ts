/** An image's contents as files on disk. */

import { messageOf } from "../base/error.ts";
import { IsoError, shown } from "./entry.ts";
import type { IsoImage, IsoNode, IsoViewName } from "./read.ts";

/** How to extract. */
export interface ExtractOptions {
  /** Which names and attributes to use; the richest by default. */
  view?: IsoViewName;
  /** Aborting it ends the work; files already written stay. */
  signal?: AbortSignal;
  /** Called for everything that cannot be extracted: devices and the like. */
  onWarning?: (message: string) => void;
  /** Makes a symbolic link; by default `Deno.symlink`, which needs read and write permission for everything. */
  symlink?: (target: string, path: string) => Promise<void>;
}

/**
 * Writes everything in an image below `directory`, and nothing outside, whatever the image says: never overwrites an existing
 * file, makes links last and never follows them. Sets times and permissions, but not owners.
 *
 * Needs read and write permission for the directory; for an image with symbolic links, for everything, because Deno requires
 * that for any link, unless the options have another way to make them.
 *
 * @param image An image from {@linkcode readIso}.
 * @param directory Created if missing.
 * @param options Which of the image's views to use, and who is told what cannot be extracted.
 * @returns How many entries were written.
 * @throws {IsoError} with the entry that cannot be written, or the place where the image is damaged.
 * @throws The reason of the options' signal, if it aborts.
 *
 * @example
 * ```ts
 * import { extractIso, readIso, writeIso } from "@hotboot/hotboot";
 * import { assertEquals } from "@std/assert";
 *
 * const directory = await Deno.makeTempDir();
 * const content = new TextEncoder().encode("hello");
 * await writeIso(`${directory}/a.iso`, [{ kind: "file", path: "sub/file", content }]);
 * using image = await readIso(`${directory}/a.iso`);
 * assertEquals(await extractIso(image, `${directory}/a`), 2);
 * assertEquals(await Deno.readTextFile(`${directory}/a/sub/file`), "hello");
 * ```
 */
export async function extractIso(image: IsoImage, directory: string, options: ExtractOptions = {}): Promise<number> {
  const { signal, onWarning, symlink = Deno.symlink } = options;
  const links: IsoNode[] = [];
  const directories: IsoNode[] = [];
  let count = 0;
  await Deno.mkdir(directory, { recursive: true });
  for await (const node of image.entries(options.view)) {
    signal?.throwIfAborted();
    const path = `${directory}/${node.path}`;
    if (node.kind === "other") {
      onWarning?.(`${shown(node.path)}: left out, because it is a device, a pipe or a socket`);
      continue;
    }
    count++;
    if (node.kind === "symlink") {
      links.push(node);
    } else if (node.kind === "directory") {
      await makeDirectory(node, path);
      directories.push(node);
    } else {
      const file = await Deno.open(path, { write: true, createNew: true }).catch((error) => {
        throw cannotWrite(node, error);
      });
      await image.open(node).pipeTo(file.writable, { signal });
      await setAttributes(node, path);
    }
  }
  for (const node of links) {
    try {
      await symlink(node.target!, `${directory}/${node.path}`);
    } catch (error) { // also a target that is empty or has a NUL
      throw cannotWrite(node, error);
    }
  }
  // Only now, and the inner ones first: writing into a directory changes its time, and may not be permitted any more.
  for (const node of directories.reverse()) await setAttributes(node, `${directory}/${node.path}`);
  return count;
}

async function makeDirectory(node: IsoNode, path: string): Promise<void> {
  try {
    await Deno.mkdir(path);
  } catch (error) {
    // One that was there before is used, but not a link, which may lead anywhere.
    const isThere = error instanceof Deno.errors.AlreadyExists && (await Deno.lstat(path)).isDirectory;
    if (!isThere) throw cannotWrite(node, error);
  }
}

async function setAttributes({ mode, mtime }: IsoNode, path: string): Promise<void> {
  if (mtime) await Deno.utime(path, mtime, mtime);
  if (mode !== undefined) await Deno.chmod(path, mode & 0o777); // no set-user-id programs from an image
}

function cannotWrite({ path }: IsoNode, error: unknown): unknown {
  if (error instanceof Deno.errors.AlreadyExists) {
    return new IsoError(`${shown(path)}: already exists: extract into an empty directory`);
  }
  return new IsoError(`${shown(path)}: cannot be written (${messageOf(error)}): extract into another directory`);
}
