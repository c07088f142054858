/** Other programs and the Linux kernel read our images, and we read theirs. */
// needs: micro

import { assert, assertEquals, assertMatch } from "@std/assert";
import { readIso } from "../../lib/iso/read.ts";
import { writeIso } from "../../lib/iso/write.ts";
import { GuestAgent } from "../../lib/vm/guest_agent.ts";
import { QmpClient } from "../../lib/vm/qmp.ts";
import { GuestHome } from "./guest_home.ts";
import { assertCode, hotboot } from "./program.ts";
import { rounds } from "./pace.ts";
import { describeTree, makeTree } from "./trees.ts";
import { withDirectory } from "../unit/temporary.ts";

async function run(program: string, args: string[], env: Record<string, string> = {}): Promise<Uint8Array> {
  const { success, stdout, stderr } = await new Deno.Command(program, { args, env: { LC_ALL: "C.UTF-8", ...env } })
    .output();
  assert(success, `${program} ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  return stdout;
}

async function text(program: string, args: string[]): Promise<string> {
  return new TextDecoder().decode(await run(program, args));
}

const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** A tree, its image from `hotboot iso create`, and a directory for everything. */
class Imaged implements AsyncDisposable {
  private constructor(readonly directory: string, readonly tree: string, readonly image: string) {}

  static async make(seed: number, count = 300): Promise<Imaged> {
    const directory = await Deno.makeTempDir({ prefix: "hotboot-iso-" });
    const tree = `${directory}/tree`;
    await makeTree(tree, { seed, count, depth: 7, largest: 20 << 20 });
    const image = `${directory}/image.iso`;
    assertCode(await hotboot(["iso", "create", "-q", "-o", image, "--label", "cidata", tree]), 0);
    return new Imaged(directory, tree, image);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run("chmod", ["-R", "u+rwX", this.directory]);
    await Deno.remove(this.directory, { recursive: true });
  }
}

for (const seed of [1, 2, 3].slice(0, rounds(1, 3))) {
  Deno.test(`iso: other programs and hotboot read a random tree back unchanged (${seed})`, async (t) => {
    await using made = await Imaged.make(seed);
    const { directory, tree, image } = made;
    const expected = await describeTree(tree);
    assert(expected.length >= 300);

    await t.step("blkid finds the given label", async () => {
      assertEquals(await text("blkid", ["-p", "-o", "value", "-s", "LABEL", image]), "cidata\n");
    });

    await t.step("xorriso extracts it without a warning", async () => {
      const out = `${directory}/xorriso`;
      await Deno.mkdir(out);
      const args = ["-abort_on", "WARNING", "-osirrox", "on", "-indev", image, "-extract", "/", out];
      await run("xorriso", args);
      assertEquals(await describeTree(out), expected);
    });

    await t.step("bsdtar extracts it", async () => {
      const out = `${directory}/bsdtar`;
      await Deno.mkdir(out);
      await run("bsdtar", ["-xpf", image, "-C", out]);
      assertEquals(await describeTree(out), expected);
    });

    await t.step("isoinfo lists and reads both views", async () => {
      const names = (await text("isoinfo", ["-R", "-f", "-i", image])).split("\n").filter(Boolean);
      assertEquals(names.map((name) => name.slice(1)).sort(), expected.map((line) => nameOf(line)).sort());
      // The Joliet view has no links, and some shorter names; each file's size is the same.
      const joliet = (await text("isoinfo", ["-J", "-l", "-i", image])).match(/^-.*/gm)!;
      const sizes = (lines: string[], pattern: RegExp) =>
        lines.flatMap((line) => line.match(pattern)?.[1] ?? []).sort();
      const files = expected.filter((line) => / [0-9a-f]{64} /.test(line));
      assertEquals(sizes(joliet, /^-\S*\s+\d+\s+\d+\s+\d+\s+(\d+)/), sizes(files, / (\d+) [0-9a-f]{64} /));
      const [some] = files.filter((line) => /^[a-z]+ \d+/.test(line));
      if (some) {
        const content = await run("isoinfo", ["-J", "-i", image, "-x", `/${nameOf(some)}`]);
        assertEquals(content, await Deno.readFile(`${tree}/${nameOf(some)}`));
      }
    });

    await t.step("hotboot iso extracts and lists it", async () => {
      const out = `${directory}/ours`;
      assertCode(await hotboot(["iso", "extract", "-q", image, out]), 0);
      assertEquals(await describeTree(out), expected);
      const ls = JSON.parse((await hotboot(["iso", "ls", "--json", image])).stdout);
      assertEquals([ls.label, ls.views], ["cidata", ["rock-ridge", "joliet", "iso9660"]]);
      assertEquals(ls.entries.length, expected.length);
      const lines = (await hotboot(["iso", "ls", image])).stdout.trimEnd().split("\n");
      assertEquals(lines.length, expected.length);
    });

    await t.step("hotboot reads images from genisoimage and xorriso", async () => {
      const other = `${directory}/other.iso`;
      for (
        const [program, ...args] of [
          ["genisoimage", "-quiet", "-R", "-J", "-joliet-long", "-input-charset", "utf-8", "-D"],
          ["genisoimage", "-quiet", "-R", "-input-charset", "utf-8"], // relocates deep directories
          ["xorriso", "-as", "mkisofs", "-quiet", "-R", "-J"],
        ]
      ) {
        await run(program, [...args, "-V", "OTHER", "-o", other, tree]);
        using read = await readIso(other);
        assertEquals(read.label, "OTHER");
        const out = `${directory}/read-${program}-${args.length}`;
        assertCode(await hotboot(["iso", "extract", "-q", other, out]), 0);
        assertEquals(await describeTree(out), expected, `${program} ${args.join(" ")}`);
        await Deno.remove(other);
      }
    });
  });
}

Deno.test("iso: links with empty components and plain names in UTF-8 are read as they were written", async () => {
  const directory = await Deno.makeTempDir({ prefix: "hotboot-iso-" });
  const tree = `${directory}/tree`;
  await Deno.mkdir(tree);
  const links = { a: "a//b", b: "/x//y", c: "//z", d: "a///b", e: "/" };
  for (const [name, target] of Object.entries(links)) await Deno.symlink(target, `${tree}/${name}`);
  const image = `${directory}/image.iso`;
  for (const [program, ...args] of [["genisoimage", "-quiet", "-R"], ["xorriso", "-as", "mkisofs", "-quiet", "-R"]]) {
    await run(program, [...args, "-o", image, tree]);
    using read = await readIso(image);
    const found = Object.fromEntries((await Array.fromAsync(read.entries())).map(({ path, target }) => [path, target]));
    assertEquals(found, links, program);
    await Deno.remove(image);
  }
  const plain = `${directory}/plain`;
  await Deno.mkdir(plain);
  await Deno.writeTextFile(`${plain}/grün-日本`, "");
  await run("genisoimage", ["-quiet", "-iso-level", "4", "-o", image, plain]);
  using read = await readIso(image);
  assertEquals((await Array.fromAsync(read.entries("iso9660"))).map(({ path }) => path), ["grün-日本"]);
  await Deno.remove(directory, { recursive: true });
});

function nameOf(line: string): string {
  return line.replace(/ -> .*$/, "").replace(/ \d+ [0-9a-f]{64}.*$/, "").replace(/\/( \d+)?$/, "");
}

Deno.test("iso: the Linux kernel mounts all three views", async (t) => {
  await using made = await Imaged.make(4, 200);
  await using micro = await GuestHome.started();
  {
    await using qmp = await QmpClient.connect(micro.socket("monitor"));
    const file = { driver: "file", filename: made.image };
    await qmp.execute("blockdev-add", { "node-name": "image", driver: "raw", "read-only": true, file });
    await qmp.execute("device_add", { driver: "virtio-blk-pci", id: "image", drive: "image", bus: "spare" });
  }
  const shell = async (script: string) => {
    await using agent = await GuestAgent.connect(micro.socket("agent"));
    const { exitCode, stdout, stderr } = await agent.exec({ path: "sh", args: ["-c", script] }, { timeoutMs: 120_000 });
    assertEquals(exitCode, 0, new TextDecoder().decode(stderr));
    return new TextDecoder().decode(stdout);
  };
  await shell("until [ -b /dev/vdc ]; do sleep 0.1; done; mkdir -p /mnt");
  const describe =
    "cd /mnt && find . -type f -exec stat -c '%n|%s|%a|%Y' {} + | sort; find . -type f -exec sha256sum {} + | sort -k 2; " +
    'find . -type l -exec sh -c \'for l; do echo "$l -> $(readlink "$l")"; done\' sh {} + | sort; find . -type d | sort';

  await t.step("Rock Ridge has names, content, modes, times and links", async () => {
    const seen = await shell(`mount -t iso9660 -o ro,iocharset=utf8 /dev/vdc /mnt && (${describe}); umount /mnt`);
    const local = await new Deno.Command("bash", {
      args: ["-c", describe.replace("/mnt", `'${made.tree}'`)],
      env: { LC_ALL: "C" },
    }).output();
    assertEquals(seen.split("\n").sort(), new TextDecoder().decode(local.stdout).split("\n").sort());
  });

  await t.step("Joliet and plain ISO 9660 have all files, with their content", async () => {
    const contents = async (mount: string) =>
      (await shell(
        `mount -t iso9660 -o ro,${mount} /dev/vdc /mnt && cd /mnt && find . -type f -exec sha256sum {} +; cd /; umount /mnt`,
      ))
        .split("\n").filter(Boolean).map((line) => line.slice(0, 64)).sort();
    const digests = (await describeTree(made.tree)).flatMap((line) => line.match(/ ([0-9a-f]{64}) /)?.[1] ?? []).sort();
    const links = (await describeTree(made.tree)).filter((line) => line.includes(" -> ")).length;
    assertEquals(await contents("norock,iocharset=utf8"), digests);
    // Without Rock Ridge, a link is an empty file.
    const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const plain = await contents("norock,nojoliet");
    assertEquals(plain, [...digests, ...Array(links).fill(empty)].sort());
  });

  await t.step("the kernel logs no error", async () => {
    assertEquals(await shell("dmesg | grep -ciE 'isofs.*(error|warn|unable)' || true"), "0\n");
  });
});

Deno.test("iso: other programs read a file of more than 4 GiB whole", async () => {
  await withDirectory(async (directory) => {
    const size = 2 ** 32 + 4321;
    const big = `${directory}/big.bin`;
    {
      using file = await Deno.open(big, { write: true, create: true });
      await file.truncate(size);
      for (const at of [0, 2 ** 31, 2 ** 32 - 3000, 2 ** 32 - 5, size - 9]) {
        await file.seek(at, Deno.SeekMode.Start);
        await file.write(new TextEncoder().encode(`at ${at % 1e6}`));
      }
    }
    const image = `${directory}/image.iso`;
    const small = { kind: "file", path: "small", content: new TextEncoder().encode("small") } as const;
    await writeIso(image, [{ kind: "file", path: "big.bin", content: { path: big } }, small]);
    await run("bash", ["-o", "pipefail", "-c", `bsdtar -xOf '${image}' big.bin | cmp - '${big}'`]);
    const concat = `xorriso -osirrox on -indev '${image}' -concat overwrite - /big.bin`;
    await run("bash", ["-o", "pipefail", "-c", `${concat} | cmp - '${big}'`]);
    assertCode(await hotboot(["iso", "extract", "-q", image, `${directory}/ours`]), 0);
    await run("cmp", [`${directory}/ours/big.bin`, big]);
    assertMatch(await text("isoinfo", ["-R", "-l", "-i", image]), /4294971617|small/);
  });
});

Deno.test("iso: a long link that genisoimage spoiled costs a warning, and nothing else", async () => {
  await withDirectory(async (directory) => {
    const tree = `${directory}/tree`;
    await Deno.mkdir(tree);
    await Deno.writeTextFile(`${tree}/file`, "content");
    await Deno.symlink(["x", "y", "z"].map((letter) => letter.repeat(120)).join("/"), `${tree}/link`);
    const image = `${directory}/image.iso`;
    await run("genisoimage", ["-quiet", "-R", "-o", image, tree]);
    const extracted = await hotboot(["iso", "extract", image, `${directory}/out`]);
    assertCode(extracted, 0);
    assertMatch(extracted.stderr, /link: .*incomplete/);
    assertEquals(await Deno.readTextFile(`${directory}/out/file`), "content");
    assertMatch(await Deno.readLink(`${directory}/out/link`), /^x{100}/);
  });
});

Deno.test("iso: an image that genisoimage made with UDF, too, is read without a warning", async () => {
  await withDirectory(async (directory) => {
    await Deno.mkdir(`${directory}/tree/below`, { recursive: true });
    await Deno.writeTextFile(`${directory}/tree/below/file`, "content");
    const image = `${directory}/image.iso`;
    await run("genisoimage", ["-quiet", "-udf", "-R", "-o", image, `${directory}/tree`]);
    const told: string[] = [];
    const onWarning = (message: string) => told.push(message);
    using both = await readIso(image, { onWarning });
    assertEquals((await Array.fromAsync(both.entries())).map(({ path }) => path), ["below", "below/file"]);
    assertEquals(told, []);

    await Deno.remove(`${directory}/tree/below`, { recursive: true });
    await Deno.writeTextFile(`${directory}/tree/README.TXT`, "note");
    await run("genisoimage", ["-quiet", "-udf", "-R", "-o", image, `${directory}/tree`]);
    using note = await readIso(image, { onWarning });
    assertEquals((await Array.fromAsync(note.entries())).length, 1);
    assertMatch(told.join(), /^the image has a UDF file system, too/);
  });
});

for (const version of [1, 2]) {
  Deno.test(`iso: files that xorriso compressed are extracted unchanged (zisofs version ${version})`, async () => {
    await withDirectory(async (directory) => {
      const content = new TextEncoder().encode("the same again and again\n".repeat(20_000));
      await Deno.writeFile(`${directory}/big`, content);
      const image = `${directory}/image.iso`;
      const zisofs = `version_2=${version === 2 ? "on" : "off"}`;
      await run("xorriso", [
        "-zisofs",
        zisofs,
        "-outdev",
        image,
        "-map",
        `${directory}/big`,
        "/big",
        "-set_filter",
        "--zisofs",
        "/big",
      ]);
      assert((await Deno.stat(image)).size < content.length);
      const magic = [[0x37, 0xe4, 0x53, 0x96], [0xef, 0x22, 0x55, 0xa1]][version - 1];
      const bytes = await Deno.readFile(image);
      assert(bytes.some((_, at) => magic.every((byte, n) => bytes[at + n] === byte)));
      assertMatch((await hotboot(["iso", "ls", image])).stdout, / 500000 .* big\n$/);
      assertCode(await hotboot(["iso", "extract", "-q", image, `${directory}/out`]), 0);
      assertEquals(await Deno.readFile(`${directory}/out/big`), content);
    });
  });
}

Deno.test("iso create: SOURCE_DATE_EPOCH makes the same image of the same tree at another time", async () => {
  await withDirectory(async (directory) => {
    const tree = `${directory}/tree`;
    const make = async (SOURCE_DATE_EPOCH: string, ...more: string[]) => {
      const args = ["iso", "create", "-q", "-o", `${directory}/image.iso`, ...more, tree];
      return await hotboot(args, { env: { SOURCE_DATE_EPOCH } });
    };
    const images: Uint8Array[] = [];
    for (const time of ["2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"].map((text) => new Date(text))) {
      await Deno.mkdir(tree);
      await Deno.writeTextFile(`${tree}/old`, "");
      await Deno.utime(`${tree}/old`, 1_000_000_000, 1_000_000_000);
      await Deno.writeTextFile(`${tree}/new`, "");
      await Deno.utime(`${tree}/new`, time, time);
      assertCode(await make("1750000000"), 0);
      images.push(await Deno.readFile(`${directory}/image.iso`));
      await Deno.remove(tree, { recursive: true });
    }
    assert(images[0].every((byte, at) => byte === images[1][at]));
    const listed = (await hotboot(["iso", "ls", `${directory}/image.iso`])).stdout;
    assertMatch(listed, /2025-06-15 15:06:40 new\n.* 2001-09-09 01:46:40 old\n$/);
    assertEquals(decode(images[0].subarray(16 * 2048 + 813, 16 * 2048 + 829)), "2025061515064000");

    await Deno.mkdir(tree);
    assertCode(await make("1750000000", "--date", "2026-01-02T03:04:05Z"), 0);
    const dated = await Deno.readFile(`${directory}/image.iso`);
    assertEquals(decode(dated.subarray(16 * 2048 + 813, 16 * 2048 + 829)), "2026010203040500");
    const wrong = await make("soon");
    assertCode(wrong, 2);
    assertMatch(wrong.stderr, /^hotboot: SOURCE_DATE_EPOCH takes seconds since 1970, not 'soon'/);
  });
});

Deno.test("iso: names and links that some programs do not read are reported, and the others read them", async () => {
  await withDirectory(async (directory) => {
    const tree = `${directory}/tree`;
    await Deno.mkdir(tree);
    await Deno.writeTextFile(`${tree}/smile 😀`, "smile");
    await Deno.link(`${tree}/smile 😀`, `${tree}/other name`);
    const target = "y/".repeat(511) + "z";
    await Deno.symlink(target, `${tree}/link`);
    const image = `${directory}/image.iso`;
    const made = await hotboot(["iso", "create", "-o", image, tree]);
    assertCode(made, 0);
    assertMatch(made.stderr, /smile 😀: Joliet cannot store this name and has 'smile _' instead/);
    assert(!made.stderr.includes("xorriso"), made.stderr);
    const out = `${directory}/xorriso`;
    await Deno.mkdir(out);
    await run("xorriso", ["-abort_on", "WARNING", "-osirrox", "on", "-indev", image, "-extract", "/", out]);
    assertEquals(await describeTree(out), await describeTree(tree));
    const bsdtar = `${directory}/bsdtar`;
    await Deno.mkdir(bsdtar);
    await run("bsdtar", ["-xpf", image, "-C", bsdtar, "smile 😀", "other name"]);
    assertEquals(await Deno.readTextFile(`${bsdtar}/other name`), "smile");
    assertEquals(await text("isoinfo", ["-J", "-i", image, "-x", "/smile _"]), "smile");

    await Deno.symlink(`${target}z`, `${tree}/longer`);
    const longer = await hotboot(["iso", "create", "-o", image, tree]);
    assertCode(longer, 0);
    assertMatch(longer.stderr, /longer: this link's target has 1024 bytes.*xorriso refuses/);
    const refused = await new Deno.Command("xorriso", { args: ["-indev", image, "-lsl", "/"] }).output();
    assertEquals(refused.success, false);
    assert((await text("isoinfo", ["-R", "-l", "-i", image])).includes(`${target}z`));
  });
});

Deno.test("iso extract: never writes outside the directory or over existing files", async () => {
  await withDirectory(async (directory) => {
    const image = `${directory}/image.iso`;
    const content = new TextEncoder().encode("x");
    await writeIso(image, [
      { kind: "symlink", path: "link", target: `${directory}/outside` },
      { kind: "file", path: "dir/file", content, mode: 0o4755 },
    ]);
    const out = `${directory}/out`;
    assertCode(await hotboot(["iso", "extract", image, out]), 0);
    assertEquals((await Deno.stat(`${out}/dir/file`)).mode! & 0o7777, 0o755);
    const again = await hotboot(["iso", "extract", image, out]);
    assertCode(again, 1);
    assertMatch(again.stderr, /"dir\/file": already exists/);

    // An existing link where the image has a directory.
    await Deno.mkdir(`${directory}/trap`);
    await Deno.mkdir(`${directory}/outside`);
    await Deno.symlink(`${directory}/outside`, `${directory}/trap/dir`);
    const trapped = await hotboot(["iso", "extract", image, `${directory}/trap`]);
    assertCode(trapped, 1);
    assertEquals(await Array.fromAsync(Deno.readDir(`${directory}/outside`)), []);
  });
});

Deno.test("iso: usage errors and faults give one line each", async () => {
  for (
    const [args, code, why] of [
      [["iso"], 2, /Usage: hotboot iso COMMAND/],
      [["iso", "make"], 2, /^hotboot: there is no command 'iso make'/],
      [["iso", "create", "/etc/hostname"], 2, /^hotboot: iso create needs -o IMAGE/],
      [["iso", "create", "-o", "/tmp/x.iso"], 2, /^hotboot: iso create needs a PATH/],
      [
        ["iso", "create", "-o", "/tmp/x.iso", "/no/such"],
        1,
        /^hotboot: \/no\/such does not exist: name a path that does\n$/,
      ],
      [["iso", "create", "-o", "/tmp/x.iso", "--date", "soon", "/etc"], 2, /--date takes an ISO 8601 date/],
      [["iso", "create", "-o", "/tmp/x.iso", "--profile", "demo", "/etc"], 2, /has no option --profile/],
      [["iso", "ls", "/no/such.iso"], 1, /^hotboot: \/no\/such\.iso does not exist: name an image that does\n$/],
      [["iso", "ls", "/etc"], 1, /^hotboot: \/etc is a directory, not an image: name a file\n$/],
      [["iso", "ls", "/etc/hostname"], 1, /^hotboot: not an ISO 9660 image/],
      [["iso", "ls", "--view", "udf", "/etc/hostname"], 2, /--view takes/],
      [["iso", "extract", "x"], 2, /takes an IMAGE and a DIR/],
    ] as const
  ) {
    const result = await hotboot([...args]);
    assertCode(result, code);
    assertMatch(result.stderr, why);
    assertEquals(result.stdout, "");
  }
});
