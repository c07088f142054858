/** Downloads from servers that behave and servers that misbehave. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { encodeHex } from "@std/encoding/hex";
import { toBytes } from "@std/streams/to-bytes";
import { HotbootError } from "../../lib/base/error.ts";
import { download } from "../../lib/release/download.ts";
import type { Download, DownloadOptions } from "../../lib/release/options.ts";
import { random } from "../unit/random.ts";
import { lackOfSmallDisks, smallDisk, testUnless } from "./needs.ts";
import { rounds } from "./pace.ts";
import { type Fault, StorageServer } from "./storage_server.ts";

const MIB = 2 ** 20;
const QUICK: DownloadOptions = { stallMs: 30_000, retry: { baseMs: 2, longestMs: 50, attempts: 6 } };
/** For servers that stall. With other servers, a stall would mean a slow machine. */
const IMPATIENT: DownloadOptions = { stallMs: 200 };

async function sha256(bytes: Uint8Array): Promise<string> {
  return encodeHex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes.slice())));
}

function content(size: number, seed = 1): Uint8Array {
  const words = new Uint32Array(Math.ceil(size / 4));
  let state = seed;
  for (let at = 0; at < words.length; at++) words[at] = state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return new Uint8Array(words.buffer, 0, size);
}

/** A server with one file, and a directory to download to. */
class Setting implements AsyncDisposable {
  private constructor(
    readonly server: StorageServer,
    readonly directory: string,
    readonly bytes: Uint8Array,
    readonly what: Download,
  ) {}

  static async make(size: number, { digest = true } = {}): Promise<Setting> {
    const server = new StorageServer();
    const bytes = content(size);
    server.files.set("/file", { bytes, etag: '"one"' });
    const what: Download = {
      name: "image.qcow2",
      size,
      request: { url: `${server.origin}/file` },
      ...(digest && { sha256: await sha256(bytes) }),
    };
    return new Setting(server, await Deno.makeTempDir({ prefix: "hotboot-download-" }), bytes, what);
  }

  get path(): string {
    return `${this.directory}/part`;
  }

  async expectRight(options: DownloadOptions = {}, what: Partial<Download> = {}): Promise<void> {
    const result = await download(this.path, { ...this.what, ...what }, { ...QUICK, ...options });
    assertEquals(result, { size: this.bytes.length, sha256: await sha256(this.bytes) });
    const got = await Deno.readFile(this.path);
    assert(got.length === this.bytes.length && await sha256(got) === result.sha256);
  }

  async expectError(why: RegExp, options: DownloadOptions = {}, what: Partial<Download> = {}): Promise<void> {
    const error = await assertRejects(
      () => download(this.path, { ...this.what, ...what }, { ...QUICK, ...options }),
      HotbootError,
    );
    assertMatch(error.message, why);
    assert(!error.message.includes("\n"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
    await Deno.remove(this.directory, { recursive: true });
  }
}

/** The faults for each request in order; the last one repeats. */
function inOrder(...faults: (Fault | undefined)[]): () => Fault | undefined {
  let index = 0;
  return () => faults[Math.min(index++, faults.length - 1)];
}

Deno.test("download: files of all sizes arrive, with and without a digest or a known size", async () => {
  for (const size of [0, 1, 4 * MIB - 1, 4 * MIB, 9 * MIB + 17]) {
    await using one = await Setting.make(size);
    await one.expectRight();
    await one.expectRight(); // it is already there
    await using two = await Setting.make(size, { digest: false });
    await two.expectRight({}, { size: undefined });
    two.server.options.fault = () => ({ noLength: true });
    await Deno.remove(two.path);
    await two.expectRight({}, { size: undefined });
  }
});

Deno.test("download: after a broken connection it continues where it stopped, and asks for the same version", async () => {
  await using setting = await Setting.make(10 * MIB);
  const { server } = setting;
  server.options.fault = inOrder({ cutAfter: 3 * MIB }, { cutAfter: 2 * MIB + 5 }, undefined);
  await setting.expectRight();
  const ranges = server.seen.map(({ headers }) => Number(headers.get("range")!.match(/^bytes=(\d+)-(10485759)?$/)![1]));
  // The first connection's last bytes may be lost with it; after that, nothing is.
  assert(ranges[0] === 0 && ranges[1] <= 3 * MIB && ranges[2] === ranges[1] + 2 * MIB + 5, ranges.join());
  assertEquals(server.seen.map(({ headers }) => headers.get("if-range")), [null, '"one"', '"one"']);
  assertEquals(server.seen.map(({ headers }) => headers.get("accept-encoding")), ["identity", "identity", "identity"]);
});

Deno.test("download: the next one continues an aborted one, and fetches only what is missing", async () => {
  await using setting = await Setting.make(20 * MIB);
  const { server } = setting;
  server.options.bytesPerSecond = 10 * MIB;
  const abort = new AbortController();
  const onProgress = (done: number) => done > 6 * MIB && abort.abort(new Error("enough"));
  await assertRejects(
    () => download(setting.path, setting.what, { ...QUICK, signal: abort.signal, onProgress }),
    Error,
    "enough",
  );
  const { size } = await Deno.stat(setting.path);
  assert(size > 3 * MIB && size < 20 * MIB, String(size));
  server.options.bytesPerSecond = Infinity;
  server.seen.length = 0;
  await setting.expectRight();
  const [, from] = server.seen[0].headers.get("range")!.match(/^bytes=(\d+)-/)!;
  assert(Number(from) > 3 * MIB, from); // the last second may be lost
  // It is not mixed with another file of that path, or with one whose state is damaged.
  await Deno.writeTextFile(`${setting.path}.json`, "{");
  await setting.expectRight();
});

Deno.test("download: several connections are used if that is faster, else one", async (t) => {
  await t.step("a server that limits each connection gets several", async () => {
    await using setting = await Setting.make(64 * MIB);
    setting.server.options.bytesPerSecond = 8 * MIB;
    await setting.expectRight();
    const connections = setting.server.seen.length;
    assert(connections >= 2, `${connections} connections`);
  });
  await t.step("a server that refuses further connections keeps one", async () => {
    await using setting = await Setting.make(48 * MIB);
    setting.server.options.bytesPerSecond = 16 * MIB;
    setting.server.options.connections = 1;
    await setting.expectRight();
    assert(setting.server.seen.length >= 2, "no further connection was tried");
  });
});

Deno.test("download: temporary faults still give the right bytes", async (t) => {
  const heals: Record<string, (Fault | undefined)[]> = {
    "a stall": [{ stallAfter: MIB }, undefined],
    "immediate silence": [{ stallAfter: 0 }, undefined],
    "503 with Retry-After": [{ status: 503, headers: { "retry-after": "0" } }, undefined],
    "429": [{ status: 429 }, { status: 429 }, undefined],
    "wrong bytes": [{ corruptFrom: 5 * MIB }, undefined],
    "wrong bytes after a resume": [{ cutAfter: 2 * MIB }, { corruptFrom: 3 * MIB }, undefined],
    "ranges ignored": [{ ignoreRange: true }],
    "ranges ignored after a resume": [{ cutAfter: 2 * MIB }, { ignoreRange: true }, { ignoreRange: true }],
    "a web page at first": [{ html: true }, undefined],
    "a web page after a resume": [{ cutAfter: 2 * MIB }, { html: true }, undefined],
    "too large a length": [{ lengthOff: 1000 }, undefined, undefined],
    "too small a length": [{ lengthOff: -1000 }, undefined, undefined],
    "a wrong total": [{ cutAfter: MIB }, { totalOff: 5 }, undefined],
  };
  for (const [title, faults] of Object.entries(heals)) {
    await t.step(title, async () => {
      await using setting = await Setting.make(8 * MIB);
      setting.server.options.fault = inOrder(...faults);
      await setting.expectRight(IMPATIENT);
    });
  }
});

Deno.test("download: a permanent fault gives an error with the reason, and leaves no wrong bytes", async (t) => {
  const cases: [string, Fault, RegExp, boolean?][] = [
    ["always wrong bytes", { corruptFrom: 100 }, /image\.qcow2: its SHA-256 is [0-9a-f]{64} instead of [0-9a-f]{64}/],
    ["always a web page", { html: true }, /sent a web page instead of image\.qcow2, 6 times in a row/],
    ["always cut", { cutAfter: 1000 }, /ended \d+ bytes early|broke .* 6 times in a row/],
    ["always silent", { stallAfter: 0 }, /was silent for 0\.2 s, 6 times in a row/],
    ["always busy", { status: 503 }, /answered 503, 6 times in a row/],
    ["a long Retry-After", { status: 429, headers: { "retry-after": "3600" } }, /asks to wait for 3600 s/],
    ["not found", { status: 404 }, /answered 404/],
    ["a wrong size", { ignoreRange: true, lengthOff: 7 }, /has 8388615 bytes instead of 8388608/],
    ["circular redirects", { status: 302, headers: { location: "/file" } }, /redirects more than 8 times/],
    ["a redirect without a target", { status: 302 }, /redirects to nowhere/],
    ["a redirect to a file", { status: 302, headers: { location: "file:///etc/passwd" } }, /redirects to nowhere/],
  ];
  for (const [title, fault, why] of cases) {
    await t.step(title, async () => {
      await using setting = await Setting.make(8 * MIB);
      setting.server.options.fault = () => fault;
      await setting.expectError(why, IMPATIENT);
      setting.server.options.fault = undefined;
      await setting.expectRight();
    });
  }
  await t.step("no server", async () => {
    await using setting = await Setting.make(8 * MIB);
    const { url } = setting.what.request;
    await setting.server[Symbol.asyncDispose]();
    await setting.expectError(/cannot be reached .* 6 times in a row/, {}, { request: { url } });
  });
});

Deno.test("download: versions of a file that changes midway are never mixed, with or without a digest", async () => {
  for (const digest of [true, false]) {
    await using setting = await Setting.make(8 * MIB, { digest });
    const old = setting.bytes.slice();
    setting.server.options.fault = inOrder({ cutAfter: 3 * MIB }, { change: true }, undefined);
    if (digest) {
      await setting.expectError(/its SHA-256 is|changed during the download/);
    } else {
      const { sha256: got } = await download(setting.path, setting.what, QUICK);
      const now = setting.server.files.get("/file")!.bytes;
      assertEquals(got, await sha256(now));
      assert(got !== await sha256(old));
    }
  }
});

Deno.test("download: without a digest, it does not continue if versions cannot be told apart", async (t) => {
  const soon = new Date(Date.now() - 1000).toUTCString();
  const kinds: Record<string, Record<string, string>[]> = {
    "no validator": [{ etag: "" }],
    "a weak ETag": [{ etag: 'W/"one"' }],
    "a change in the same second as the answer": [{ etag: "", "last-modified": soon, date: soon }],
    "a date, with If-Range ignored": [
      { etag: "", "last-modified": "Thu, 01 Jan 2026 00:00:00 GMT", date: soon },
      { etag: "", "last-modified": "Fri, 02 Jan 2026 00:00:00 GMT", date: soon },
    ],
  };
  for (const [title, [first, second = first]] of Object.entries(kinds)) {
    await t.step(title, async () => {
      await using setting = await Setting.make(12 * MIB, { digest: false });
      const { server } = setting;
      server.options.ignoreConditions = true;
      server.options.fault = inOrder({ cutAfter: 6 * MIB, headers: first }, { change: true, headers: second }, {
        headers: second,
      });
      const { sha256: got } = await download(setting.path, setting.what, QUICK);
      assertEquals(got, await sha256(server.files.get("/file")!.bytes));
      assertEquals(got, await sha256(await Deno.readFile(setting.path)));
    });
  }
});

Deno.test("download: compressed or overlong answers are not taken for the file", async () => {
  await using setting = await Setting.make(MIB, { digest: false });
  const packed = await toBytes(
    new Blob([setting.bytes.slice()]).stream().pipeThrough(new CompressionStream("gzip")),
  );
  setting.server.files.set("/file", { bytes: packed, etag: '"packed"' });
  setting.server.options.fault = () => ({ headers: { "content-encoding": "gzip" } });
  await setting.expectError(/sent image\.qcow2 in another form \(gzip\)/, {}, { size: undefined });
  setting.server.files.set("/file", { bytes: setting.bytes, etag: '"one"' });
  setting.server.options.fault = () => ({ noLength: true });
  for (const size of [MIB - 1, MIB / 2, 4096]) {
    await setting.expectError(/image\.qcow2 has more than \d+ bytes/, {}, { size });
  }
});

Deno.test("download: a refused second connection does not end the first one", async () => {
  await using setting = await Setting.make(24 * MIB);
  setting.server.options.bytesPerSecond = 8 * MIB;
  setting.server.options.fault = inOrder(undefined, { status: 403 }, undefined);
  await setting.expectRight();
});

Deno.test("download: a token is sent only to its host", async () => {
  await using home = await Setting.make(MIB);
  await using away = await Setting.make(MIB);
  home.server.options.fault = () => ({ status: 302, headers: { location: `${away.server.origin}/file` } });
  const request = { url: `${home.server.origin}/file`, token: "secret" };
  await away.expectRight({}, { request });
  assertEquals(home.server.seen.map(({ headers }) => headers.get("authorization")), ["Bearer secret"]);
  assertEquals(away.server.seen.map(({ headers }) => headers.get("authorization")), [null]);
});

Deno.test("download: an error about an unreachable address omits its signature", async () => {
  await using setting = await Setting.make(MIB);
  const away = new StorageServer();
  setting.server.options.fault = () => ({ status: 302, headers: { location: `${away.origin}/file?sig=hidden` } });
  await away[Symbol.asyncDispose]();
  const told: string[] = [];
  await setting.expectError(/^(?!.*hidden).*cannot be reached \(.+\)/, { onTrouble: (message) => told.push(message) });
  assertEquals(told.filter((message) => message.includes("hidden")), []);
});

Deno.test("download: it asks for a new address when a signed one expires", async () => {
  await using storage = await Setting.make(12 * MIB);
  await using api = new StorageServer();
  const { server } = storage;
  server.options.signed = true;
  api.options.fault = () => ({ status: 302, headers: { location: server.sign("/file") } });
  let cuts = 0;
  server.options.fault = () => {
    if (cuts++ >= 1) return undefined;
    server.expire();
    return undefined;
  };
  await storage.expectRight({}, { request: { url: `${api.origin}/asset` } });
  assertEquals(api.seen.length, 2);
});

Deno.test("download: refusals at two new addresses in a row end it", async () => {
  await using storage = await Setting.make(MIB);
  await using api = new StorageServer();
  api.options.fault = () => ({ status: 302, headers: { location: storage.server.sign("/file") } });
  storage.server.options.fault = () => ({ status: 403 });
  const request = { url: `${api.origin}/asset` };
  await storage.expectError(/^127\.0\.0\.1:\d+ answered 403 for image\.qcow2, at new addresses too/, {}, { request });
  assertEquals(api.seen.length, 2);
});

Deno.test("download: a connection that only trickles is given up", async () => {
  await using setting = await Setting.make(MIB);
  setting.server.options.bytesPerSecond = 10;
  await setting.expectError(/sent only \d+ B in 0\.5 s, 2 times in a row/, {
    stallMs: 500,
    retry: { ...QUICK.retry, attempts: 2 },
  });
  setting.server.options.bytesPerSecond = Infinity;
  await setting.expectRight();
});

Deno.test("download: the explanation of a refusal with a body arrives", async () => {
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    () => Response.json({ message: "Bad credentials" }, { status: 401 }),
  );
  await using setting = await Setting.make(MIB);
  const explain = async (response: Response) => new HotbootError(`refused: ${(await response.json()).message}`);
  const request = { url: `http://127.0.0.1:${server.addr.port}/file` };
  await setting.expectError(/^refused: Bad credentials$/, {}, { request, explain });
});

testUnless(await lackOfSmallDisks(), "download: lack of disk space is reported before any fetch", async () => {
  await using setting = await Setting.make(8 * MIB);
  const small = `${setting.directory}/small`;
  await using _disk = await smallDisk(small, 20);
  setting.server.options.bytesPerSecond = MIB;
  const error = await assertRejects(() => download(`${small}/part`, setting.what, QUICK), HotbootError);
  assertMatch(
    error.message,
    /image\.qcow2 needs 8\.0 MB of disk, and 16 MB must stay free, but .* has only 20 MB: free some space/,
  );
  await using long = await Setting.make(24 * MIB); // for a size that is not known beforehand
  long.server.options.fault = () => ({ noLength: true });
  const what = { ...long.what, size: undefined };
  const full = await assertRejects(() => download(`${small}/part`, what, QUICK), HotbootError);
  assertMatch(
    full.message,
    /^image\.qcow2 cannot be written \(No space left on device.*\): free some space, then try again/,
  );
});

Deno.test("download: random faults end in the right bytes or in an error with the reason", async () => {
  const size = 64 * MIB;
  await using setting = await Setting.make(size);
  let right = 0;
  const schedules = rounds(40, 200);
  for (let seed = 1; seed <= schedules; seed++) {
    const next = random(seed);
    const below = (limit: number) => Math.floor(next() * limit);
    const kinds: (() => Fault)[] = [
      () => ({ cutAfter: below(size) }),
      () => ({ cutAfter: below(300_000) }),
      () => ({ stallAfter: below(size / 2) }),
      () => ({ status: [429, 500, 502, 503, 504][below(5)], headers: next() < 0.5 ? { "retry-after": "0" } : {} }),
      () => ({ ignoreRange: true, ...(next() < 0.5 && { cutAfter: below(size) }) }),
      () => ({ html: true }),
      () => ({ corruptFrom: below(size) }),
      () => ({ lengthOff: below(2000) - 1000 }),
      () => ({ totalOff: 1 + below(100) }),
      () => ({ noLength: true, ...(next() < 0.5 && { cutAfter: below(size) }) }),
      () => ({ status: 404 }),
    ];
    const bad = 0.1 + next() * 0.75; // some schedules are nearly hopeless
    setting.server.options.fault = () => next() < bad ? kinds[below(kinds.length)]() : undefined;
    setting.server.files.set("/file", { bytes: setting.bytes, etag: '"one"' });
    await Deno.remove(setting.path).catch(() => {});
    await Deno.remove(`${setting.path}.json`).catch(() => {});
    const what: Download = next() < 0.5 ? setting.what : { ...setting.what, size: undefined };
    try {
      const result = await download(setting.path, what, { ...QUICK, stallMs: 60 });
      assertEquals(result.sha256, setting.what.sha256, `seed ${seed}`);
      assertEquals(await sha256(await Deno.readFile(setting.path)), setting.what.sha256, `seed ${seed}`);
      right++;
    } catch (error) {
      assert(error instanceof HotbootError, `seed ${seed}: ${(error as Error)?.stack}`);
      const { message } = error as HotbootError;
      assert(message.length > 20 && !message.includes("\n"), `seed ${seed}: ${message}`);
    }
  }
  assert(right > 0.3 * schedules, `only ${right} of ${schedules} came through`);
});
