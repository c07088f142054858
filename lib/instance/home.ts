/** hotboot's directory on the user's machine: the paths in it, and who may access them. */

import { dirname } from "@std/path/dirname";
import { entriesIn } from "../base/entries.ts";
import { HostError, HotbootError, messageOf } from "../base/error.ts";
import { sha256 } from "../base/hash.ts";

/** The longest path of a unix socket, in bytes, without the final NUL: unix(7); macOS allows less. */
const SOCKET_PATH_LIMIT = Deno.build.os === "darwin" ? 103 : 107;
/** No instance's name begins with a dot. */
export const LAYER_PREFIX = ".layer-";
const LONGEST_SOCKET_NAME = "/migration.sock";

/** The paths below one home. */
export class Home {
  /** The home itself, absolute. */
  readonly root: string;
  /** The directory of its instances, each in a directory of its own. */
  readonly instances: string;
  /** The directory of images: `NAME-ARCH.qcow2` and their companions. */
  readonly images: string;

  /**
   * The home at `root`, an absolute path; it need not exist yet.
   *
   * @param places The directories of instances and images: names in the home, or absolute paths.
   */
  constructor(root: string, places: { instances?: string; images?: string } = {}) {
    const { instances = "instances", images = "images" } = places;
    const place = (name: string) => name.startsWith("/") ? name.replace(/\/+$/, "") : `${root}/${name}`;
    this.root = root;
    this.instances = place(instances);
    this.images = place(images);
  }

  /** All its directories. */
  get places(): string[] {
    return [this.root, ...[this.instances, this.images].filter((path) => !path.startsWith(`${this.root}/`))];
  }

  /** Files that can be removed at any time. */
  get cache(): string {
    return `${this.root}/cache`;
  }

  /** The directory of an image's snapshots, each in a directory of its own. */
  snapshots(imageKey: string): string {
    return `${this.root}/snapshots/${imageKey}`;
  }

  /** The directory of an image's checkpoints, one directory each. */
  checkpoints(imageKey: string): string {
    return `${this.root}/checkpoints/${imageKey}`;
  }

  /** The directory of an image's spares, one directory each: see `spares.ts`. */
  spares(imageKey: string): string {
    return `${this.root}/spares/${imageKey}`;
  }

  /** The directory of a disk that instances and checkpoints share, beside the instances' own: see `layers.ts`. */
  layer(name: string): string {
    return `${this.instances}/${LAYER_PREFIX}${name}`;
  }

  /** The directory of an instance's files. */
  instance(name: string): string {
    return `${this.instances}/${name}`;
  }

  /**
   * The directory of an instance's sockets: the instance's own or, if that path is too long for a socket, a short name for
   * it, which is derived from the long one. Not in `$XDG_RUNTIME_DIR`: that goes when its user logs out, while a guest runs
   * on, and a command without that variable (from cron, or with sudo) would not find the guest.
   */
  async sockets(name: string): Promise<string> {
    const directory = this.instance(name);
    if (new TextEncoder().encode(directory + LONGEST_SOCKET_NAME).length <= SOCKET_PATH_LIMIT) return directory;
    return `/tmp/hotboot-${(await sha256(directory)).slice(0, 16)}`;
  }

  /**
   * Gives an instance's directory its short name, if it needs one: a link, so that the sockets themselves are in the home and
   * move with it. Only a program with all read and write permissions may make links, and a command has fewer: the launcher does
   * it. What is there already stays.
   */
  async linkSockets(name: string): Promise<void> {
    const [short, directory] = [await this.sockets(name), this.instance(name)];
    if (short === directory) return;
    const [found, home] = await Promise.all([ifThere(Deno.lstat(short)), ifThere(Deno.stat(this.root))]);
    if (found) {
      // The kernel lets not even root follow the owner's link in /tmp, but all follow root's: proc_sys_fs(5), protected_symlinks.
      const isOwners = found.isSymlink && found.uid === home?.uid;
      const isBarred = isOwners && await Deno.stat(short).then(() => false, (error) => isPermission(error));
      if (!isBarred) return;
      await Deno.remove(short);
    }
    await Deno.symlink(directory, short).catch((error) => {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error; // whoever uses it looks whose it is
    });
  }

  /** Makes a directory with the short name, unless that is there. @throws {HotbootError} if it is not the home's owner's then. */
  async shortDirectory(path: string): Promise<void> {
    await Deno.mkdir(path, { mode: 0o700 }).catch((error) => {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    });
    // Only with this answer: whoever had made it may have removed it, to make it again as soon as nobody looks.
    if (!await this.hasShortDirectory(path)) {
      throw new HotbootError(`${path}, for sockets, was removed by another user: use a home with a shorter path`);
    }
    const { isDirectory } = await Deno.lstat(path);
    if (isDirectory) await privateDirectory(path); // only now: through another user's link it would change the link's target
  }

  /**
   * Whether there is something with the short name: a link to one of the instances, or a directory. It is in a shared
   * directory, so another user may have made it.
   *
   * @throws {HotbootError} if it does not belong to the home's owner.
   */
  async hasShortDirectory(path: string): Promise<boolean> {
    const [found, home] = await Promise.all([ifThere(Deno.lstat(path)), ifThere(Deno.stat(this.root))]);
    if (!found || !home) return false;
    if (found.isDirectory && found.uid === home.uid) return true;
    const isOwnLink = found.isSymlink && (found.uid === home.uid || found.uid === 0);
    if (isOwnLink && dirname(await Deno.readLink(path)) === this.instances) return true;
    throw new HotbootError(
      `${path}, for sockets, was made by another user: ask for its removal, or use a home with a shorter path`,
    );
  }
}

/**
 * How a disk in the directory `from` refers to the one at `to`: by a relative path, so that the home can be moved; or by an
 * absolute path, if one of them is outside the home, or if a link on the way to `from` would send `..` elsewhere.
 */
export async function backingPath(home: Home, from: string, to: string): Promise<string> {
  if ([from, to].some((path) => !path.startsWith(`${home.root}/`))) return to;
  const [root, real] = await Promise.all([Deno.realPath(home.root), Deno.realPath(from)]);
  const inside = from.slice(home.root.length);
  if (real !== root + inside) return to;
  return "../".repeat(inside.split("/").length - 1) + to.slice(home.root.length + 1);
}

/**
 * Makes a directory, and those above it, for the owner only; closes an existing one to others. It may be a link to another
 * disk, if whoever has that directory has made it.
 */
export async function privateDirectory(path: string): Promise<void> {
  await requireOwnLink(path);
  let isClosed: boolean;
  try {
    await Deno.mkdir(path, { recursive: true, mode: 0o700 });
    isClosed = await isPrivate(path);
    if (!isClosed) {
      await Deno.chmod(path, 0o700);
      isClosed = await isPrivate(path);
    }
  } catch (error) {
    throw new HostError(`${path} cannot be made or used (${messageOf(error)})`, "name another directory with --home");
  }
  if (isClosed) return;
  throw new HostError(
    `${path} is open to other users, and its file system ignores that hotboot closes it`,
    "name a directory on another disk with --home",
  );
}

/** Whether only its owner may enter it. */
async function isPrivate(path: string): Promise<boolean> {
  const { mode } = await Deno.stat(path);
  return ((mode ?? 0) & 0o077) === 0;
}

/** The same for a directory in which all is hotboot's own: neither it nor anything in it may be a link. */
export async function ownDirectory(path: string): Promise<void> {
  await requireNoLinks(path);
  await privateDirectory(path);
}

/** @throws {HotbootError} if the directory, or anything in it, is a link: what is written there would end up elsewhere. */
export async function requireNoLinks(directory: string): Promise<void> {
  const itself = await ifThere(Deno.lstat(directory));
  const inside = itself?.isDirectory ? await entriesIn(directory) : [];
  const link = itself?.isSymlink ? "" : inside.filter(({ isSymlink }) => isSymlink).map(({ name }) => `/${name}`)[0];
  if (link === undefined) return;
  throw new HotbootError(
    `${directory}${link} is a link, and hotboot makes none there, and writes through none: remove it, or put the file itself there`,
  );
}

/** @throws {HotbootError} if it is a link that somebody else has made, who thereby decides where hotboot writes. */
export async function requireOwnLink(path: string): Promise<void> {
  const [link, target] = await Promise.all([ifThere(Deno.lstat(path)), ifThere(Deno.stat(path))]);
  if (!link?.isSymlink || !target || link.uid === target.uid || link.uid === 0) return;
  throw new HotbootError(
    `${path} is a link that another user has made: remove it, or name another directory with --home`,
  );
}

function isPermission(error: unknown): boolean {
  return error instanceof Deno.errors.PermissionDenied;
}

async function ifThere<T>(found: Promise<T>): Promise<T | undefined> {
  return await found.catch((error) => {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  });
}
