/** A home for images from a server that behaves like GitHub. */

import { assertEquals, assertMatch } from "@std/assert";
import { GitHubServer, REPOSITORY } from "./github_server.ts";
import { assertCode, hotboot, type Run } from "./program.ts";
import { ARCH } from "./qemu.ts";
import { freePort } from "./shared.ts";

export const MIB = 2 ** 20;

/** A disk with a valid qcow2 header and recognisable content. */
export function disk(size: number, mark: number): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += 4096) bytes[at] = (at / 4096 + mark) & 0xff;
  bytes.set([0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3]);
  bytes.set([mark], size - 1);
  return bytes;
}

/** A home, a profile that names the server's releases, and hotboot with both. */
export class PullHome implements AsyncDisposable {
  readonly github = new GitHubServer();
  env: Record<string, string>;

  private constructor(readonly directory: string) {
    this.env = {
      HOTBOOT_GITHUB_API: this.github.api,
      HOTBOOT_DOWNLOAD_HOSTS: new URL(this.github.storage.origin).host,
      GITHUB_ENTERPRISE_TOKEN: "",
      GH_ENTERPRISE_TOKEN: "",
      PATH: `${directory}/bin`,
    };
  }

  static async make(assets: Record<string, string> = { disk: "emulator-{arch}.qcow2" }): Promise<PullHome> {
    const made = new PullHome(await Deno.makeTempDir({ prefix: "hotboot-pull-" }));
    await Deno.writeTextFile(
      made.profile,
      JSON.stringify({
        name: "pulled",
        image: {
          release: {
            repository: REPOSITORY,
            tag: "emulator-{branch}-latest",
            branch: "dev",
            assets,
            workflow: "build.yaml",
            artifact: "qemu-emulator-{arch}",
          },
        },
        machine: { memory: 256, cpus: 2, append: "console=ttyS0 quiet" },
        ports: { web: { guest: 8080, host: freePort() } },
        config: { label: "microcfg", files: { "runtime.env": [] } },
        health: [{ name: "web", port: "web", path: "/cgi-bin/health" }],
      }),
    );
    return made;
  }

  get profile(): string {
    return `${this.directory}/profile.json`;
  }

  get home(): string {
    return `${this.directory}/home`;
  }

  arguments(verb: string, ...args: string[]): string[] {
    return [verb, "--home", this.home, "--profile", this.profile, ...args];
  }

  run(verb: string, ...args: string[]): Promise<Run> {
    return hotboot(this.arguments(verb, ...args), { env: this.env });
  }

  pull(...args: string[]): Promise<Run> {
    return this.run("pull", "--skip-snapshot", ...args);
  }

  /** The pulled disk. */
  image(part = ".qcow2"): Promise<Uint8Array> {
    return Deno.readFile(`${this.home}/images/pulled-${ARCH}${part}`);
  }

  async expectRefusal(run: Promise<Run>, why: RegExp, code = 1): Promise<void> {
    const result = await run;
    assertCode(result, code);
    assertMatch(result.stderr, why);
    assertEquals(result.stderr.trimEnd().split("\n").length, 1, result.stderr);
    assertEquals(result.stdout, "");
  }

  /** The same, after steps and warnings. */
  async expectRefusalAtEnd(run: Promise<Run>, why: RegExp): Promise<void> {
    const result = await run;
    assertCode(result, 1);
    assertMatch(result.stderr.trimEnd().split("\n").at(-1)!, why);
    assertEquals(result.stdout, "");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.run("stop", "--discard", "-q");
    await this.github[Symbol.asyncDispose]();
    await Deno.remove(this.directory, { recursive: true });
  }
}
