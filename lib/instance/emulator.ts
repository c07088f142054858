/** One emulator on this machine: a profile, a home and an instance's name; what every operation starts from. */

import { HotbootError } from "../base/error.ts";
import { findProfile } from "../profile/find.ts";
import { type LoadedProfile, loadProfile, type Profile } from "../profile/profile.ts";
import type { Token } from "../release/token.ts";
import { type Arch, HOST_ARCH } from "../vm/arch.ts";
import { Home, isLocked, lock } from "./home.ts";

/** Receives what an operation tells while it works, each text as one line. No secret is in it. */
export interface Reporter {
  /** A step begins. */
  step(text: string): void;
  /** Something of interest to whoever looks closely. */
  detail(text: string): void;
  /** Something that went wrong, or is not what was asked for. */
  warn(text: string): void;
  /** How far something long is, in bytes; the total is NaN where it is unknown. The same numbers: it is done. */
  progress(what: string, done: number, total: number): void;
}

/** How to open an emulator. */
export interface EmulatorOptions {
  /**
   * A built-in profile's name, a profile's path, or one that is loaded. Unless told it is the `hotboot.json` in the working
   * directory or the nearest directory above it, as far as those belong to the working directory's owner; else `stack`.
   */
  profile?: string | LoadedProfile;
  /** hotboot's directory; unless told, `$HOTBOOT_HOME`, else what the profile says, else `~/.hotboot`. */
  home?: string;
  /** The instance's name; `vm` unless told. */
  instance?: string;
  /** The guest's architecture; the host's unless told. */
  arch?: Arch;
  /** Aborting it ends every operation, which cleans up after itself. */
  signal?: AbortSignal;
  /** Is told what happens; nobody unless told. */
  report?: Reporter;
  /** A token for GitHub, or `null` for none; it is looked for in the environment and asked of `gh` unless told. */
  token?: Token | null;
}

/** An emulator; {@linkcode openEmulator} makes one, and the operations take it. */
export interface Emulator {
  /** What it is. */
  readonly profile: Profile;
  /** The profile's file, the base of its relative paths. */
  readonly profileUrl: URL;
  /** Where its files lie. */
  readonly home: Home;
  /** The instance's name. */
  readonly instance: string;
  /** The guest's architecture. */
  readonly arch: Arch;
  /** Ends its operations. */
  readonly signal: AbortSignal;
  /** Is told what happens. */
  readonly report: Reporter;
  /** A token for GitHub, if it is known already; `null`: there is none. */
  readonly token?: Token | null;
}

const SILENT: Reporter = { step() {}, detail() {}, warn() {}, progress() {} };

/**
 * Finds the profile and the home. Nothing is written, and no process is started.
 *
 * Needs read permission for the profile, unless it is a built-in one, or, when none is named, for the working directory and
 * those above it; env permission for `HOTBOOT_HOME` and `HOME`, unless the home is given, and for the variables that the
 * profile names.
 *
 * @param options What and where, if not the project's profile as instance `vm` in its usual home.
 * @returns What the operations take.
 * @throws {HotbootError} when there is no such profile, it is malformed (the first wrong field, or the variable that makes
 * it wrong, is named), the instance's name is none, nothing says where the home is, or it lies below `/dev`, `/proc` or `/sys`.
 *
 * @example
 * ```ts
 * import { openEmulator, start, stop } from "@hotboot/hotboot";
 *
 * const emulator = await openEmulator({ profile: "demo" });
 * const { urls } = await start(emulator);
 * console.log(await (await fetch(urls.backend)).text());
 * await stop(emulator);
 * ```
 */
export async function openEmulator(options: EmulatorOptions = {}): Promise<Emulator> {
  const wanted = options.profile ?? await findProfile();
  const { profile, url } = typeof wanted === "string" ? await loadProfile(wanted) : wanted;
  const instance = options.instance ?? "vm";
  if (!/^[a-z0-9][a-z0-9-]{0,62}$/.test(instance)) {
    throw new HotbootError(`'${instance}' is no name for an instance: use lower-case letters, digits and dashes`);
  }
  return {
    profile,
    profileUrl: url,
    home: new Home(await homeDirectory(profile, options.home), profile.home),
    instance,
    arch: options.arch ?? HOST_ARCH,
    signal: options.signal ?? new AbortController().signal,
    report: options.report ?? SILENT,
    ...(options.token !== undefined && { token: options.token }),
  };
}

/** What images and snapshots of this emulator are called: `demo-amd64`. */
export function imageKey(emulator: Emulator): string {
  return `${emulator.profile.name}-${emulator.arch}`;
}

/** Keeps other operations away from this instance until disposed of. */
export function lockInstance(emulator: Emulator): Promise<Disposable> {
  const { home, instance, report, signal } = emulator;
  const onWait = () => report.step(`waiting for another hotboot that works on instance '${instance}'`);
  return lock(home, instanceLock(instance), onWait, signal);
}

/** Whether another operation works on this instance. */
export function isInstanceLocked({ home, instance }: Emulator): Promise<boolean> {
  return isLocked(home, instanceLock(instance));
}

/** Keeps others from making a snapshot of this emulator until disposed of. */
export function lockSnapshots(emulator: Emulator): Promise<Disposable> {
  const { home, profile, report, signal } = emulator;
  const onWait = () => report.step(`waiting for another hotboot that makes a snapshot of '${profile.name}'`);
  return lock(home, snapshotsLock(imageKey(emulator)), onWait, signal);
}

/** The lock of those who make snapshots of this image. */
export function snapshotsLock(key: string): string {
  return `snapshots-${key}`;
}

/** The lock of those who put an image of this name in place. */
export function imageLock(key: string): string {
  return `image-${key}`;
}

function instanceLock(instance: string): string {
  return `instance-${instance}`;
}

/** Where Deno opens files only for programs with all permissions, whatever link leads there: so do 2.6, 2.8 and 2.9. */
const CLOSED = ["/dev", "/proc", "/sys"];

/** The home's path. @throws {HotbootError} when nothing says where it is, or no command could work there. */
async function homeDirectory({ home }: Profile, given?: string): Promise<string> {
  const path = await namedHome(home?.directory ?? "~/.hotboot", given);
  const real = await followLinks(path);
  const isBelow = (directory: string) => [path, real].some((each) => `${each}/`.startsWith(`${directory}/`));
  const closed = CLOSED.find(isBelow);
  if (closed === undefined) return path;
  const also = isBelow("/dev/shm") ? " (and /dev/shm is memory: when the host restarts, a snapshot in it is lost)" : "";
  throw new HotbootError(
    `${path} cannot be the home${real === path ? "" : `, since it leads to ${real}`}: ` +
      `Deno opens files below ${closed} only for programs with all permissions, and hotboot's commands do not have those` +
      `${also}; name another directory with --home or HOTBOOT_HOME`,
  );
}

async function namedHome(ofProfile: string, given?: string): Promise<string> {
  const named = given ?? (Deno.env.get("HOTBOOT_HOME") || undefined);
  if (named === undefined && ofProfile.startsWith("~/")) {
    const user = Deno.env.get("HOME");
    if (!user) throw new HotbootError("neither HOTBOOT_HOME nor HOME is set: say where with --home");
    return user + ofProfile.slice(1).replace(/\/+$/, "");
  }
  const { resolve } = await import("@std/path/resolve");
  return resolve(named ?? ofProfile);
}

/** Where a path leads, as far as it is there and may be read; nobody is asked for permission. */
async function followLinks(path: string): Promise<string> {
  const { state } = await Deno.permissions.query({ name: "read", path });
  const real = state === "granted" ? await Deno.realPath(path).catch(() => undefined) : undefined;
  if (real !== undefined) return real;
  const end = path.lastIndexOf("/");
  return end > 0 ? await followLinks(path.slice(0, end)) + path.slice(end) : path;
}
