/** One emulator on this machine: a profile, a home and an instance's name; what every operation starts from. */

import { HotbootError } from "../base/error.ts";
import { findProfile } from "../profile/find.ts";
import { loadProfile } from "../profile/load.ts";
import type { LoadedProfile, Port, Profile } from "../profile/profile.ts";
import type { Token } from "../release/token.ts";
import { type Arch, HOST_ARCH } from "../vm/arch.ts";
import { Home } from "./home.ts";
import { rememberedPorts, withRemembered } from "./ports.ts";

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
  /** The instance's name; the profile's own unless told, which is what the profile says, else the profile's name. */
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
  /** The profile's ports, with the host's as this instance has them: it may have others than the profile says. */
  readonly ports: Record<string, Port>;
  /** The guest's architecture. */
  readonly arch: Arch;
  /** Ends its operations. */
  readonly signal: AbortSignal;
  /** Is told what happens. */
  readonly report: Reporter;
  /** A token for GitHub, if it is known already; `null`: there is none. */
  readonly token?: Token | null;
}

/** Which instance of which home: where its files are. */
export type InstancePlace = Pick<Emulator, "home" | "instance">;

const SILENT: Reporter = { step() {}, detail() {}, warn() {}, progress() {} };

/**
 * Finds the profile and the home. Nothing is written, and no process is started.
 *
 * Needs read permission for the profile, unless it is a built-in one, or, when none is named, for the working directory and
 * those above it; env permission for `HOTBOOT_HOME` and `HOME`, unless the home is given, and for the variables that the
 * profile names.
 *
 * @param options What and where, if not the project's profile as its own instance in its usual home.
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
  const home = new Home(await homeDirectory(profile, options.home), profile.home);
  const instance = options.instance ?? await ownInstance(profile, home);
  if (!/^[a-z0-9][a-z0-9-]{0,62}$/.test(instance)) {
    throw new HotbootError(`'${instance}' is no name for an instance: use lower-case letters, digits and dashes`);
  }
  return {
    profile,
    profileUrl: url,
    home,
    instance,
    ports: withRemembered(profile, await rememberedPorts(home, instance)),
    arch: options.arch ?? HOST_ARCH,
    signal: options.signal ?? new AbortController().signal,
    report: options.report ?? SILENT,
    ...(options.token !== undefined && { token: options.token }),
  };
}

/** The emulator of another instance of the same home: with that one's ports. */
export async function withInstance(emulator: Emulator, instance: string): Promise<Emulator> {
  const { home, profile } = emulator;
  return { ...emulator, instance, ports: withRemembered(profile, await rememberedPorts(home, instance)) };
}

/**
 * The profile's own instance: no command acts on another profile's machine. In version 0.1 that of all profiles was `vm`,
 * which stays the instance of the profile that it was started with.
 */
export async function ownInstance({ name, home: { instance = name } = {} }: Profile, home: Home): Promise<string> {
  const { state } = await Deno.permissions.query({ name: "read", path: home.instances });
  if (state !== "granted" || instance === OLD_DEFAULT) return instance;
  for (const file of ["kept.json", "instance.json"]) {
    const text = await Deno.readTextFile(`${home.instance(OLD_DEFAULT)}/${file}`).catch(() => "");
    try {
      if (JSON.parse(text).profile === name) return OLD_DEFAULT;
    } catch {
      // nothing there, or damaged
    }
  }
  return instance;
}

const OLD_DEFAULT = "vm";

/** What images and snapshots of this emulator are called: `demo-amd64`. */
export function imageKey(emulator: Emulator): string {
  return `${emulator.profile.name}-${emulator.arch}`;
}

/** Where Deno opens files only for programs with all permissions, whatever link leads there: so do 2.6, 2.8 and 2.9. */
const CLOSED = ["/dev", "/proc", "/sys"];

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
  const named = given ?? (Deno.env.get("HOTBOOT_HOME") || ofProfile);
  if (/^~(\/|$)/.test(named)) {
    const user = Deno.env.get("HOME");
    if (!user) throw new HotbootError("HOME is not set, so ~ has no meaning: say where with --home");
    return user + named.slice(1).replace(/\/+$/, "");
  }
  const { resolve } = await import("@std/path/resolve");
  return resolve(named);
}

/** Where a path leads, as far as it is there and may be read; nobody is asked for permission. */
async function followLinks(path: string): Promise<string> {
  const { state } = await Deno.permissions.query({ name: "read", path });
  const real = state === "granted" ? await Deno.realPath(path).catch(() => undefined) : undefined;
  if (real !== undefined) return real;
  const end = path.lastIndexOf("/");
  return end > 0 ? await followLinks(path.slice(0, end)) + path.slice(end) : path;
}
