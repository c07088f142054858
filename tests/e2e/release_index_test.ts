/**
 * Images of releases with an index of their chunks. The server stands in for GitHub: its API redirects to storage on another
 * host, whose addresses are signed and expire, which sends ranges with 206 and refuses an expired address with 403 (GitHub's
 * REST API, "Get a release asset"). It cannot show what GitHub's own storage does under load.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { encodeHex } from "@std/encoding/hex";
import { indexName, packName } from "../../lib/oci/asset_index.ts";
import type { AssetsResult } from "../../lib/image/assets.ts";
import type { PullResult } from "../../lib/image/pulling.ts";
import { random } from "../unit/random.ts";
import { TOKEN } from "./github_server.ts";
import { assertCode, type Run, spawnHotboot } from "./program.ts";
import { ARCH } from "./qemu.ts";
import { lackOfSmallDisks, smallDisk, testUnless } from "./needs.ts";
import { until } from "./pace.ts";
import { MIB, PullHome } from "./pull_home.ts";
import { tool } from "./snapshots.ts";

const TAG = "emulator-dev-latest";
const DISK = `emulator-${ARCH}.qcow2`;
const [INDEX, PACK] = [indexName(DISK), packName(DISK, 1)];
const SIZE = 24 * MIB;

type Pulled = PullResult & { origin: { index?: string } };

/** Who publishes an image of noise, and who pulls it. */
class Setting implements AsyncDisposable {
  private constructor(readonly user: PullHome) {}

  static async make(): Promise<Setting> {
    const setting = new Setting(await PullHome.make());
    const next = random(11);
    const words = Uint32Array.from({ length: SIZE / 4 }, () => next() * 2 ** 32);
    await Deno.writeFile(setting.raw, new Uint8Array(words.buffer));
    return setting;
  }

  get raw(): string {
    return `${this.user.directory}/raw`;
  }

  get published(): string {
    return `${this.user.directory}/published`;
  }

  /** Builds an image with `text` in the middle of its disk, and writes the files of its release. */
  async build(text: string): Promise<AssetsResult> {
    using file = await Deno.open(this.raw, { write: true });
    await file.seek(SIZE / 2, Deno.SeekMode.Start);
    await file.write(new TextEncoder().encode(text));
    const images = `${this.user.directory}/publisher/images`;
    await Deno.mkdir(images, { recursive: true });
    await Deno.remove(`${images}/pulled-${ARCH}.json`).catch(() => {});
    await tool(`qemu-img convert -c -O qcow2 ${this.raw} ${images}/pulled-${ARCH}.qcow2`);
    const run = await this.user.run("push", "--assets", this.published, "--json", "--home", `${images}/..`);
    assertCode(run, 0);
    return JSON.parse(run.stdout);
  }

  /** Uploads files of the last build, those of the names. */
  async upload(names = [DISK, INDEX, PACK]): Promise<void> {
    const assets = names.map(async (name) => ({ name, bytes: await Deno.readFile(`${this.published}/${name}`) }));
    this.user.github.release(TAG, await Promise.all(assets));
  }

  async pull(...args: string[]): Promise<Pulled & { stderr: string }> {
    const run = await this.user.pull("--json", ...args);
    assertCode(run, 0);
    return { ...JSON.parse(run.stdout), stderr: run.stderr };
  }

  /** Whether the user's disk has the content of the last build. */
  async isRight(): Promise<void> {
    await tool(`qemu-img compare -q -f qcow2 -F raw ${this.user.home}/images/pulled-${ARCH}.qcow2 ${this.raw}`);
  }

  /** Nothing of the image is on the user's machine. */
  async forget(): Promise<void> {
    await Deno.remove(this.user.home, { recursive: true }).catch(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.user[Symbol.asyncDispose]();
  }
}

Deno.test("release index: of the next build only what has changed is fetched, whatever form the earlier image has", async (t) => {
  await using setting = await Setting.make();
  const { user } = setting;
  const { github } = user;
  user.env.GITHUB_ENTERPRISE_TOKEN = TOKEN;
  await t.step("push writes the image, its chunks and their index", async () => {
    const { files, directory, size } = await setting.build("one");
    assertEquals([files, directory], [[DISK, PACK, INDEX], setting.published]);
    assertEquals(size, (await Deno.stat(`${directory}/${PACK}`)).size);
    const sha256 = async (name: string) => (await tool(`sha256sum ${setting.published}/${name}`)).slice(0, 64);
    const index = JSON.parse(await Deno.readTextFile(`${directory}/${INDEX}`));
    assertEquals([index.whole.sha256, index.packs[0].sha256], [await sha256(DISK), await sha256(PACK)]);
    await setting.build("one");
    const again = JSON.parse(await Deno.readTextFile(`${directory}/${INDEX}`));
    again.description.created = index.description.created;
    assertEquals(again, index, "the same image has another index");
  });
  await t.step("a release without an index is pulled as before", async () => {
    await setting.upload([DISK]);
    const { size, moved, origin, stderr } = await setting.pull();
    assertEquals([size, moved, origin.index], [undefined, undefined, undefined]);
    assert(!/index|warning/.test(stderr), stderr);
    assertEquals(await user.image(), await Deno.readFile(`${setting.published}/${DISK}`));
  });
  await t.step("an index that is added to it makes it no other image", async () => {
    await setting.upload();
    assertEquals((await setting.pull()).pulled, false);
  });
  for (const build of ["two", "three"]) {
    await t.step(`build ${build}`, async () => {
      await setting.build(build);
      await setting.upload();
      github.seen.length = github.storage.seen.length = 0;
      const { pulled, size, moved, origin } = await setting.pull();
      assert(pulled && origin.index !== undefined);
      assert(moved! > 0 && moved! <= 0.15 * size!, `${moved} of ${size}`);
      await setting.isRight();
      // The API counts requests: of each file it is asked once where it is.
      assertEquals(github.seen.filter(({ path }) => path.includes("/assets/")).length, 2);
      assert(github.seen.every(({ authorization }) => authorization === `Bearer ${TOKEN}`));
      for (const { headers } of github.storage.seen) assertEquals(headers.get("authorization"), null);
    });
  }
  await t.step("the whole image may be left out", async () => {
    await setting.upload([INDEX, PACK]);
    await setting.forget();
    const { moved, size } = await setting.pull();
    assert(moved! >= size!, `${moved} of ${size}`);
    await setting.isRight();
    const listed = JSON.parse((await user.run("list-releases", "--json")).stdout);
    assertEquals(listed[0].bytes, size);
    // Chunks that lie side by side come together.
    await setting.forget();
    github.storage.seen.length = 0;
    await setting.pull();
    const chunks = JSON.parse(await Deno.readTextFile(`${setting.published}/${INDEX}`)).frames.length;
    const ranges = github.storage.seen.filter(({ path }) => path.includes(PACK)).length;
    assert(ranges <= 1 + Math.ceil(SIZE / (2 * MIB)) && ranges < chunks / 2, `${ranges} for ${chunks} chunks`);
  });
  await t.step("what makes no sense is refused", async () => {
    const refuses = (run: Promise<Run>, why: RegExp, code = 1) => user.expectRefusal(run, why, code);
    await refuses(
      user.run("push", "--assets", "x", "oci://a.example/b"),
      /--assets writes files, for which oci:.* has no/,
      2,
    );
    await refuses(user.run("push", "--assets", "x", "--force"), /for which --force has no meaning: leave it out/, 2);
    await setting.forget();
    await refuses(user.run("push", "--assets", setting.published), /there is no image of 'pulled' to push/);
    await setting.upload([PACK]);
    await refuses(user.pull(), new RegExp(`has no ${DISK}, only ${PACK}: choose another with --tag`));
  });
});

Deno.test("release index: one that is old, damaged or of no use gives way to the whole image, and says so", async (t) => {
  await using setting = await Setting.make();
  const { user } = setting;
  await setting.build("old");
  const [oldIndex, oldPack] = await Promise.all(
    [INDEX, PACK].map((name) => Deno.readFile(`${setting.published}/${name}`)),
  );
  await setting.build("new");
  const file = async (name: string) => ({ name, bytes: await Deno.readFile(`${setting.published}/${name}`) });
  const [disk, index, pack] = await Promise.all([DISK, INDEX, PACK].map(file));
  const sha256 = async (bytes: Uint8Array) =>
    encodeHex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes.slice())));
  const changed = async (change: (value: ReturnType<typeof JSON.parse>) => void) => {
    const value = JSON.parse(new TextDecoder().decode(index.bytes));
    await change(value);
    return { name: INDEX, bytes: new TextEncoder().encode(JSON.stringify(value)) };
  };
  const wrong = { name: PACK, bytes: pack.bytes.map((byte, at) => at === pack.bytes.length >> 1 ? byte ^ 1 : byte) };
  const packDigest = await sha256(wrong.bytes);
  const cases: [string, { name: string; bytes: Uint8Array }[], RegExp][] = [
    [
      "an older index",
      [disk, { name: INDEX, bytes: oldIndex }, { name: PACK, bytes: oldPack }],
      /is another\): ask its publisher to upload all/,
    ],
    ["a newer pack", [disk, { name: INDEX, bytes: oldIndex }, pack], new RegExp(`${PACK} is another\\)`)],
    ["no pack", [disk, index], new RegExp(`${PACK} is missing\\)`)],
    ["no JSON", [disk, { name: INDEX, bytes: new Uint8Array(5) }, pack], /its index is not JSON/],
    ["a newer form", [disk, await changed((value) => value.version = 2), pack], /is of version 2 instead of 1/],
    [
      "places beyond the pack",
      [disk, await changed((value) => value.frames[3].offset = 1e9), pack],
      /that no pack has/,
    ],
    [
      "a pack elsewhere",
      [disk, await changed((value) => value.packs[0].name = "../x"), pack],
      /names a pack that is none/,
    ],
    ["another kind of disk", [
      disk,
      await changed((value) => value.description.files.kernel = value.description.files.disk),
      pack,
    ], /it has disk, kernel, and the profile names disk/],
    [
      "wrong chunks",
      [disk, await changed((value) => value.packs[0].sha256 = packDigest), wrong],
      /a chunk of the image is not what its description says/,
    ],
    [
      "another whole",
      [disk, await changed((value) => value.description.files.disk.sha256 = "0".repeat(64)), pack],
      /the image's disk is not what its description says/,
    ],
  ];
  for (const [name, assets, why] of cases) {
    await t.step(name, async () => {
      await setting.forget();
      user.github.release(TAG, assets);
      const { origin, stderr } = await setting.pull();
      assertEquals(origin.index, undefined);
      assertMatch(stderr, /warning: the whole image is downloaded, because /);
      assertMatch(stderr, why);
      assertEquals(await user.image(), disk.bytes);
      if (name === "an older index") return; // with its own pack it is an image of its own
      // Without the whole image, that is the error, and nothing is left that the next pull could trust.
      await setting.forget();
      user.github.release(TAG, assets.slice(1));
      const run = await user.pull();
      assertCode(run, 1);
      assertMatch(run.stderr.trimEnd().split("\n").at(-1)!, why);
      const left = await Array.fromAsync(Deno.readDir(`${user.home}/images`), (entry) => entry.name);
      assertEquals(left.filter((each) => each.includes("qcow2") || each.startsWith(".pull")), []);
    });
  }
  await t.step("GitHub gives no digests", async () => {
    await setting.forget();
    user.github.withoutDigests = true;
    user.github.release(TAG, [disk, index, pack]);
    const { origin } = await setting.pull();
    assertEquals(origin.index, undefined);
    user.github.withoutDigests = false;
  });
  await t.step("the chunks are more than the whole", async () => {
    await setting.forget();
    // A disk of zeros is nothing as a whole; the index is told that this is it.
    const small = { name: DISK, bytes: disk.bytes.slice(0, MIB) };
    const digest = await sha256(small.bytes);
    user.github.release(TAG, [small, await changed((value) => value.whole = { size: MIB, sha256: digest }), pack]);
    const { origin, stderr } = await setting.pull("--verbose");
    assertEquals(origin.index, undefined);
    assertMatch(stderr, /the whole image is less to download/);
  });
});

testUnless(
  await lackOfSmallDisks(),
  "release index: the whole image is downloaded where there is no space for the disk in the form of chunks",
  async () => {
    await using setting = await Setting.make();
    const { user } = setting;
    // The same KiB again and again is nothing when it is compressed.
    const part = (await Deno.readFile(setting.raw)).subarray(0, 1024);
    const all = new Uint8Array(SIZE);
    for (let at = 0; at < SIZE; at += part.length) all.set(part, at);
    await Deno.writeFile(setting.raw, all);
    await setting.build("one");
    await setting.upload();
    await using _disk = await smallDisk(user.home, 36); // 16 MiB of them stay free
    const { origin, stderr } = await setting.pull();
    assertEquals(origin.index, undefined);
    assertMatch(stderr, /warning: the whole image is downloaded, because the image needs 2\d MB of disk/);
    await setting.isRight();
  },
);

Deno.test("release index: storage without ranges, and addresses that expire, are survived; a killed pull goes on", async (t) => {
  await using setting = await Setting.make();
  const { user } = setting;
  const { github } = user;
  const { storage } = github;
  await setting.build("one");
  await setting.upload();
  const ofPack = () => storage.seen.filter(({ path }) => path.includes("pack-1"));
  const disturbed = async (
    name: string,
    fault: NonNullable<typeof storage.options.fault>,
    test: (pulled: Pulled & { stderr: string }) => void = () => {},
  ) => {
    await t.step(name, async () => {
      await setting.forget();
      storage.seen.length = 0;
      storage.options.fault = (seen) => seen.path.includes("pack-1") ? fault(seen) : undefined;
      const pulled = await setting.pull();
      storage.options.fault = undefined;
      assert(pulled.origin.index);
      await setting.isRight();
      test(pulled);
    });
  };
  await disturbed("ranges are ignored", () => ({ ignoreRange: true }), ({ stderr, moved, size }) => {
    assertMatch(stderr, /does not send parts of .*-pack-1, so all of it is downloaded/);
    assert(moved! >= size!);
  });
  await disturbed(
    "ranges are refused (416)",
    ({ headers }) => headers.has("range") && !/=0-$/.test(headers.get("range")!) ? { status: 416 } : undefined,
  );
  let count = 0;
  await disturbed("addresses expire", () => void ([4, 12].includes(++count) && storage.expire()), () => {
    assert(ofPack().length > 5);
    assert(github.seen.filter(({ path }) => path.includes("pack-1")).length > 1);
  });

  await t.step("new addresses are refused, too", async () => {
    await setting.forget();
    storage.options.fault = ({ path }) => path.includes("pack-1") ? { status: 403 } : undefined;
    await user.expectRefusalAtEnd(
      user.pull(),
      /answered 403 for .*-pack-1, at new addresses too: check whether a proxy/,
    );
    storage.options.fault = undefined;
  });
  await t.step("a killed pull goes on where it stopped", async () => {
    await setting.forget();
    let count = 0;
    let isHeld = false;
    storage.options.fault = ({ path }) => {
      if (!path.includes("pack-1") || count++ < 5) return undefined;
      isHeld = true;
      return { stallAfter: 0 };
    };
    const child = spawnHotboot(user.arguments("pull", "--skip-snapshot"), { env: user.env });
    await until(() => isHeld, "the held request");
    await until(async () => await written() > MIB, "some chunks");
    child.kill("SIGKILL");
    await Promise.all([child.status, child.stdout.cancel(), child.stderr.cancel()]);
    const before = await written();
    storage.options.fault = undefined;
    const { moved, size } = await setting.pull();
    assert(moved! <= size! - before + MIB, `${moved} of ${size}, with ${before} there`);
    await setting.isRight();
  });
  /** How much of the disk has been written. */
  async function written(): Promise<number> {
    const stat = await Deno.stat(`${user.home}/images/.pull-pulled-${ARCH}/chunks/disk`).catch(() => undefined);
    return 512 * (stat?.blocks ?? 0);
  }
});
