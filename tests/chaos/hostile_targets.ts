/** What hotboot reads that others may have written, and how each is fed. */

import { assert, assertEquals } from "@std/assert";
import { concat } from "@std/bytes/concat";
import { HotbootError } from "../../lib/base/error.ts";
import type { Emulator } from "../../lib/instance/emulator.ts";
import { Home } from "../../lib/instance/home.ts";
import { readRecord } from "../../lib/instance/record.ts";
import { extractIso } from "../../lib/iso/extract.ts";
import { readIso } from "../../lib/iso/read.ts";
import { parseDescription, parseManifest } from "../../lib/oci/manifest.ts";
import { clustersOf } from "../../lib/oci/qcow2_clusters.ts";
import { parseProfile } from "../../lib/profile/parse.ts";
import { validateProfile } from "../../lib/profile/validate.ts";
import { unzipOne } from "../../lib/release/zip.ts";
import { readArchivedManifest } from "../../lib/snapshot/archive.ts";
import { readManifest } from "../../lib/snapshot/manifest.ts";
import { RamFile } from "../../lib/snapshot/ram_file.ts";
import { splitStream } from "../../lib/snapshot/stream.ts";
import { tarHeader, tarPadding, TarReader } from "../../lib/snapshot/tar.ts";
import { GuestAgent } from "../../lib/vm/guest_agent.ts";
import { QmpClient } from "../../lib/vm/qmp.ts";
import { decompressFile } from "../../lib/zstd/file.ts";
import { zstdDecompressStream } from "../../lib/zstd/stream.ts";
import { fakePeer } from "../unit/duplex.ts";
import { mutate, mutateJson } from "./mutate.ts";

/** One kind of input. */
export interface Target {
  /** What it is, for the report. */
  fault: string;
  /** Makes a wrong one of the samples. */
  mutate: (samples: Uint8Array[], next: () => number) => Uint8Array<ArrayBuffer>;
  /**
   * Has hotboot read it. The directory is empty before and after.
   *
   * @throws What hotboot throws.
   */
  feed(bytes: Uint8Array<ArrayBuffer>, directory: string): Promise<unknown>;
}

/** No answer takes this long: nothing here waits for another side. */
const LIMIT = { timeoutMs: 5000 };
/** The most that a small input may become. */
const MOST = 64 * 2 ** 20;
/** The memory of the guest whose stream is the sample. */
export const STREAM_RAM = 16 * 2 ** 20;

function source(bytes: Uint8Array) {
  let at = 0;
  return {
    read: (into: Uint8Array) => {
      if (at === bytes.length) return Promise.resolve(null);
      const piece = bytes.subarray(at, at + into.length);
      into.set(piece);
      at += piece.length;
      return Promise.resolve(piece.length);
    },
  };
}

async function written(directory: string, name: string, bytes: Uint8Array): Promise<string> {
  const path = `${directory}/${name}`;
  await Deno.writeFile(path, bytes);
  return path;
}

/** Only what it was told to write may be in the directory. */
async function assertOnly(directory: string, ...names: string[]): Promise<void> {
  const found = await Array.fromAsync(Deno.readDir(directory), ({ name }) => name);
  const more = found.filter((name) => !names.includes(name));
  assertEquals(more, [], "something was written elsewhere");
}

const LINES = (bytes: Uint8Array) => new TextDecoder("latin1").decode(bytes).split("\n").filter((line) => line !== "");

export const TARGETS: Record<string, Target> = {
  qmp: {
    fault: "QEMU's monitor answers wrongly",
    mutate,
    async feed(bytes) {
      const peer = fakePeer();
      const lines = LINES(bytes);
      /** The greeting, and then what there is up to each answer. */
      const sayOn = (until: RegExp) => {
        for (let line; (line = lines.shift()) !== undefined;) {
          peer.send(latin1(`${line}\n`));
          if (until.test(line)) return;
        }
        peer.end();
      };
      peer.onSent = () => sayOn(/"(return|error)"/);
      sayOn(/QMP/);
      await using qmp = await QmpClient.open(peer, LIMIT);
      const event = qmp.waitForEvent(({ event }) => event === "RESUME", "that it runs", LIMIT).catch((error) => error);
      await qmp.execute("query-status", {}, LIMIT);
      await qmp.execute("stop", {}, LIMIT);
      await qmp.execute("cont", {}, LIMIT);
      peer.end();
      if (await event instanceof Error) throw await event;
    },
  },
  agent: {
    fault: "the guest agent answers wrongly",
    mutate,
    async feed(bytes) {
      const peer = fakePeer();
      const answers = LINES(bytes);
      peer.onSent = (text) => {
        const id = /guest-sync-delimited.*"id":(\d+)/.exec(text)?.[1];
        if (id !== undefined) return peer.send(concat([Uint8Array.of(255), encode(`{"return": ${id}}\n`)]));
        const answer = answers.shift();
        if (answer === undefined) peer.end();
        else peer.send(latin1(`${answer}\n`));
      };
      await using agent = await GuestAgent.open(peer, LIMIT);
      await agent.ping(LIMIT);
      await agent.exec({ path: "/bin/true" }, LIMIT);
      await agent.read(await agent.openFile("/etc/hostname", LIMIT), LIMIT);
    },
  },
  stream: {
    fault: "a damaged migration stream",
    mutate,
    async feed(bytes, directory) {
      using ram = await RamFile.create(`${directory}/ram`, STREAM_RAM);
      let kept = 0;
      const rest = (piece: Uint8Array) => Promise.resolve(kept += piece.length);
      await splitStream(source(bytes), { ram, rest });
      assert(kept <= bytes.length, "it passes on more than came");
    },
  },
  manifest: {
    fault: "a snapshot's manifest that another has written",
    mutate: mutateJson,
    async feed(bytes, directory) {
      const [, id = "none"] = /"id": ?"(\d{8}T\d{6}Z-[0-9a-f]{4})"/.exec(new TextDecoder().decode(bytes)) ?? [];
      await Deno.mkdir(`${directory}/${id}`); // the name of the directory must be the manifest's
      await written(`${directory}/${id}`, "manifest.json", bytes);
      await readManifest(`${directory}/${id}`);
    },
  },
  record: {
    fault: "an instance's record that another has written",
    mutate: mutateJson,
    async feed(bytes, directory) {
      await Deno.mkdir(`${directory}/instances/x`, { recursive: true });
      await written(`${directory}/instances/x`, "instance.json", bytes);
      const record = await readRecord({ home: new Home(directory), instance: "x" } as Emulator);
      if (record && "damaged" in record) throw new HotbootError(record.damaged);
    },
  },
  archive: {
    fault: "a snapshot archive that another has written",
    mutate: (samples, next) => {
      if (next() < 0.3) return mutate(samples.slice(1), next); // the others are whole archives
      const manifest = mutateJson(samples.slice(0, 1), next);
      const head = tarHeader({ name: "manifest.json", size: manifest.length }, 0);
      return concat([head, manifest, new Uint8Array(tarPadding(manifest.length))]) as Uint8Array<ArrayBuffer>;
    },
    feed: (bytes) => readArchivedManifest(new TarReader(source(bytes))),
  },
  tar: {
    fault: "a damaged tar archive",
    mutate: (samples, next) => withChecksums(mutate(samples, next), next),
    async feed(bytes) {
      const tar = new TarReader(source(bytes));
      const into = new Uint8Array(65536);
      while (await tar.next()) {
        while (await tar.read(into) !== null);
      }
    },
  },
  zip: {
    fault: "a damaged zip archive",
    mutate,
    async feed(bytes, directory) {
      const path = await written(directory, "a.zip", bytes);
      try {
        await unzipOne(path, "disk.qcow2", `${directory}/out`);
        assert((await Deno.stat(`${directory}/out`)).size <= MOST, "it is larger than anything that was packed");
      } finally {
        await assertOnly(directory, "a.zip", "out");
      }
    },
  },
  iso: {
    fault: "a damaged ISO image",
    mutate,
    async feed(bytes, directory) {
      const into = `${directory}/into`;
      try {
        using image = await readIso(bytes);
        for (const view of image.views) {
          let count = 0;
          for await (const { path } of image.entries(view)) assert(count++ < 1e6 && path.length <= 8192, "without end");
        }
        await extractIso(image, into);
      } finally {
        await assertOnly(directory, "into");
      }
    },
  },
  zstd: {
    fault: "damaged zstd frames, as a file and as a stream",
    mutate,
    async feed(bytes, directory) {
      const path = await written(directory, "a.zst", bytes);
      const file = await decompressFile(path, `${directory}/out`, { maxBytes: MOST }).catch((error) => error);
      let size = 0;
      const stream = await ReadableStream.from([bytes]).pipeThrough(zstdDecompressStream({ maxBytes: MOST }))
        .pipeTo(new WritableStream({ write: (piece) => void (size += piece.length) })).catch((error) => error);
      assertEquals(file instanceof Error, stream instanceof Error, `the one: ${file}, the other: ${stream}`);
      if (file instanceof Error) throw [file, stream].find((error) => !(error instanceof HotbootError)) ?? file;
      assertEquals((await Deno.stat(`${directory}/out`)).size, size);
    },
  },
  oci: {
    fault: "an OCI manifest, index or description that another has written",
    mutate: mutateJson,
    async feed(bytes) {
      const value = attempt(() => JSON.parse(new TextDecoder().decode(bytes)));
      if ("chunks" in Object(value)) {
        const count = Array.isArray(value.chunks) ? value.chunks.length : 1;
        const layer = { mediaType: "application/vnd.hotboot.image.chunk.v1+zstd", digest: "", size: 10 };
        const manifest = { layers: Array.from({ length: count }, () => layer) };
        return await parseDescription(bytes, manifest as Parameters<typeof parseDescription>[1]);
      }
      return parseManifest(bytes, String(Object(value).mediaType));
    },
  },
  profile: {
    fault: "a profile with mistakes",
    mutate: mutateJson,
    async feed(bytes) {
      const text = new TextDecoder().decode(bytes);
      const read = (name: string) => name.length > 3 ? undefined : name;
      const found = await validateProfile(text, "/nowhere/profile.json", read);
      const parsed = attempt(() => parseProfile(text, "profile.json", read));
      const isWrong = found.some(({ isWarning, text }) => !isWarning && !/there is no file|is no file/.test(text));
      assert(
        !isWrong || parsed instanceof Error,
        `'validate' finds mistakes and 'start' none: ${JSON.stringify(found)}`,
      );
      if (parsed instanceof Error) throw parsed;
    },
  },
  qcow2: {
    fault: "a damaged disk image",
    mutate,
    async feed(bytes, directory) {
      const path = await written(directory, "disk.qcow2", bytes);
      let count = 0;
      for await (const { bytes } of clustersOf(path)) count += bytes.length > 0 ? 1 : 0;
      assert(count < 1e6);
    },
  },
};

function latin1(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

function encode(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

function attempt<T>(work: () => T): T | Error {
  try {
    return work();
  } catch (error) {
    return error as Error;
  }
}

/** Half of them with right checksums in their headers, so that what follows those is read, too. */
function withChecksums(bytes: Uint8Array<ArrayBuffer>, next: () => number): Uint8Array<ArrayBuffer> {
  if (next() < 0.5) return bytes;
  for (let at = 0; at + 512 <= bytes.length; at += 512) {
    const block = bytes.subarray(at, at + 512);
    if (new TextDecoder("latin1").decode(block.subarray(257, 262)) !== "ustar") continue;
    block.fill(0x20, 148, 156);
    const sum = block.reduce((sum, byte) => sum + byte, 0);
    block.set(encode(sum.toString(8).padStart(6, "0") + "\0 "), 148);
  }
  return bytes;
}
