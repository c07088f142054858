import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { HotbootError } from "../../lib/base/error.ts";
import { envPort } from "../../lib/profile/env.ts";
import { formatBytes, formatDuration, formatSpan, renderProgressLine } from "../../lib/base/format.ts";
import { GitHub } from "../../lib/release/github.ts";
import { get, retryAfter } from "../../lib/release/http.ts";
import { consoleReporter, printError } from "../../lib/cli/ui/console.ts";
import { ProgressLine } from "../../lib/cli/ui/progress.ts";
import { age, renderTable } from "../../lib/cli/ui/table.ts";
import { HOST_ARCH, resolveArch } from "../../lib/vm/arch.ts";

Deno.test("format: bytes", () => {
  const KB = 1024;
  for (
    const [bytes, text] of [
      [0, "0 B"],
      [1, "1 B"],
      [1023, "1023 B"],
      [1024, "1.0 KB"],
      [1536, "1.5 KB"],
      [9.94 * KB, "9.9 KB"],
      [9.96 * KB, "10 KB"],
      [10240, "10 KB"],
      [1023.4 * KB, "1023 KB"],
      [1023.9 * KB, "1.0 MB"],
      [5 * KB ** 2, "5.0 MB"],
      [3 * KB ** 3, "3.0 GB"],
      [2 * KB ** 4, "2.0 TB"],
      [5000 * KB ** 4, "5000 TB"],
      [NaN, "?"],
      [Infinity, "?"],
      [-1, "?"],
    ] as const
  ) assertEquals(formatBytes(bytes), text);
});

Deno.test("format: durations", () => {
  for (
    const [seconds, text] of [
      [0, "0s"],
      [59, "59s"],
      [59.4, "59s"],
      [59.9, "1m00s"],
      [61, "1m01s"],
      [3599, "59m59s"],
      [3599.9, "1h00m"],
      [3600, "1h00m"],
      [3660, "1h01m"],
      [100 * 3600, "100h00m"],
      [NaN, "?"],
      [Infinity, "?"],
      [-1, "?"],
    ] as const
  ) assertEquals(formatDuration(seconds), text);
});

Deno.test("format: progress", () => {
  const line = renderProgressLine(512 * 1024, 1024 * 1024, 128 * 1024);
  assertEquals(line, " 50.0%  512 KB / 1.0 MB  128 KB/s  eta 4s");
  for (const total of [0, NaN, Infinity, -1]) {
    const unknown = renderProgressLine(1536, total, 1024);
    assertEquals(unknown, "1.5 KB  1.0 KB/s");
  }
  assertMatch(renderProgressLine(200, 100, 10), /^100\.0% .* eta 0s$/);
  assertEquals(renderProgressLine(1, 100, 0).includes("eta"), false);
  assertEquals(renderProgressLine(1, 100, NaN).includes("eta"), false);
});

Deno.test("progress: a terminal gets one line that is overwritten, and anything else a line now and then", () => {
  let written = "";
  const terminal = new ProgressLine(true, (text) => written += text);
  for (let at = 0; at <= 100; at++) terminal.show("file", at, 100, at * 50);
  terminal.show("other", 0, 10, 6000);
  terminal.close();
  const [first, second, rest] = written.split("\n");
  assertEquals(rest, "");
  assertEquals(first.split("\r").length - 1, 51); // every other update, and the end
  // deno-lint-ignore no-control-regex -- terminal control sequences
  assertMatch(first, /\rhotboot: file {2}100\.0% {2}100 B \/ 100 B {2}20 B\/s {2}eta 0s\x1b\[K$/);
  assertMatch(second, /^\rhotboot: other/);

  written = "";
  const plain = new ProgressLine(false, (text) => written += text);
  for (let at = 0; at <= 100; at++) plain.show("file", at, 100, at * 150);
  const lines = written.trimEnd().split("\n");
  assertEquals(lines.length, 3); // at 5 s, at 10 s, and at the end
  assertMatch(lines[2], /100\.0%/);
});

Deno.test("progress: a line does not wrap on a narrow terminal, and the rate is not negative after a restart", () => {
  let written = "";
  const terminal = new ProgressLine(true, (text) => written += text, () => 29);
  terminal.show("image.qcow2", 50, 100, 0);
  // deno-lint-ignore no-control-regex -- terminal control sequences
  assertMatch(written, /^\rhotboot: image\.qcow2 {3}50\.0%\x1b\[K$/);
  written = "";
  const plain = new ProgressLine(false, (text) => written += text);
  plain.show("image.qcow2", 50, 100, 0);
  plain.show("image.qcow2", 10, 100, 6000);
  assertEquals(written, "hotboot: image.qcow2   10.0%  10 B / 100 B  0 B/s\n");
});

Deno.test("console: an error gets its own line, not the one that shows progress", async () => {
  let written = "";
  const take = (bytes: Uint8Array) => {
    written += new TextDecoder().decode(bytes);
    return bytes.length;
  };
  const { stderr } = Deno;
  const terminal = {
    isTerminal: () => true,
    writeSync: take,
    write: (bytes: Uint8Array) => Promise.resolve(take(bytes)),
  };
  Object.assign(stderr, terminal);
  try {
    consoleReporter("normal").progress("file", 1, 2);
    await printError("hotboot: interrupted");
  } finally {
    for (const name of Object.keys(terminal)) Reflect.deleteProperty(stderr, name); // uncovers the real ones
  }
  assert(written.endsWith("\x1b[K\nhotboot: interrupted\n"), JSON.stringify(written));
});

Deno.test("table: columns are as wide as their widest cell", () => {
  assertEquals(renderTable(["A", "LONG"], [["abc", "x"], ["", "yy"]]), "A    LONG\nabc  x\n     yy");
});

Deno.test("arch: there are two names, and the host's is the default", () => {
  assertEquals([resolveArch("arm64"), resolveArch("amd64")], ["arm64", "amd64"]);
  assertEquals([resolveArch(), resolveArch("")], [HOST_ARCH, HOST_ARCH]);
  for (const raw of ["x86_64", "ARM64", " amd64"]) {
    assertThrows(() => resolveArch(raw), HotbootError, "Invalid architecture");
  }
});

Deno.test("env: a value that is not a port gives an error that names the variable", () => {
  const name = "HOTBOOT_TEST_SOME_PORT";
  const read = (value?: string) => {
    if (value === undefined) Deno.env.delete(name);
    else Deno.env.set(name, value);
    return envPort(name, 26700);
  };
  assertEquals([read(), read(""), read("1"), read("65535"), read("08080")], [26700, 26700, 1, 65535, 8080]);
  for (const bad of ["0", "65536", "-1", "1.5", "1e3", "abc", " 80", "0x50"]) {
    assertThrows(() => read(bad), HotbootError, `${name} is '${bad}', which is not a port`);
  }
  Deno.env.delete(name);
});

Deno.test("format: an age is exact, then in days, and never of the future", () => {
  const ages = [0, 59.6, 3600, 3 * 86_400 - 1, 3 * 86_400, 400 * 86_400, -1, -400 * 86_400, NaN];
  assertEquals(ages.map(formatSpan), ["0s", "1m00s", "1h00m", "71h59m", "3d", "400d", "0s", "0s", "?"]);
  assertEquals(age(new Date(Date.now() + 86_400_000).toISOString()), "0s");
  assertEquals([age(undefined), age("soon")], ["?", "?"]);
});

Deno.test("http: Retry-After is seconds or a date", () => {
  const answer = (value: string) => new Response(null, { headers: { "retry-after": value } });
  const now = Date.parse("2026-01-01T00:00:00Z");
  assertEquals(retryAfter(answer("7"), now), 7000);
  assertEquals(retryAfter(answer("Thu, 01 Jan 2026 00:00:10 GMT"), now), 10_000);
  assertEquals(retryAfter(answer("Thu, 01 Jan 2020 00:00:10 GMT"), now), 0);
  assertEquals(retryAfter(answer("soon"), now), undefined);
  // This host's clock may be years off: the server's own counts.
  const headers = { "retry-after": "Thu, 01 Jan 2032 00:00:10 GMT", date: "Thu, 01 Jan 2032 00:00:00 GMT" };
  assertEquals(retryAfter(new Response(null, { headers })), 10_000);
  assertEquals(retryAfter(new Response(null), now), undefined);
});

Deno.test("http: an error does not quote a token that is no valid header value", async () => {
  const value = "secret\nhalf";
  const why = /^the token from GITHUB_TOKEN contains a space or another invalid character: correct it$/;
  const error = assertThrows(() => new GitHub({ token: { value, from: "GITHUB_TOKEN" } }), HotbootError);
  assertMatch(error.message, why);
  const other = await assertRejects(() => get({ url: "http://127.0.0.1:9", token: value }), HotbootError);
  assert(!other.message.includes("secret"), other.message);
});

Deno.test("github: a used-up rate limit (403 or 429) says until when, and a temporary refusal for how long", async () => {
  const github = new GitHub();
  const reset = String(Math.floor(Date.now() / 1000) + 1800);
  const used = { "x-ratelimit-remaining": "0", "x-ratelimit-reset": reset };
  const cases: [number, Record<string, string>, RegExp][] = [
    [403, used, /rate limit is used up until \d\d:\d\d UTC: wait \d+ min, or set GITHUB_(ENTERPRISE_)?TOKEN/],
    [429, used, /rate limit is used up until \d\d:\d\d UTC/],
    [403, { "retry-after": "600" }, /asks to wait for 600 s .*: try again then$/],
  ];
  for (const [status, headers, why] of cases) {
    await using server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: () => {} },
      () => Response.json({ message: "slow down" }, { status, headers }),
    );
    const there = new GitHub({ api: `http://127.0.0.1:${server.addr.port}` });
    assertMatch((await assertRejects(() => there.release("a/b", "c"), HotbootError)).message, why);
    const answer = Response.json({ message: "slow down" }, { status, headers }); // or an asset's bytes
    assertMatch((await github.explain(answer, "x")).message, why);
  }
});

Deno.test("github: a silent API is asked again, then given up", async () => {
  const silent = new Response(new ReadableStream({ start: (controller) => controller.enqueue(new Uint8Array([123])) }));
  const answers = [new Promise<Response>(() => {}), silent, Response.json({ tag_name: "c", assets: [] })];
  const stop = new AbortController();
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {}, signal: stop.signal },
    () => answers.shift() ?? new Promise<Response>(() => {}),
  );
  const retry = { attempts: 3, baseMs: 1, answerMs: 200 };
  const github = new GitHub({ api: `http://127.0.0.1:${server.addr.port}`, retry });
  assertEquals((await github.release("a/b", "c")).tag_name, "c");
  const error = await assertRejects(() => github.release("a/b", "c"), HotbootError);
  assertMatch(error.message, /^127\.0\.0\.1:\d+ did not answer within 0\.2 s, 3 times: try again later$/);
  stop.abort();
  await server.finished;
});

Deno.test("github: the token is not sent to another origin that the API names", () => {
  const github = new GitHub({ api: "https://ghe.example/api/v3", token: { value: "secret", from: "GH_TOKEN" } });
  assertEquals(github.bytesRequest("https://ghe.example/api/v3/repos/a/b/releases/assets/1").token, "secret");
  for (const url of ["https://api.github.com/assets/1", "http://ghe.example/1", "https://ghe.example:444/1"]) {
    assertEquals(github.bytesRequest(url).token, undefined, url);
  }
});
