/** hotboot's directory on the user's machine: where each thing lies, and who may touch it. */

import { encodeHex } from "@std/encoding/hex";
import { HotbootError, messageOf } from "../base/error.ts";
import { sleep } from "../base/wait.ts";

/** What a unix socket's path may have in bytes, without the final NUL: unix(7); macOS has less. */
const SOCKET_PATH_LIMIT = Deno.build.os === "darwin" ? 103 : 107;
const LONGEST_SOCKET_NAME = "/migration.sock";

/** The paths below one home. */
export class Home {
  /** The home itself, absolute. */
  readonly root: string;
  /** Where its instances lie, one directory each. */
  readonly instances: string;
  /** Where images lie, as `NAME-ARCH.qcow2` and their companions. */
  readonly images: string;

  /**
   * The home at `root`, an absolute path; it need not exist yet.
   *
   * @param places Where instances and images lie: names in it, or absolute paths.
   */
  constructor(root: string, places: { instances?: string; images?: string } = {}) {
    const { instances = "instances", images = "images" } = places;
    const place = (name: string) => name.startsWith("/") ? name.replace(/\/+$/, "") : `${root}/${name}`;
    this.root = root;
    this.instances = place(instances);
    this.images = place(images);
  }

  /** All directories of it. */
  get places(): string[] {
    return [this.root, ...[this.instances, this.images].filter((path) => !path.startsWith(`${this.root}/`))];
  }

  /** What can be removed at any time. */
  get cache(): string {
    return `${this.root}/cache`;
  }

  /** Where the snapshots of an image lie, one directory each. */
  snapshots(imageKey: string): string {
    return `${this.root}/snapshots/${imageKey}`;
  }

  /** Where an instance's files lie. */
  instance(name: string): string {
    return `${this.instances}/${name}`;
  }

  /**
   * Where an instance's sockets lie: with its files, or, where that path is too long for a socket, in a directory
   * with a short name, which follows from the long one.
   */
  async sockets(name: string): Promise<string> {
    const directory = this.instance(name);
    if (new TextEncoder().encode(directory + LONGEST_SOCKET_NAME).length <= SOCKET_PATH_LIMIT) return directory;
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(directory));
    return `/tmp/hotboot-${encodeHex(new Uint8Array(digest)).slice(0, 16)}`;
  }

  /** Makes the directory with the short name. @throws {HotbootError} as {@linkcode hasShortDirectory} does. */
  async shortDirectory(path: string): Promise<void> {
    await Deno.mkdir(path, { mode: 0o700 }).catch((error) => {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    });
    await this.hasShortDirectory(path);
    await privateDirectory(path); // only now: through a link of somebody else's, it would close whatever that names
  }

  /**
   * Whether the directory with the short name is there. Among directories of everybody's, somebody else may have made it.
   *
   * @throws {HotbootError} when it does not belong to the home's owner.
   */
  async hasShortDirectory(path: string): Promise<boolean> {
    const [found, home] = await Promise.all([ifThere(Deno.lstat(path)), ifThere(Deno.stat(this.root))]);
    if (!found || !home) return false;
    if (found.isDirectory && found.uid === home.uid) return true;
    throw new HotbootError(
      `${path}, for sockets, was made by somebody else: have it removed, or shorten the home's path`,
    );
  }
}

/**
 * How a disk in the directory `from` names the one at `to`: relative, so that the home can be moved, or absolute, where one
 * of them is not below the home, or a link stands in the way to `from` and `..` would lead elsewhere.
 */
export async function backingPath(home: Home, from: string, to: string): Promise<string> {
  if ([from, to].some((path) => !path.startsWith(`${home.root}/`))) return to;
  const [root, real] = await Promise.all([Deno.realPath(home.root), Deno.realPath(from)]);
  const inside = from.slice(home.root.length);
  if (real !== root + inside) return to;
  return "../".repeat(inside.split("/").length - 1) + to.slice(home.root.length + 1);
}

/** Makes a directory, and those above it, that nobody else can look into; one that is there is closed to others. */
export async function privateDirectory(path: string): Promise<void> {
  try {
    await Deno.mkdir(path, { recursive: true, mode: 0o700 });
    const { mode } = await Deno.stat(path);
    if ((mode ?? 0) & 0o077) await Deno.chmod(path, 0o700);
  } catch (error) {
    throw new HotbootError(`${path} cannot be made or used (${messageOf(error)}): say where else with --home`);
  }
}

async function ifThere<T>(found: Promise<T>): Promise<T | undefined> {
  return await found.catch((error) => {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  });
}

/** Writes a file of the user's own in one step: readers see the old content or the new, never a part. */
export async function writePrivate(path: string, text: string): Promise<void> {
  const temporary = `${path}.${crypto.randomUUID().slice(0, 8)}.tmp`;
  await Deno.writeTextFile(temporary, text, { mode: 0o600 });
  await Deno.rename(temporary, path);
}

/** The same of a value. */
export async function writeJson(path: string, value: unknown): Promise<void> {
  await writePrivate(path, JSON.stringify(value, null, 2) + "\n");
}

/** Whether another program holds the lock called `name`. Nothing is written. */
export async function isLocked(home: Home, name: string): Promise<boolean> {
  try {
    using held = await holdNow(await Deno.open(`${home.root}/locks/${name}`));
    return held === undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/**
 * Holds the lock called `name` until it is disposed of or the program ends, however it ends.
 *
 * @param onWait Called once when another program holds it, before waiting.
 */
export async function lock(
  home: Home,
  name: string,
  onWait: () => void,
  signal?: AbortSignal,
): Promise<Disposable> {
  for (let waited = false;; waited = true) {
    const held = await tryLock(home, name);
    if (held) return held;
    if (!waited) onWait();
    await sleep(100, signal);
  }
}

/** The same without waiting; `undefined` when another program holds it. */
export async function tryLock(home: Home, name: string): Promise<Disposable | undefined> {
  await privateDirectory(`${home.root}/locks`);
  const file = await Deno.open(`${home.root}/locks/${name}`, { create: true, write: true, mode: 0o600 });
  return await holdNow(file);
}

/** How long taking a free lock takes at the most, where the runtime can only wait for it. */
const LOCKING_MS = 100;

/** The file with its lock held, or `undefined`, and then it is closed, when another program holds that. */
async function holdNow(file: Deno.FsFile): Promise<Deno.FsFile | undefined> {
  if (typeof file.tryLock === "function") {
    if (await file.tryLock(true)) return file;
    file.close();
    return undefined;
  }
  let isWanted = true; // Deno 2.6 can only wait
  const locking = file.lock(true).then(() => {
    if (isWanted) return file;
    file.close();
  });
  const held = await Promise.race([locking, sleep(LOCKING_MS)]);
  isWanted = held !== undefined;
  return held ?? undefined;
}
