/** An image's contents as files on disk. */

import { messageOf } from "../base/error.ts";
import { IsoError, shown } from "./entry.ts";
import type { IsoImage, IsoNode, IsoViewName } from "./read.ts";

/** How to extract. */
export interface ExtractOptions {
  /** Which names and attributes; the richest that there is unless told. */
  view?: IsoViewName;
  /** Aborting it ends the work; what has been written stays. */
  signal?: AbortSignal;
  /** Told of what cannot be extracted: devices and the like. */
  onWarning?: (message: string) => void;
  /** Makes a symbolic link; `Deno.symlink` unless told, which needs read and write permission for everything. */
  symlink?: (target: string, path: string) => Promise<void>;
}

/**
 * Writes everything in an image below `directory`, and nothing outside, whatever the image says: an existing file is not
 * written over, links are made last and never followed. Times and permissions are set, owners are not.
 *
 * Needs read and write permission for the directory; for an image with symbolic links, for everything, as Deno wants for
 * making any link, unless the options have another way to make them.
 *
 * @param image What {@linkcode readIso} has opened.
 * @param directory Is made when it is not there.
 * @param options Which of the image's views, and who is told of what cannot be extracted.
 * @returns How many entries were written.
 * @throws {IsoError} naming the entry that cannot be written, or the place where the image is damaged.
 * @throws The reason of the options' signal, when that aborts.
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
      onWarning?.(`${shown(node.path)}: it is a device, a pipe or a socket, and was left out`);
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
    return new IsoError(`${shown(path)}: there is something of this name already: extract into an empty directory`);
  }
  return new IsoError(`${shown(path)}: it cannot be written: ${messageOf(error)}`);
}
