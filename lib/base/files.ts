/** Writes files whole, or not at all. */

import { HotbootError, isDiskFull, messageOf } from "./error.ts";
import { writeAll } from "./io.ts";
import { Turns } from "./turns.ts";
import { sleep } from "./wait.ts";

/** How to replace a file. */
export interface ReplaceOptions {
  /** The new file's mode; 0600 by default. */
  mode?: number;
  /** Whether to flush it, and its directory, to disk before returning. */
  sync?: boolean;
  /** Whether to flush its content before it takes its place: else a power cut can leave an empty file there. */
  flush?: boolean;
  /** Whether a link at the path stays and its target is replaced; true by default. */
  follow?: boolean;
  /** The class of the error if it cannot be written. */
  failure?: new (message: string) => HotbootError;
}

/** Where the new content of `target` is written first. */
export function growingPath(target: string): string {
  return `${target}.${Deno.pid}.tmp`;
}

/** The name of the future file, if `name` is that of a growing one. */
export function replacedName(name: string): string | undefined {
  return name.match(/^(.+)\.\d+\.tmp$/)?.[1];
}

/** Every path that replacing the file at `path` touches, known beforehand, to give permission for exactly these. */
export async function replacedPaths(path: string): Promise<string[]> {
  const target = await Deno.realPath(path).catch(() => path);
  return [path, target, growingPath(target)];
}

/** The paths that this program is writing now. */
const growing = new Set<string>();

/** FUSE and NFS hide a removed file that a program which is ending still has open, and so long its directory stays. */
const HIDDEN_MS = 5000;

/** Removes a file, or a directory with all that is in it, if there is one. @throws The system's error if it stays. */
export async function removeIfThere(path: string): Promise<void> {
  for (const end = performance.now() + HIDDEN_MS;; await sleep(50)) {
    try {
      return await Deno.remove(path, { recursive: true });
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return;
      const isHidden = (error as { code?: string }).code === "ENOTEMPTY" && performance.now() < end;
      if (!isHidden) throw error;
    }
  }
}

/**
 * What a path is, if it is no file. Look before you open what a user names: opening a pipe waits, perhaps for ever, for
 * somebody to write into it, and no signal ends that.
 *
 * @throws The system's error if there is nothing.
 */
export async function otherThanFile(
  path: string,
): Promise<"a directory" | "a pipe" | "a device" | "a socket" | undefined> {
  const { isFile, isDirectory, isFifo, isSocket } = await Deno.stat(path);
  if (isFile) return undefined;
  return isDirectory ? "a directory" : isFifo ? "a pipe" : isSocket ? "a socket" : "a device";
}

/** Flushes a file to its disk. */
export async function syncFile(path: string): Promise<void> {
  using file = await Deno.open(path, { read: true, write: true });
  await file.sync();
}

/** Flushes a directory's entries to disk, if the system can and this program may read it. */
export async function syncDirectory(path: string): Promise<void> {
  try {
    using directory = await Deno.open(path);
    await directory.sync();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw error;
    // file systems that cannot; or the directory of a user's file, which a command may not read
  }
}

/** Gives a file a second name; on another file system, which instances may be on, a second file. */
export async function linkOrCopy(from: string, to: string): Promise<void> {
  await Deno.link(from, to).catch(async (error) => {
    if (error instanceof Deno.errors.NotFound) throw error;
    await Deno.copyFile(from, to);
  });
}

const writing = new Map<string, Turns>();

/**
 * Writes a small file of the user's own in one step: readers see the old content or the new one, never a part. Concurrent
 * writers of the same file take turns.
 *
 * @param options `flush`: also after a power cut. `sync`: and then the new one, once this has returned.
 */
export async function writeWhole(
  path: string,
  content: string | Uint8Array,
  options: Pick<ReplaceOptions, "sync" | "flush"> = {},
): Promise<void> {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  if (!writing.has(path)) writing.set(path, new Turns());
  await writing.get(path)!.run(() => replaceFile(path, (file) => writeAll(file, bytes), { ...options, follow: false }));
}

/** The same for a value, as JSON. */
export async function writeJson(
  path: string,
  value: unknown,
  options: Pick<ReplaceOptions, "sync" | "flush"> = {},
): Promise<void> {
  await writeWhole(path, JSON.stringify(value, null, 2) + "\n", options);
}

/**
 * Makes a file beside `path`, and moves it there when it is complete. If anything fails, the old file stays unchanged.
 *
 * @param make Writes the file at the path that it is given.
 * @throws {HotbootError} if it cannot be written; whatever `make` throws.
 */
export async function replaceFile(
  path: string,
  make: (file: Deno.FsFile, temporary: string) => Promise<void>,
  { mode = 0o600, sync = false, flush = sync, follow = true, failure = HotbootError }: ReplaceOptions = {},
): Promise<void> {
  const there = await (follow ? Deno.stat(path) : Deno.lstat(path)).catch(() => undefined);
  if (there?.isDirectory || (follow && there && !there.isFile)) {
    throw new failure(`${path} is not a file, so it is not replaced: name another path`);
  }
  const target = there && follow ? await Deno.realPath(path) : path;
  const temporary = growingPath(target);
  if (growing.has(temporary)) {
    throw new failure(`${path} is already being written: wait until that is done, or name another path`);
  }
  growing.add(temporary);
  try {
    await Deno.remove(temporary).catch(() => {}); // left by a killed program with the same process id
    {
      using file = await Deno.open(temporary, { write: true, createNew: true, mode }).catch((error) => {
        throw new failure(
          `${path} cannot be written (${messageOf(error)}): ${
            isDiskFull(error) ? "free some space" : "name another path"
          }`,
        );
      });
      await make(file, temporary);
      if (flush) await file.sync();
    }
    await Deno.rename(temporary, target);
    if (sync) await syncDirectory(target.replace(/[^/]*$/, "") || ".");
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
    throw error;
  } finally {
    growing.delete(temporary);
  }
}
