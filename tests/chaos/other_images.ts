/** More images in a home: one that a recipe makes, and two that come from servers. Nobody starts them. */

import { assert, assertEquals } from "@std/assert";
import { sha256File } from "../../lib/base/hash.ts";
import { IMAGE_PARTS, type ImageRecord } from "../../lib/image/image.ts";
import { GitHubServer, REPOSITORY } from "../e2e/github_server.ts";
import type { GuestHome } from "../e2e/guest_home.ts";
import { assertCode, hotboot, type Run } from "../e2e/program.ts";
import { ARCH, CACHE } from "../e2e/qemu.ts";
import { RegistryServer } from "../e2e/registry_server.ts";

const TAG = "v1";

/** A profile for each, with the micro guest's image. */
export class OtherImages implements AsyncDisposable {
  private constructor(
    readonly guest: GuestHome,
    readonly registry: RegistryServer,
    readonly github: GitHubServer,
  ) {}

  /** @param kernelBytes So much of the kernel is enough, because nobody starts it; by default all. */
  static async make(guest: GuestHome, kernelBytes?: number): Promise<OtherImages> {
    await using undoing = new AsyncDisposableStack();
    const [registry, github] = [undoing.use(await RegistryServer.start()), undoing.use(new GitHubServer())];
    const made = new OtherImages(guest, registry, github);
    await made.#writeProfiles(kernelBytes);
    undoing.move();
    return made;
  }

  /** The name of what `push` publishes, and the profile `pulled` pulls. */
  get published(): string {
    return `oci://${this.registry.host}/team/pulled:main`;
  }

  async #writeProfiles(kernelBytes?: number): Promise<void> {
    const { directory } = this.guest;
    const script = `${directory}/build.sh`;
    const from = `${CACHE}/images/micro-${ARCH}`;
    const take = (part: string) => kernelBytes === undefined ? `cp "${part}"` : `head -c ${kernelBytes} "${part}" >`;
    await Deno.writeTextFile(
      script,
      ["kernel", "initrd"].map((part) => `${take(`${from}.${part}`)} "$1/${part}"\n`).join("") +
        `qemu-img convert -c -O qcow2 "${from}.qcow2" "$1/disk.qcow2"\n`,
    );
    const profile = JSON.parse(await Deno.readTextFile(this.guest.profile));
    const names = { disk: "disk.qcow2", kernel: "kernel", initrd: "initrd" };
    for (
      const [name, image] of Object.entries({
        built: { build: { script, inputs: [script] } },
        pulled: { oci: this.published },
        released: { release: { repository: REPOSITORY, tag: TAG, branch: "dev", assets: names } },
      })
    ) await Deno.writeTextFile(`${directory}/${name}.json`, JSON.stringify({ ...profile, name, image }));
  }

  /** Publishes the image of `built` in a release. */
  async release(): Promise<void> {
    const base = this.#base("built");
    const assets = { "disk.qcow2": ".qcow2", kernel: ".kernel", initrd: ".initrd" };
    const read = ([name, end]: [string, string]) => Deno.readFile(base + end).then((bytes) => ({ name, bytes }));
    this.github.release(TAG, await Promise.all(Object.entries(assets).map(read)));
  }

  #base(profile: string): string {
    return `${this.guest.home}/images/${profile}-${ARCH}`;
  }

  /** The arguments for one of the profiles. */
  of(profile: string, verb: string, ...args: string[]): string[] {
    const { home, directory } = this.guest;
    return [verb, "--home", home, "--profile", `${directory}/${profile}.json`, ...args];
  }

  /** Runs hotboot, which must succeed. */
  async succeed(profile: string, verb: string, ...args: string[]): Promise<Run> {
    const { api, storage } = this.github;
    const env = { HOTBOOT_GITHUB_API: api, HOTBOOT_DOWNLOAD_HOSTS: new URL(storage.origin).host };
    const run = await hotboot(this.of(profile, verb, ...args), { env });
    assertCode(run, 0);
    return run;
  }

  /** A description of an image is there only with all its files, and they are what it says. */
  async assertImage(profile: string, must?: "is there"): Promise<void> {
    const base = this.#base(profile);
    const text = await Deno.readTextFile(`${base}.json`).catch(() => undefined);
    if (text === undefined) return assert(must === undefined, `no image of ${profile}`);
    const { files }: ImageRecord = JSON.parse(text);
    for (const [part, end] of Object.entries(IMAGE_PARTS)) {
      const file = files[part as keyof typeof files];
      if (file) assertEquals(await sha256File(base + end), file.sha256, `${profile}: ${part}`);
    }
  }

  async removeImage(profile: string): Promise<void> {
    for (const end of [".json", ...Object.values(IMAGE_PARTS)]) {
      await Deno.remove(this.#base(profile) + end).catch(() => {});
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.github[Symbol.asyncDispose]();
    await this.registry[Symbol.asyncDispose]();
  }
}
