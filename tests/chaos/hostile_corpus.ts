/** Right inputs, made by the real tools: what the wrong ones are made of. */

import { concat } from "@std/bytes/concat";
import { ROOT } from "../../dev/deno.ts";
import { pushImage } from "../../lib/oci/push.ts";
import { writeFlatDisk } from "../../lib/oci/flat_disk.ts";
import { parseReference } from "../../lib/oci/reference.ts";
import { Registry } from "../../lib/oci/registry.ts";
import { buildIso } from "../../lib/iso/build.ts";
import { HOST_ARCH } from "../../lib/vm/arch.ts";
import { qemuProgram } from "../../lib/vm/probe.ts";
import { GuestHome } from "../e2e/guest_home.ts";
import { RegistryServer } from "../e2e/registry_server.ts";
import { tool } from "../e2e/snapshots.ts";
import { random } from "../unit/random.ts";
import { STREAM_RAM } from "./hostile_targets.ts";

/** The samples of each target. */
export async function corpora(directory: string): Promise<Record<string, Uint8Array[]>> {
  const work = `${directory}/corpus`;
  await Deno.mkdir(work);
  const sets = await Promise.all([
    tools(work),
    monitor(work),
    captured(),
    registry(work),
    profiles(),
  ]);
  return Object.assign({ agent: AGENT }, ...sets);
}

/** What qemu-ga answers, line by line (QEMU Guest Agent Protocol Reference). */
const AGENT = [
  `{"return": {}}\n{"return": {"pid": 912}}\n{"return": {"exited": false}}\n{"return": {"exitcode": 0, "out-data": "aGVsbG8K", "exited": true}}\n{"return": 1000}\n{"return": {"count": 6, "buf-b64": "bWljcm8K", "eof": false}}\n`,
  `{"return": {}}\n{"error": {"class": "GenericError", "desc": "Guest agent command failed, error was 'Failed to execute child process'"}}\n`,
  `{"return": {}}\n{"return": {"pid": 77}}\n{"return": {"signal": 9, "exited": true, "out-truncated": true}}\n{"return": 1001}\n{"return": {"count": 0, "buf-b64": "", "eof": true}}\n`,
].map((text) => new TextEncoder().encode(text));

/** Archives, images and disks. */
async function tools(work: string): Promise<Record<string, Uint8Array[]>> {
  const noise = random(3);
  await Deno.mkdir(`${work}/tree/deep/deeper`, { recursive: true });
  await Deno.writeFile(
    `${work}/tree/disk.qcow2`,
    Uint8Array.from({ length: 20_000 }, (_, at) => at % 97 + 5 * noise()),
  );
  await Deno.writeTextFile(`${work}/tree/deep/a file with a long name, ünd more.txt`, "hello\n".repeat(500));
  await Deno.symlink("../disk.qcow2", `${work}/tree/deep/deeper/link`);
  await Deno.truncate(await emptyFile(`${work}/raw`), 2 ** 20);
  await Deno.writeFile(
    `${work}/raw`,
    Uint8Array.from({ length: 2 ** 20 }, (_, at) => at % 70_000 < 9000 ? at % 251 : 0),
  );
  await tool(`cd ${work} && set -e
    (cd tree && zip -qr ../a.zip . && zip -q0 ../stored.zip disk.qcow2)
    (cd tree && tar --format=ustar -cf ../ustar.tar disk.qcow2 && bsdtar --format=pax -cf ../pax.tar disk.qcow2 deep/a*)
    tar --format=gnu -C tree -cf gnu.tar disk.qcow2
    zstd -q raw -o one.zst && zstd -q -19 --no-check --long=24 raw -o two.zst
    (cat one.zst; head -c 5000 raw | zstd -q) >three.zst
    genisoimage -quiet -J -R -V ONE -o one.iso tree 2>/dev/null
    xorriso -as mkisofs -quiet -iso-level 3 -J -R -V TWO -o two.iso tree 2>/dev/null
    qemu-img convert -f raw -O qcow2 raw one.qcow2
    qemu-img convert -c -f raw -O qcow2 raw two.qcow2
    qemu-img convert -c -f raw -O qcow2 -o compression_type=zstd,cluster_size=4096 raw three.qcow2`);
  const read = (...names: string[]) => Promise.all(names.map((name) => Deno.readFile(`${work}/${name}`)));
  return {
    zip: await read("a.zip", "stored.zip"),
    tar: await read("ustar.tar", "pax.tar", "gnu.tar"),
    zstd: await read("one.zst", "two.zst", "three.zst"),
    iso: [...await read("one.iso", "two.iso"), buildIso("THREE", [{ name: "a.env", data: new Uint8Array(5000) }])],
    qcow2: await read("one.qcow2", "two.qcow2", "three.qcow2"),
  };
}

async function emptyFile(path: string): Promise<string> {
  await Deno.writeFile(path, new Uint8Array());
  return path;
}

/** What a real QEMU says on its monitor, and the stream of a real machine without a guest. */
async function monitor(work: string): Promise<Record<string, Uint8Array[]>> {
  const path = `${work}/stream`;
  const backend = `memory-backend-ram,id=ram,size=${STREAM_RAM}`;
  const machine = `${HOST_ARCH === "arm64" ? "virt" : "q35"},memory-backend=ram,accel=tcg`;
  const commands = [
    ...["qmp_capabilities", "query-status", "stop", "cont", "query-version", "query-cpus-fast"].map((execute) => ({
      execute,
    })),
    { execute: "migrate", arguments: { uri: `exec:cat >${path}` } },
  ];
  const child = new Deno.Command(qemuProgram(HOST_ARCH), {
    args: ["-display", "none", "-S", "-m", "16", "-object", backend, "-M", machine, "-qmp", "stdio"],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const writer = child.stdin.getWriter();
  const say = (command: object, id: number) =>
    writer.write(new TextEncoder().encode(JSON.stringify({ ...command, id })));
  for (const [at, command] of commands.entries()) await say(command, at + 1);
  const said: Uint8Array[] = [];
  let text = "";
  let asked = commands.length;
  for await (const piece of child.stdout) {
    said.push(piece);
    text += new TextDecoder().decode(piece);
    if (asked === Infinity || !text.includes(`"id": ${asked}}`)) continue;
    const isDone = text.includes('"status": "completed"');
    asked = isDone ? Infinity : asked + 1;
    await say({ execute: isDone ? "quit" : "query-migrate" }, asked);
  }
  await writer.close().catch(() => {});
  await child.status;
  return { qmp: [concat(said).slice(0, 20_000)], stream: [(await Deno.readFile(path)).slice(0, 2 ** 20)] };
}

/** What a capture, a checkpoint and an instance leave in a home, and an exported archive. */
async function captured(): Promise<Record<string, Uint8Array[]>> {
  await using micro = await GuestHome.started();
  await micro.succeed("snapshot save", ["one"]);
  await micro.succeed("stop");
  const path = `${micro.directory}/one.hotboot`;
  await micro.succeed("snapshot export", ["one", path]);
  const checkpoints = `${micro.home}/checkpoints/micro-${micro.arch}`;
  const [{ name }] = await Array.fromAsync(Deno.readDir(checkpoints));
  await tool(`zstd -dcq ${path} | head -c 300000 >${path}.head || true`);
  const archived = await Deno.readFile(`${path}.head`);
  const size = parseInt(new TextDecoder().decode(archived.subarray(124, 135)), 8);
  return {
    manifest: [
      await Deno.readFile(`${await micro.snapshot()}/manifest.json`),
      await Deno.readFile(`${checkpoints}/${name}/manifest.json`),
    ],
    record: [await Deno.readFile(`${micro.instance}/instance.json`)],
    archive: [archived.slice(512, 512 + size), archived],
  };
}

/** What a push leaves in a registry. */
async function registry(work: string): Promise<Record<string, Uint8Array[]>> {
  await using server = await RegistryServer.start();
  const next = random(7);
  await Deno.writeFile(
    `${work}/noise`,
    new Uint8Array(Uint32Array.from({ length: 2 ** 19 }, () => next() * 2 ** 32).buffer),
  );
  await tool(`cd ${work} && qemu-img convert -f raw -O qcow2 noise noise.qcow2`);
  await writeFlatDisk(`${work}/noise.qcow2`, `${work}/flat`);
  await pushImage(
    { profile: "noise", arch: "amd64", created: "2026-01-01T00:00:00.000Z", files: { disk: `${work}/flat` } },
    {
      registry: new Registry(parseReference(`oci://${server.host}/noise:v1`)),
      signal: new AbortController().signal,
      onProgress: () => {},
    },
  );
  const found: Uint8Array[] = [];
  const list = await tool(`grep -rlE --include=data '^[{]' ${server.directory}/data/docker/registry/v2/blobs`);
  for (const path of list.trim().split("\n")) found.push(await Deno.readFile(path));
  return { oci: found.filter(isJson) };
}

/** The others are chunks. */
function isJson(bytes: Uint8Array): boolean {
  try {
    JSON.parse(new TextDecoder().decode(bytes));
    return true;
  } catch {
    return false;
  }
}

async function profiles(): Promise<Record<string, Uint8Array[]>> {
  const paths = ["qemu/micro", "qemu/demo", "qemu/stack", "tests/e2e/standin"];
  return { profile: await Promise.all(paths.map((path) => Deno.readFile(`${ROOT}${path}/profile.json`))) };
}
