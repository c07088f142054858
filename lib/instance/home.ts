/** hotboot's directory on the user's machine: where each thing lies, and who may touch it. */

import { HotbootError, messageOf } from "../base/error.ts";
import { sha256 } from "../base/hash.ts";

/** What a unix socket's path may have in bytes, without the final NUL: unix(7); macOS has less. */
const SOCKET_PATH_LIMIT = Deno.build.os === "darwin" ? 103 : 107;
/** No instance's name begins with a dot. */
export const LAYER_PREFIX = ".layer-";
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

  /** Where the checkpoints of an image's instances lie, one directory each. */
  checkpoints(imageKey: string): string {
    return `${this.root}/checkpoints/${imageKey}`;
  }

  /** Where a disk lies that instances and checkpoints share: beside the instances, and as deep. See `layers.ts`. */
  layer(name: string): string {
    return `${this.instances}/${LAYER_PREFIX}${name}`;
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
    return `/tmp/hotboot-${(await sha256(directory)).slice(0, 16)}`;
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
