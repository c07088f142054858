/** An emulator on this machine: a profile, a home and an instance's name. Every operation starts from it. */

import { withOptions } from "../base/advice.ts";
import { HotbootError } from "../base/error.ts";
import { findProfile } from "../profile/find.ts";
import { loadProfile } from "../profile/load.ts";
import type { LoadedProfile, Port, Profile } from "../profile/profile.ts";
import type { Login } from "../oci/login.ts";
import type { Network } from "../release/network.ts";
import type { Token } from "../release/token.ts";
import { type Arch, HOST_ARCH } from "../vm/arch.ts";
import { Home, requireOwnLink } from "./home.ts";
import { rememberedPorts, withRemembered } from "./ports.ts";
import { isWithin, withPart } from "./shared_part.ts";

/** Receives progress from an operation, each text as one line. It never gets a secret. */
export interface Reporter {
  /** A step begins. */
  step(text: string): void;
  /** Something of interest to those who look closely. */
  detail(text: string): void;
  /** Something that went wrong, or differs from what was asked for. */
  warn(text: string): void;
  /** How far something long is, in bytes; the total is NaN if unknown. Equal numbers mean that it is done. */
  progress(what: string, done: number, total: number): void;
}

/** How to open an emulator. */
export interface EmulatorOptions {
  /**
   * A built-in profile's name, a profile's path, or a loaded profile. By default the `hotboot.json` in the working directory
   * or the nearest directory above it, as long as these belong to the working directory's owner; else `stack`. Nobody is
   * asked whether that file is trusted: only the commands do so.
   */
  profile?: string | LoadedProfile;
  /** hotboot's directory; by default `$HOTBOOT_HOME`, else the profile's home, else `~/.hotboot`. */
  home?: string;
  /** The instance's name; by default the name that the profile gives, else the profile's own name. */
  instance?: string;
  /** The guest's architecture; the host's by default. */
  arch?: Arch;
  /** Aborts every operation; each cleans up after itself. */
  signal?: AbortSignal;
  /** Receives progress and warnings; by default nothing does. */
  report?: Reporter;
  /** A token for GitHub, or `null` for none; by default hotboot looks in the environment and asks `gh`. */
  token?: Token | null;
  /** A login for the image's registry, or `null` for none; by default hotboot looks where `docker login` leaves it. */
  login?: Login | null;
  /** The way to servers; by default hotboot looks in the environment. */
  network?: Network;
}

/** An emulator, from {@linkcode openEmulator}. All operations take it. */
export interface Emulator {
  /** The profile. */
  readonly profile: Profile;
  /** The URL of the profile's file, the base of its relative paths. */
  readonly profileUrl: URL;
  /** The paths of its files. */
  readonly home: Home;
  /** The instance's name. */
  readonly instance: string;
  /** The profile's ports, with the host's as this instance has them: it may have others than the profile says. */
  readonly ports: Record<string, Port>;
  /** The guest's architecture. */
  readonly arch: Arch;
  /** Aborts its operations. */
  readonly signal: AbortSignal;
  /** Receives progress and warnings. */
  readonly report: Reporter;
  /** A token for GitHub, if already known; `null` if there is none. */
  readonly token?: Token | null;
  /** A login for the image's registry, if already known; `null` if there is none. */
  readonly login?: Login | null;
  /** The way to servers, if already known. */
  readonly network?: Network;
}

/** Which instance of which home: where its files are. */
export type InstancePlace = Pick<Emulator, "home" | "instance">;

const SILENT: Reporter = { step() {}, detail() {}, warn() {}, progress() {} };

/**
 * Finds the profile and the home. Writes nothing, and starts no process.
 *
 * Needs read permission for the profile, unless it is built in, or, if none is named, for the working directory and those
 * above it; env permission for `HOTBOOT_HOME` and `HOME`, unless the home is given, and for the variables that the profile
 * names.
 *
 * @param options The profile, home and instance, if not the project's profile as its own instance in the usual home.
 * @returns The emulator that all operations take.
 * @throws {HotbootError} if there is no such profile, it is malformed (names the first wrong field, or the wrong variable), the
 * instance's name is invalid, nothing says where the home is, the home is closed to this user or below `/dev`, `/proc` or
 * `/sys`, or the profile shares what no guest gets.
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
  const loaded = typeof wanted === "string" ? await loadProfile(wanted) : wanted;
  const { url } = loaded;
  const { share } = loaded.profile;
  const profile = { ...loaded.profile, ...(share && !share.part && { share: await withPart(share) }) };
  const named = await homeDirectory(profile, options.home);
  await requireOpen(named);
  const home = new Home(await followLinks(named), profile.home); // Deno's permissions are for paths without links
  const instance = options.instance ?? await ownInstance(profile, home);
  if (!/^[a-z0-9][a-z0-9-]{0,62}$/.test(instance)) {
    throw new HotbootError(
      `'${instance}' is not a valid instance name: use at most 63 lower-case letters, digits and dashes, the first no dash`,
    );
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
    ...(options.login !== undefined && { login: options.login }),
    ...(options.network && { network: options.network }),
  };
}

/** Reports early, and once, what each command would meet. @throws {HotbootError} if the home is closed to this user. */
async function requireOpen(root: string): Promise<void> {
  const { state } = await Deno.permissions.query({ name: "read", path: root });
  if (state !== "granted") return;
  try {
    await requireOwnLink(root);
    await Deno.readDir(root)[Symbol.asyncIterator]().next();
  } catch (error) {
    if (error instanceof HotbootError) throw error;
    if (!(error instanceof Deno.errors.PermissionDenied)) return; // it need not exist
    throw new HotbootError(
      `the home ${root} is closed to this user, or a directory above it is: name another with --home or HOTBOOT_HOME`,
    );
  }
}

/** The emulator of another instance of the same home: with that one's ports, and its name in the commands of warnings. */
export async function withInstance(emulator: Emulator, instance: string): Promise<Emulator> {
  const { home, profile, report } = emulator;
  return {
    ...emulator,
    instance,
    ports: withRemembered(profile, await rememberedPorts(home, instance)),
    report: { ...report, warn: (text) => report.warn(withOptions(text, { instance })) },
  };
}

/**
 * The profile's own instance: no command acts on another profile's machine. In version 0.1 every profile used `vm`, which
 * stays the instance of the profile that started it.
 */
export async function ownInstance({ name, home: { instance = name } = {} }: Profile, home: Home): Promise<string> {
  const { state } = await Deno.permissions.query({ name: "read", path: home.instances });
  if (state !== "granted" || instance === OLD_DEFAULT) return instance;
  for (const file of ["kept.json", "instance.json"]) {
    const text = await Deno.readTextFile(`${home.instance(OLD_DEFAULT)}/${file}`).catch(() => "");
    try {
      if (JSON.parse(text).profile === name) return OLD_DEFAULT;
    } catch {
      // missing or damaged
    }
  }
  return instance;
}

const OLD_DEFAULT = "vm";

/** The name of this emulator's images and snapshots: `demo-amd64`. */
export function imageKey(emulator: Emulator): string {
  return `${emulator.profile.name}-${emulator.arch}`;
}

/** Deno opens files here, even through a link, only for programs with all permissions: 2.6, 2.8 and 2.9 do so. */
const CLOSED = ["/dev", "/proc", "/sys"];

async function homeDirectory({ home }: Profile, given?: string): Promise<string> {
  const path = await namedHome(home?.directory ?? "~/.hotboot", given);
  const real = await followLinks(path);
  const isBelow = (directory: string) => [path, real].some((each) => isWithin(each, directory));
  const closed = CLOSED.find(isBelow);
  if (closed === undefined) return path;
  const also = isBelow("/dev/shm") ? " (and /dev/shm is memory: a restart of the host loses its snapshots)" : "";
  throw new HotbootError(
    `${path} cannot be the home${real === path ? "" : `, because it leads to ${real}`}: ` +
      `Deno opens files below ${closed} only for programs with all permissions, which hotboot's commands do not have` +
      `${also}; name another directory with --home or HOTBOOT_HOME`,
  );
}

async function namedHome(ofProfile: string, given?: string): Promise<string> {
  const named = given ?? (Deno.env.get("HOTBOOT_HOME") || ofProfile);
  if (/^~(\/|$)/.test(named)) {
    const user = Deno.env.get("HOME");
    if (!user) throw new HotbootError("HOME is not set, so hotboot cannot find its directory: name one with --home");
    return user + named.slice(1).replace(/\/+$/, "");
  }
  const { resolve } = await import("@std/path/resolve");
  return resolve(named);
}

/** Where a path leads, as far as it exists and can be read; prompts for no permission. */
export async function followLinks(path: string): Promise<string> {
  const { state } = await Deno.permissions.query({ name: "read", path });
  const real = state === "granted" ? await Deno.realPath(path).catch(() => undefined) : undefined;
  if (real !== undefined) return real;
  const end = path.lastIndexOf("/");
  return end > 0 ? await followLinks(path.slice(0, end)) + path.slice(end) : path;
}
