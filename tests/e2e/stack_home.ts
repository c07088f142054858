/** A home for the built-in profile `stack`, as its users have it: set up by variables, with an image from GitHub. */

import { assertEquals } from "@std/assert";
import type { StartResult } from "../../lib/emulator/start.ts";
import { GitHubServer } from "./github_server.ts";
import { GuestHome } from "./guest_home.ts";
import { assertCode, hotboot, type Run, spawnHotboot } from "./program.ts";
import { ARCH } from "./qemu.ts";
import { freePort } from "./shared.ts";

const PREFIX = "STACK_SEED_INTERNAL_PROJECT_";
/** The secrets' names. */
export const SECRETS = {
  client: `${PREFIX}PUBLISHABLE_CLIENT_KEY`,
  server: `${PREFIX}SECRET_SERVER_KEY`,
  admin: `${PREFIX}SUPER_SECRET_ADMIN_KEY`,
  cron: "CRON_SECRET",
};
/** Their placeholders in the image. */
export const PLACEHOLDERS = {
  client: placeholder("f"),
  server: placeholder("e"),
  admin: placeholder("d"),
  cron: placeholder("c"),
};
/** The secrets' values, by their purpose. */
export type Keys = typeof PLACEHOLDERS;
/** The first digits of the guest's ports. */
export const PORT_PREFIX = "92";

function placeholder(digit: string): string {
  return "0".repeat(32) + digit.repeat(32);
}

export class StackHome implements AsyncDisposable {
  /** The directory in which hotboot runs. */
  readonly directory: string;
  /** STACK_EMULATOR_HOME. */
  readonly home: string;
  /** The image's disk, after a pull. */
  readonly disk: string;
  /** The host's ports. */
  readonly ports = { dashboard: freePort(), backend: freePort(), minio: freePort(), inbucket: freePort() };
  readonly github = new GitHubServer("stack-auth/stack-auth");
  readonly #guest: GuestHome;
  readonly #env: Record<string, string>;

  private constructor(guest: GuestHome) {
    this.#guest = guest;
    this.directory = guest.directory;
    this.home = `${guest.directory}/emulator`;
    this.disk = `${this.home}/images/stack-emulator-${ARCH}.qcow2`;
    const ports = Object.entries(this.ports).map(([name, port]) => [`EMULATOR_${name.toUpperCase()}_PORT`, `${port}`]);
    this.#env = {
      ...Object.fromEntries(ports),
      HOTBOOT_HOME: "",
      STACK_EMULATOR_HOME: this.home,
      EMULATOR_RAM: "1024",
      EMULATOR_CPUS: "2",
      EMULATOR_READY_TIMEOUT: "900", // enough for any machine
      EMULATOR_SNAPSHOT_READY_TIMEOUT: "300",
      PORT_PREFIX,
      HOTBOOT_GITHUB_API: this.github.api,
      HOTBOOT_DOWNLOAD_HOSTS: new URL(this.github.storage.origin).host,
      GITHUB_ENTERPRISE_TOKEN: "",
      GH_ENTERPRISE_TOKEN: "",
    };
  }

  /** A home whose release has the stand-in's disk. */
  static async make(): Promise<StackHome> {
    const guest = await GuestHome.make({ guest: "stack-standin" });
    const made = new StackHome(guest);
    const bytes = await Deno.readFile(`${guest.home}/images/stack-standin-${ARCH}.qcow2`);
    made.github.release("emulator-dev-latest", [{ name: `stack-emulator-${ARCH}.qcow2`, bytes }]);
    return made;
  }

  /** A file of the instance. */
  file(name: string): string {
    return `${this.home}/run/vm/${name}`;
  }

  /** The text of `internal-pck`, which has the CLI's own key, or `undefined` if there is none. */
  internalPck(): Promise<string | undefined> {
    return Deno.readTextFile(this.file("internal-pck")).catch(() => undefined);
  }

  run(args: string[], env: Record<string, string> = {}): Promise<Run> {
    return hotboot(args, { cwd: this.directory, env: { ...this.#env, ...env } });
  }

  spawn(args: string[], env: Record<string, string> = {}): Deno.ChildProcess {
    return spawnHotboot(args, { cwd: this.directory, env: { ...this.#env, ...env } });
  }

  /** A run that must succeed without a warning; returns its output. */
  async succeed(args: string[], env?: Record<string, string>): Promise<string> {
    const done = await this.run(args, env);
    assertCode(done, 0);
    assertEquals(warnings(done), []);
    return done.stdout;
  }

  /** The same with `--json`. */
  // deno-lint-ignore no-explicit-any -- each command has its own type
  async json(args: string[], env?: Record<string, string>): Promise<any> {
    return JSON.parse(await this.succeed([...args, "--json"], env));
  }

  /** Starts it with these options. */
  start(...args: string[]): Promise<StartResult> {
    return this.json(["start", ...args]);
  }

  /** The output of `status`, and its exit code. */
  async status() {
    const { code, stdout } = await this.run(["status", "--json"]);
    return { code, ...JSON.parse(stdout) };
  }

  /** The output of a program in the guest. */
  exec(...command: string[]): Promise<string> {
    return this.succeed(["exec", "--", ...command]);
  }

  /** The output of a shell command in the container. */
  inContainer(line: string): Promise<string> {
    return this.exec("docker", "exec", "stack", "bash", "-c", line);
  }

  /** The keys of this run. */
  async keys(): Promise<Keys> {
    const all = await this.json(["credentials"]);
    return Object.fromEntries(Object.entries(SECRETS).map(([what, name]) => [what, all[name]])) as Keys;
  }

  /** The backend's HTTP statuses for the keys. */
  async statuses(keys: Keys): Promise<Record<keyof Keys, number>> {
    const header = { client: "publishable-client-key", server: "secret-server-key", admin: "super-secret-admin-key" };
    const current = async (access: keyof typeof header) =>
      (await this.ask("/api/v1/projects/current", {
        "x-stack-project-id": "internal",
        "x-stack-access-type": access,
        [`x-stack-${header[access]}`]: keys[access],
      })).status;
    return {
      client: await current("client"),
      server: await current("server"),
      admin: await current("admin"),
      cron: (await this.ask("/api/latest/internal/email-queue-step", { authorization: `Bearer ${keys.cron}` })).status,
    };
  }

  /** Asks the backend. */
  async ask(path: string, headers: Record<string, string> = {}): Promise<{ status: number; text: string }> {
    const response = await fetch(`http://127.0.0.1:${this.ports.backend}${path}`, { headers });
    return { status: response.status, text: await response.text() };
  }

  /** Ends what runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.run(["reset"]);
    await this.github[Symbol.asyncDispose]();
    await this.#guest[Symbol.asyncDispose]();
  }
}

/** A run's warnings, except those that this machine is slow, and that the share has all of the host's files. */
export function warnings({ stderr }: Run): string[] {
  const expected = /HOTBOOT_ACCEL=|the guest can read and change all of your files below /;
  return stderr.split("\n").filter((line) => line.startsWith("hotboot: warning: ") && !expected.test(line));
}
