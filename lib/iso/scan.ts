/** Files on disk as entries of an image. */

import { messageOf } from "../base/error.ts";
import { quoted } from "../base/printable.ts";
import { type IsoEntry, IsoError, shown } from "./entry.ts";

/**
 * The entries for an image of `paths`: a directory's contents go to the root, a file goes there under its own name, as with
 * mkisofs(1). Symbolic links below the paths stay links, and the bytes of hard links are stored once. If two directories have
 * the same subdirectory, the image has one with the contents of both. Extended attributes are not kept: Deno cannot read them.
 *
 * Needs read permission for the paths.
 *
 * @param paths Files and directories.
 * @param output Where the image will be: an earlier image there is left out, if one of the directories contains it.
 * @returns Entries with the files' modes, owners, times and sizes; their content is read with the image.
 * @throws {IsoError} with the path that is missing or cannot be stored, such as a name that is not UTF-8. (Up to Deno
 * 2.7 the runtime does not list files of such a name, and they are not in the image; up to Deno 2.6 it says of a time before
 * 1970 that it is as long after 1970.)
 *
 * @example
 * ```ts
 * import { scanFiles, writeIso } from "@hotboot/hotboot";
 * import { assertEquals } from "@std/assert";
 *
 * const directory = await Deno.makeTempDir();
 * await Deno.writeTextFile(`${directory}/meta-data`, "instance-id: one\n");
 * const image = `${directory}/seed.iso`;
 * const entries = await scanFiles([directory], image);
 * assertEquals(entries.map(({ path }) => path), ["meta-data"]);
 * await writeIso(image, entries, { label: "cidata" });
 * ```
 */
export async function scanFiles(paths: string[], output?: string): Promise<IsoEntry[]> {
  return await Array.fromAsync(scan(paths, output));
}

/** The same, one by one: so many need not all be in memory. */
export async function* scan(paths: string[], output?: string): AsyncGenerator<IsoEntry> {
  const earlier = output === undefined ? undefined : await Deno.stat(output).catch(() => undefined);
  const directories = new Set<string>();
  /** What has several names, by device and inode. */
  const linked = new Map<string, { path: string; size: number; linked: true }>();
  const contentOf = (path: string, { size, nlink, dev, ino }: Deno.FileInfo) => {
    if (!ino || (nlink ?? 1) < 2) return { path, size };
    const key = `${dev}:${ino}`;
    const content = linked.get(key) ?? { path, size, linked: true };
    linked.set(key, content);
    return content;
  };
  function* entriesOf(path: string, file: string, info: Deno.FileInfo): Generator<IsoEntry> {
    const mode = info.mode ?? undefined;
    const uid = info.uid ?? undefined;
    const gid = info.gid ?? undefined;
    const mtime = info.mtime ?? undefined;
    if (info.isFile) {
      yield { kind: "file", path, mode, uid, gid, mtime, content: contentOf(file, info) };
    } else if (info.isSymlink) {
      yield { kind: "symlink", path, mode, uid, gid, mtime, target: targetOf(file) };
    } else if (info.isDirectory) {
      if (!directories.has(path)) yield { kind: "directory", path, mode, uid, gid, mtime };
      directories.add(path);
      yield* entriesIn(path, file);
    } else {
      throw new IsoError(
        `${quoted(file)} is not a file, directory or symbolic link, and nothing else can be stored: leave it out`,
      );
    }
  }
  // Not one call of these gives way to others: there may be tens of thousands, and each takes some microseconds.
  function* entriesIn(path: string, directory: string): Generator<IsoEntry> {
    const names = Array.from(Deno.readDirSync(directory), ({ name }) => name).sort();
    for (const name of names) {
      const file = `${directory}/${name}`;
      const info = statOf(file, name);
      if (earlier?.ino && info.ino === earlier.ino && info.dev === earlier.dev) continue;
      yield* entriesOf(path === "" ? name : `${path}/${name}`, file, info);
    }
  }
  for (const path of paths) {
    const info = await Deno.stat(path).catch((error) => {
      throw error instanceof Deno.errors.NotFound
        ? new IsoError(`${quoted(path)} does not exist: name a path that does`)
        : error;
    });
    const trimmed = path.replace(/(?<=.)\/+$/, "");
    if (info.isDirectory) yield* entriesIn("", trimmed);
    else yield* entriesOf(trimmed.split("/").at(-1)!, trimmed, info);
  }
}

function statOf(file: string, name: string): Deno.FileInfo {
  try {
    return Deno.lstatSync(file);
  } catch (error) {
    // What is no UTF-8 in a name is replaced before it gets here, and then there is no such file.
    const isReplaced = error instanceof Deno.errors.NotFound && name.includes("\ufffd");
    throw isReplaced
      ? new IsoError(`${shown(file)}: its name is not UTF-8, and nothing else can be stored: rename it`)
      : error;
  }
}

function targetOf(file: string): string {
  try {
    return Deno.readLinkSync(file);
  } catch (error) {
    throw new IsoError(`${shown(file)}: this link's target cannot be read (${messageOf(error)}): leave the link out`);
  }
}
