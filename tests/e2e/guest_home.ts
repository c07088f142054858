/** A separate home for each guest: its image, its profile with free ports, and what hotboot does with them. */

import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path/from-file-url";
import { resolve } from "@std/path/resolve";
import { entriesIn } from "../../lib/base/entries.ts";
import { sleep } from "../../lib/base/wait.ts";
import { onPath } from "../../lib/base/on_path.ts";
import type { InstanceInfo } from "../../lib/emulator/list.ts";
import type { StartResult } from "../../lib/emulator/start.ts";
import type { Status } from "../../lib/emulator/status.ts";
import { IMAGE_PARTS } from "../../lib/image/image.ts";
import type { InstanceRecord } from "../../lib/instance/record.ts";
import type { Build, Profile, ScriptRecipe } from "../../lib/profile/profile.ts";
import type { Arch } from "../../lib/vm/arch.ts";
import { assertCode, hotboot, type Run, type RunOptions, spawnHotboot, spawnOnTerminal } from "./program.ts";
import { ARCH, CACHE, QEMU, qemuEnv } from "./qemu.ts";
import { freePort, type Lease, leasePorts, shareCapture } from "./shared.ts";

const ROOT = fromFileUrl(new URL("../../", import.meta.url));

/** From the end of the connection to QEMU, or from its kill, to the end of the process. */
export const ENDING_MS = 5000;

const built = new Map<string, Promise<string>>();

/** Builds a guest's image, unless it exists, and returns the build's run. */
export async function buildImage(guest: Guest, arch: Arch): Promise<string> {
  const run = await hotboot(["build", "--home", CACHE, "--profile", PROFILES[guest], "--arch", arch]);
  assertCode(run, 0);
  return run.stderr;
}

/** The profiles of the tests' guests. */
export const PROFILES = {
  micro: `${ROOT}qemu/micro/profile.json`,
  demo: `${ROOT}qemu/demo/profile.json`,
  efi: `${ROOT}tests/e2e/efi/profile.json`,
  "stack-standin": `${ROOT}tests/e2e/standin/profile.json`,
};
export type Guest = keyof typeof PROFILES;

/** The recipe with absolute paths instead of paths relative to the profile. */
export function absoluteRecipe(guest: Guest, recipe: Build): Build {
  const path = (relative: string) => resolve(PROFILES[guest], "..", relative);
  const script = ({ script, inputs }: ScriptRecipe) => ({ script: path(script), inputs: inputs.map(path) });
  if ("script" in recipe) return script(recipe);
  const { base, userData, bundle } = recipe.cloudInit;
  return {
    cloudInit: {
      ...recipe.cloudInit,
      base: "script" in base ? script(base) : base,
      userData: path(userData),
      ...(bundle && { bundle: { ...bundle, paths: bundle.paths.map(path) } }),
    },
  };
}

/** What a test may change in a guest's profile, and where to put its home. */
export interface GuestOptions {
  /** `micro` by default. */
  guest?: Guest;
  /** Its architecture; by default the host's. */
  arch?: Arch;
  /** The path of a QEMU to use instead of the tests' usual one. */
  qemu?: string;
  /** MiB. */
  memory?: number;
  /** More health checks, on its first port. */
  checks?: { name: string; path: string }[];
  /** Whether it starts with a snapshot, shared with other tests. For tests that are not about capturing. */
  captured?: boolean;
  /** Any other change to its profile. */
  change?: (profile: Profile) => void;
  /** The directory in which to make the home. */
  parent?: string;
  /** The home's own name. */
  name?: string;
}

/** A home with a guest's image, and a profile with free ports. */
export class GuestHome implements AsyncDisposable {
  readonly guest: Guest;
  readonly arch: Arch;
  /** The QEMU that it uses: a path, or a name to look up. */
  readonly qemu: string;
  readonly directory: string;
  readonly home: string;
  readonly profile: string;
  /** The guest's original profile. */
  readonly original: Profile;
  /** Free ports of the host, by the profile's names. */
  readonly ports: Record<string, number>;
  readonly #options: GuestOptions;
  readonly #lease?: Lease;

  private constructor(guest: Guest, directory: string, original: Profile, options: GuestOptions, lease?: Lease) {
    this.guest = guest;
    this.arch = options.arch ?? ARCH;
    this.qemu = options.qemu ?? QEMU[this.arch];
    this.directory = directory;
    this.home = `${directory}/${options.name ?? "home"}`;
    this.profile = `${directory}/${guest}.json`;
    this.original = original;
    this.ports = lease?.ports ?? Object.fromEntries(Object.keys(original.ports).map((name) => [name, freePort()]));
    this.#lease = lease;
    this.#options = options;
  }

  static async make(options: GuestOptions = {}): Promise<GuestHome> {
    const { guest = "micro", arch = ARCH, parent } = options;
    const key = `${guest}-${arch}`;
    if (!built.has(key)) built.set(key, buildImage(guest, arch));
    await built.get(key);
    const directory = await Deno.makeTempDir({ dir: parent, prefix: "hotboot-test-" });
    const original = JSON.parse(await Deno.readTextFile(PROFILES[guest]));
    const lease = options.captured ? await leasePorts(guest, Object.keys(original.ports)) : undefined;
    const made = new GuestHome(guest, directory, original, options, lease);
    await made.writeProfile();
    const [from, to] = [`${CACHE}/images/${key}`, `${made.home}/images/${key}`];
    await Deno.mkdir(`${made.home}/images`, { recursive: true, mode: 0o700 });
    await Deno.copyFile(`${from}.json`, `${to}.json`);
    const { files } = JSON.parse(await Deno.readTextFile(`${from}.json`));
    for (const [part, end] of Object.entries(IMAGE_PARTS)) {
      if (!files[part]) continue;
      const paths = [`${from}${end}`, `${to}${end}`] as const;
      await Deno.symlink(...paths).catch(() => Deno.copyFile(...paths)); // not every file system has links
    }
    if (options.captured) await shareCapture(made);
    return made;
  }

  /** The same guest in another home beside this one: a copy of it, or where it has been moved. Dispose of this one only. */
  inHome(name: string): GuestHome {
    return new GuestHome(this.guest, this.directory, this.original, { ...this.#options, name });
  }

  /** A home whose guest has been captured and resumed, for tests that begin there. */
  static async started(options: GuestOptions = {}): Promise<GuestHome> {
    const made = await GuestHome.make({ ...options, captured: true });
    await made.start("--no-fallback");
    return made;
  }

  /** The host port of the guest's first service. */
  get port(): number {
    return Object.values(this.ports)[0];
  }

  /** Writes the profile again, with another memory size or first port. */
  async writeProfile(changes: { memory?: number; port?: number; path?: string } = {}): Promise<void> {
    const { checks = [], memory, change = () => {} } = this.#options;
    const { machine, ports, health } = this.original;
    const [first] = Object.keys(ports);
    const hostPorts = { ...this.ports, ...(changes.port && { [first]: changes.port }) };
    const profile = {
      ...structuredClone(this.original),
      $schema: undefined,
      image: { build: absoluteRecipe(this.guest, this.original.image.build!) },
      machine: { ...machine, memory: changes.memory ?? memory ?? machine.memory },
      ports: Object.fromEntries(
        Object.entries(ports).map(([name, { guest }]) => [name, { guest, host: hostPorts[name] }]),
      ),
      health: [...health, ...checks.map((check) => ({ ...check, port: first }))],
      timeouts: { boot: 300, resume: 60 }, // no machine is too slow
    };
    change(profile);
    await Deno.writeTextFile(changes.path ?? this.profile, JSON.stringify(profile));
  }

  /** The arguments that make hotboot use this home; `verb` may be two words. */
  arguments(verb: string, ...args: string[]): string[] {
    const end = args.indexOf("--");
    const [before, after] = end < 0 ? [args, []] : [args.slice(0, end), args.slice(end)];
    const common = [
      "--home",
      this.home,
      "--profile",
      this.profile,
      ...(this.arch === ARCH ? [] : ["--arch", this.arch]),
    ];
    return [...verb.split(" "), ...common, ...before, ...after];
  }

  /** Runs hotboot on this home. The commands in its messages are without the options that each run here has. */
  async run(verb: string, args: string[] = [], options: RunOptions = {}): Promise<Run> {
    const { stderr, ...rest } = await hotboot(this.arguments(verb, ...args), this.#withQemu(options));
    return { ...rest, stderr: stderr.replaceAll(` --profile ${this.profile} --home ${this.home}`, "") };
  }

  /** Starts hotboot on a terminal. */
  spawnOnTerminal(verb: string, ...args: string[]): Deno.ChildProcess {
    return spawnOnTerminal(this.arguments(verb, ...args), this.#withQemu({}));
  }

  /** Starts hotboot, for a test that does something meanwhile. */
  spawn(verb: string, ...args: string[]): Deno.ChildProcess {
    return this.spawnWith({}, verb, ...args);
  }

  /** The same, with options. */
  spawnWith(options: RunOptions, verb: string, ...args: string[]): Deno.ChildProcess {
    return spawnHotboot(this.arguments(verb, ...args), this.#withQemu(options));
  }

  /** The options, with the QEMU that it uses first on PATH. */
  #withQemu(options: RunOptions): RunOptions {
    const qemu = this.qemu.includes("/") && qemuEnv(this.qemu, this.arch);
    return { ...options, env: { ...qemu, ...options.env } };
  }

  /** The same, for a run that must succeed; returns its output. */
  async succeed(verb: string, args: string[] = [], options: RunOptions = {}): Promise<string> {
    const run = await this.run(verb, args, options);
    assertCode(run, 0, run.code === 0 ? "" : await this.#consoles());
    return run.stdout;
  }

  /** The ends of the guests' consoles. */
  async #consoles(): Promise<string> {
    const ends: string[] = [];
    for (const { name } of await entriesIn(`${this.home}/instances`)) {
      const log = await Deno.readTextFile(`${this.home}/instances/${name}/serial.log`).catch(() => "");
      if (log !== "") ends.push(`\nconsole of ${name}: ${log.slice(-2000)}`);
    }
    return ends.join("");
  }

  /** Starts it and returns the output of `--json`. */
  async start(...args: string[]): Promise<StartResult> {
    return JSON.parse(await this.succeed("start", ["--json", ...args]));
  }

  /** The output of a program in the guest. */
  exec(...command: string[]): Promise<string> {
    return this.succeed("exec", ["--", ...command]);
  }

  /** The answer of the micro guest's HTTP service. */
  async health(): Promise<{ uptime: number; time: number }> {
    const response = await fetch(`http://127.0.0.1:${this.port}/cgi-bin/health`);
    return await response.json();
  }

  /** Asserts that its clock is within so many seconds of the host's, however long the answer takes. */
  async assertOnTime(within = 1.5): Promise<void> {
    const before = Date.now() / 1000;
    const { time } = await this.health();
    const after = Date.now() / 1000;
    assert(time > before - within && time < after + within, `its clock says ${time} between ${before} and ${after}`);
  }

  /** The directory of the profile's own instance. */
  get instance(): string {
    return `${this.home}/instances/${this.guest}`;
  }

  /** The output of `status`, for an instance in any state. */
  async status(...args: string[]): Promise<Status> {
    const { stdout } = await this.run("status", ["--json", ...args]);
    return JSON.parse(stdout);
  }

  /** The states of its instances by their names, without what a capture has left in the profile's own. */
  async states(): Promise<Record<string, string>> {
    const all: InstanceInfo[] = JSON.parse(await this.succeed("list", ["--json"]));
    const list = all.filter(({ instance, state }) => instance !== this.guest || state !== "stopped");
    return Object.fromEntries(list.map(({ instance, state }) => [instance, state]));
  }

  /** `instance.json`. */
  async record(instance: string = this.guest): Promise<InstanceRecord> {
    return JSON.parse(await Deno.readTextFile(`${this.home}/instances/${instance}/instance.json`));
  }

  /** The path of one of the running instance's sockets. */
  socket(name: "monitor" | "agent" | "migration"): string {
    return `${this.instance}/${name}.sock`;
  }

  /** The directory of the only snapshot. */
  async snapshot(): Promise<string> {
    const directory = `${this.home}/snapshots/${this.guest}-${this.arch}`;
    const names = (await Array.fromAsync(Deno.readDir(directory))).map(({ name }) => name);
    assertEquals(names.length, 1, names.join());
    return `${directory}/${names[0]}`;
  }

  /** An environment in which a shell script wraps this home's QEMU; `script` gets QEMU's absolute path. */
  async wrappedQemu(script: (qemu: string) => string): Promise<Record<string, string>> {
    const real = this.qemu.includes("/") ? this.qemu : await onPath(this.qemu); // its name would find the script
    const wrapper = `${this.directory}/wrapped-qemu`;
    await Deno.writeTextFile(wrapper, `#!/bin/sh\n${script(real!)}\n`);
    await Deno.chmod(wrapper, 0o755);
    return qemuEnv(wrapper, this.arch);
  }

  /** The process ids of all QEMUs that this home's hotboot has started. */
  async qemuProcesses(): Promise<number[]> {
    const found: number[] = [];
    for await (const { name } of Deno.readDir("/proc")) {
      if (!/^\d+$/.test(name)) continue;
      const line = await Deno.readTextFile(`/proc/${name}/cmdline`).catch(() => "");
      if (/^[^\0]*qemu-system/.test(line) && line.includes(`${this.directory}/`)) found.push(Number(name));
    }
    return found;
  }

  /** Those that do not end: a command that ends one returns when QEMU has closed its monitor, a moment before. */
  async qemusLeft(but: number[] = []): Promise<number[]> {
    let left: number[] = [];
    for (const end = Date.now() + ENDING_MS; Date.now() < end; await sleep(50)) {
      left = (await this.qemuProcesses()).filter((pid) => !but.includes(pid));
      if (left.length === 0) break;
    }
    return left;
  }

  /** Ends what runs and removes the home. Fails if a QEMU runs that nothing in the home knows about. */
  async [Symbol.asyncDispose](): Promise<void> {
    const instances = await Array.fromAsync(Deno.readDir(`${this.home}/instances`)).catch(() => []);
    const said: string[] = [];
    for (const { name } of instances) {
      if (name.startsWith(".")) continue; // a shared disk
      const { code, stderr } = await this.run("reset", ["--instance", name]);
      if (code !== 0) said.push(stderr);
    }
    const left = await this.qemusLeft();
    for (const pid of left) {
      said.push(await Deno.readTextFile(`/proc/${pid}/cmdline`).catch(() => "a QEMU that was about to end"));
      Deno.kill(pid, "SIGKILL");
    }
    await Deno.remove(this.directory, { recursive: true });
    this.#lease?.[Symbol.dispose]();
    assert(left.length === 0, `a QEMU was left running: ${said.join("\n")}`);
  }
}
