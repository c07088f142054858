/** An emulator on this machine: a profile, a home and an instance's name. Every function takes one. */

import { basename } from "node:path";
import { answer, type Caller, type Reporter } from "./command.ts";
import type { Arch, Shown } from "./results.ts";

/** How to open an emulator. */
export interface EmulatorOptions {
  /** A built-in profile's name, or a profile's path. By default the nearest `hotboot.json`, else `stack`. */
  profile?: string;
  /** hotboot's directory; by default `$HOTBOOT_HOME`, else the profile's home, else `~/.hotboot`. */
  home?: string;
  /** The instance's name; by default the name that the profile gives, else the profile's own name. */
  instance?: string;
  /** The guest's architecture; the host's by default. */
  arch?: Arch;
  /** Aborts every operation; each cleans up after itself. */
  signal?: AbortSignal;
  /** Receives steps and warnings; by default nothing does. */
  report?: Reporter;
}

/** An emulator, from {@linkcode openEmulator}. All functions take it. */
export interface Emulator extends Caller {
  /** The profile, as hotboot understands it. */
  readonly profile: Record<string, unknown>;
  /** hotboot's directory. */
  readonly home: string;
  /** The instance's name. */
  readonly instance: string;
  /** What names the profile, the home and the architecture on the command line. */
  readonly options: readonly string[];
}

/**
 * Finds the profile and the home. Starts nothing.
 *
 * @param options The profile, home and instance, if not the project's profile as its own instance in the usual home.
 * @returns The emulator that all functions take.
 * @throws {HotbootError} if there is no such profile, it is malformed, or the instance's name is invalid.
 */
export async function openEmulator(options: EmulatorOptions = {}): Promise<Emulator> {
  const { profile, home, instance, arch, signal, report } = options;
  const given = Object.entries({ profile, home, arch }).flatMap(([name, value]) => value ? [`--${name}`, value] : []);
  const named = instance === undefined ? [] : ["--instance", instance];
  const shown = await answer<Shown>({ signal, report }, ["profile", "show", "--json", ...given, ...named]);
  // A profile that is named needs no trust: the program that uses it already runs here.
  const isFound = profile === undefined && basename(shown.file) === "hotboot.json";
  return {
    profile: shown.profile,
    home: shown.home,
    instance: basename(shown.instance),
    options: [...given, ...isFound ? ["--profile", shown.file] : []],
    signal,
    report,
  };
}
