/** Files on disk as entries of an image. */

import { type IsoEntry, IsoError } from "./entry.ts";

/**
 * The entries for an image of `paths`: a directory's contents go to the root, a file goes there by its own name, as with
 * mkisofs(1). Symbolic links below the paths stay links. Where two directories have the same subdirectory, one is made
 * of both.
 *
 * Needs read permission for the paths.
 *
 * @param paths Files and directories.
 * @returns Entries with the files' modes, owners, times and sizes, whose content is read when the image is.
 * @throws {IsoError} naming the path that is missing or cannot be stored.
 */
export async function scanFiles(paths: string[]): Promise<IsoEntry[]> {
  const entries: IsoEntry[] = [];
  const directories = new Set<string>();
  const add = (path: string, file: string, info: Deno.FileInfo) => {
    const mode = info.mode ?? undefined;
    const uid = info.uid ?? undefined;
    const gid = info.gid ?? undefined;
    const mtime = info.mtime ?? undefined;
    if (info.isFile) {
      entries.push({ kind: "file", path, mode, uid, gid, mtime, content: { path: file, size: info.size } });
    } else if (info.isSymlink) {
      entries.push({ kind: "symlink", path, mode, uid, gid, mtime, target: Deno.readLinkSync(file) });
    } else if (info.isDirectory) {
      if (!directories.has(path)) entries.push({ kind: "directory", path, mode, uid, gid, mtime });
      directories.add(path);
      addAll(path, file);
    } else {
      throw new IsoError(
        `${file} is neither a file nor a directory nor a symbolic link, and nothing else can be stored`,
      );
    }
  };
  // Not one call of these gives way to others: there may be tens of thousands, and each takes some microseconds.
  const addAll = (path: string, directory: string) => {
    const names = Array.from(Deno.readDirSync(directory), ({ name }) => name).sort();
    for (const name of names) {
      const file = `${directory}/${name}`;
      add(path === "" ? name : `${path}/${name}`, file, Deno.lstatSync(file));
    }
  };
  for (const path of paths) {
    const info = await Deno.stat(path).catch((error) => {
      throw error instanceof Deno.errors.NotFound ? new IsoError(`there is nothing at ${path}`) : error;
    });
    const trimmed = path.replace(/(?<=.)\/+$/, "");
    if (info.isDirectory) addAll("", trimmed);
    else add(trimmed.split("/").at(-1)!, trimmed, info);
  }
  return entries;
}
