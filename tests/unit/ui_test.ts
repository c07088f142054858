/** The page of `hotboot ui` without a browser: who is let in, what may be asked for, and what is sent. */

import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { readArguments, UsageError } from "../../lib/cli/commands/command.ts";
import { command } from "../../lib/cli/commands/ui.ts";
import { Access } from "../../lib/ui/access.ts";
import assets from "../../lib/ui/assets.json" with { type: "json" };
import { Activities } from "../../lib/ui/activities.ts";
import { type Ask, resultOf } from "../../lib/ui/ask.ts";
import { consoleOf } from "../../lib/ui/console_stream.ts";
import { Looks } from "../../lib/ui/looks.ts";
import type { InstanceView } from "../../lib/ui/view.ts";
import { commandFor, optionsFor } from "../../lib/ui/wishes.ts";
import { makeAssets } from "../../dev/page.ts";

const PORT = 4242;
const ORIGIN = `http://127.0.0.1:${PORT}`;

/** A request as a browser sends it. */
function request(url: string, headers: Record<string, string> = {}, init: RequestInit = {}): Request {
  return new Request(url, { ...init, headers: { host: `127.0.0.1:${PORT}`, ...headers } });
}

/** The answer that is not what was asked for. */
function refusal(access: Access, ...asked: Parameters<typeof request>): Response {
  const allowed = access.check(request(...asked));
  if (typeof allowed === "string") throw new Error(`${allowed} is let in`);
  return allowed;
}

/** What the page answers: the path that it lets through, or the status. */
function answerOf(access: Access, ...asked: Parameters<typeof request>): string | number {
  const allowed = access.check(request(...asked));
  return typeof allowed === "string" ? allowed : allowed.status;
}

/** A page's address without the token, and the cookie that a browser gets for the token. */
function enter(access: Access): { page: string; cookie: string; set: string } {
  const answer = refusal(access, access.url);
  const set = answer.headers.get("set-cookie")!;
  const location = answer.headers.get("location")!;
  return { page: ORIGIN + location, cookie: set.split(";")[0], set };
}

Deno.test("ui: the address opens the page, and nothing else does", () => {
  const access = new Access(PORT);
  const { page, cookie, set } = enter(access);
  assertMatch(page, /^http:\/\/127\.0\.0\.1:4242\/[0-9a-f]{32}\/$/);
  assertMatch(set, new RegExp(`^hotboot=[0-9a-f]{64}; Path=${new URL(page).pathname}; HttpOnly; SameSite=Strict$`));
  assertEquals(answerOf(access, `${page}events`, { cookie }), "events");
  assertEquals(answerOf(access, page, { cookie: `other=1; ${cookie}` }), "");

  assertEquals(answerOf(access, page), 401);
  assertEquals(answerOf(access, page, { cookie: "hotboot=" }), 401);
  assertEquals(answerOf(access, page, { cookie: enter(new Access(PORT)).cookie }), 401);
  assertEquals(answerOf(access, `${page}?token=${"0".repeat(64)}`), 401);
  assertEquals(answerOf(access, `${page}?token=`, { cookie }), 401);
  assertEquals(answerOf(access, `${ORIGIN}/`, { cookie }), 404);
  assertEquals(answerOf(access, `${ORIGIN}/${"0".repeat(32)}/events`, { cookie }), 404);
});

Deno.test("ui: other hosts, pages and methods are refused, also with the cookie", () => {
  const access = new Access(PORT);
  const { page, cookie } = enter(access);
  for (const host of [`evil.example:${PORT}`, `localhost:${PORT}`, "127.0.0.1", `127.0.0.1:${PORT + 1}`, ""]) {
    assertEquals(answerOf(access, page, { cookie, host }), 403, host);
    assertEquals(answerOf(access, access.url, { host }), 403, host);
  }
  const events = `${page}events`;
  assertEquals(answerOf(access, events, { cookie, "sec-fetch-site": "same-origin" }), "events");
  for (const site of ["cross-site", "same-site"]) {
    assertEquals(answerOf(access, events, { cookie, "sec-fetch-site": site }), 403, site);
  }
  const post = { method: "POST", body: "{}" };
  const json = { cookie, "content-type": "application/json" };
  assertEquals(answerOf(access, `${page}wishes`, { ...json, origin: ORIGIN }, post), "wishes");
  for (const origin of ["http://127.0.0.1:4243", "https://127.0.0.1:4242", "null", "http://evil.example"]) {
    assertEquals(answerOf(access, `${page}wishes`, { ...json, origin }, post), 403, origin);
  }
  assertEquals(answerOf(access, `${page}wishes`, json, post), 403);
  assertEquals(answerOf(access, `${page}wishes`, { cookie, origin: ORIGIN }, post), 415);
  assertEquals(answerOf(access, page, { cookie }, { method: "PUT", body: "" }), 405);
});

Deno.test("ui: the address that a browser is opened with works once", () => {
  const access = new Access(PORT);
  const ticket = access.ticketUrl();
  const { cookie } = enter(access);
  const answer = refusal(access, ticket);
  assertEquals([answer.status, answer.headers.get("set-cookie")!.split(";")[0]], [303, cookie]);
  assertEquals(answerOf(access, ticket), 401);
  assert(!cookie.includes(new URL(ticket).searchParams.get("token")!));
});

Deno.test("ui: each refusal has the policy, too", () => {
  const access = new Access(PORT);
  const answer = refusal(access, `${ORIGIN}/`);
  assertMatch(answer.headers.get("content-security-policy")!, /^default-src 'none'; /);
  assert(!/unsafe|\*|https?:/.test(answer.headers.get("content-security-policy")!));
});

const INSTANCES: InstanceView[] = [
  { instance: "micro", state: "running", profile: "micro", arch: "arm64", bytes: 1 },
  { instance: "new", state: "stopped", bytes: 0 },
  { instance: "other", state: "suspended", profile: "demo", arch: "amd64", bytes: 1, elsewhere: "type this" },
  { instance: "--all", state: "damaged", bytes: 0 },
];

Deno.test("ui: a wish is a command, and what comes from a browser is no option", () => {
  const commandOf = (wish: unknown) => {
    const { name, args } = commandFor(wish, INSTANCES);
    return [name, ...args].join(" ");
  };
  assertEquals(commandOf({ verb: "start", instance: "new" }), "start --instance new");
  assertEquals(commandOf({ verb: "stop", instance: "micro" }), "stop --instance micro --arch arm64");
  assertEquals(
    commandOf({ verb: "stop", instance: "micro", how: "shutdown" }),
    "stop --instance micro --arch arm64 --shutdown",
  );
  assertEquals(commandOf({ verb: "fork", source: "micro", name: "b" }), "fork --arch arm64 micro b");
  assertEquals(commandOf({ verb: "fork", source: "moment", name: "b" }), "fork moment b");
  assertEquals(
    commandOf({ verb: "save", instance: "micro", name: "x.1" }),
    "snapshot save --instance micro --arch arm64 x.1",
  );
  assertEquals(commandOf({ verb: "reset", instance: "new", confirmed: "new" }), "reset --instance new");

  const refused: [unknown, RegExp][] = [
    [{ verb: "reset", instance: "micro" }, /type the instance's name, micro/],
    [{ verb: "reset", instance: "micro", confirmed: "new" }, /type the instance's name/],
    [{ verb: "start", instance: "gone" }, /no such instance/],
    [{ verb: "start", instance: "other" }, /of another profile: type this/],
    [{ verb: "start", instance: "--all" }, /cannot be called/],
    [{ verb: "start", instance: ["micro"] }, /no such instance/],
    [{ verb: "fork", source: "--no-fallback", name: "b" }, /cannot be called/],
    [{ verb: "fork", source: "micro", name: "--json" }, /cannot be called/],
    [{ verb: "save", instance: "micro", name: "../x" }, /cannot be called/],
    [{ verb: "constructor" }, /does not know/],
    [{ verb: "exec" }, /does not know/],
    [null, /does not know/],
  ];
  for (const [wish, why] of refused) {
    assertThrows(() => commandOf(wish), Error, undefined, JSON.stringify(wish));
    try {
      commandOf(wish);
    } catch (error) {
      assertMatch((error as Error).message, why);
    }
  }
  assertThrows(() => optionsFor(undefined, INSTANCES));
});

const bytes = (text: string) => new TextEncoder().encode(text);

Deno.test("ui: a port is a number that a port can have", () => {
  assertEquals(readArguments("ui", command, ["--port", "8080"]).values, { port: "8080" });
  for (const port of ["0", "65536", "x", "80,81"]) {
    assertThrows(() => readArguments("ui", command, ["--port", port]), UsageError, "--port takes", port);
  }
});

Deno.test("ui: a command's result is its output; when it fails, the error is its last line", async () => {
  const fails: Ask = async ({ output }) => {
    await output("stderr", bytes("hotboot: a step\nhotboot: it is \x1b[2Jbro"));
    await output("stderr", bytes("ken: mend it\n"));
    return 1;
  };
  const lines: string[] = [];
  const error = await resultOf(fails, { name: "start", args: [] }, (line) => lines.push(line)).catch((error: Error) =>
    error
  ) as Error;
  assertEquals([error.message, lines], ["it is broken: mend it", ["a step", "it is broken: mend it"]]);

  const asked: string[][] = [];
  const works: Ask = async ({ name, args, output }) => {
    asked.push([name, ...args]);
    await output("stdout", bytes('{"a":'));
    await output("stdout", bytes("1}"));
    return 0;
  };
  assertEquals(await resultOf(works, { name: "list", args: ["--details"] }), { a: 1 });
  assertEquals(asked, [["list", "--details", "--json"]]);
});

Deno.test("ui: a console sends text only, and the end of what is too much", async () => {
  const end = new AbortController();
  const asked = Promise.withResolvers<void>();
  const ask: Ask = async ({ output, signal }) => {
    await output("stdout", bytes("\x1b[31mred\x1b[0m \x1b]0;title\x07<b>\r\n"));
    for (let count = 0; count < 100; count++) await output("stdout", bytes(`${count} ${"x".repeat(2000)}\n`));
    await output("stdout", bytes("the end"));
    await new Promise<void>((resolve) => signal!.addEventListener("abort", () => resolve()));
    asked.resolve();
    return 0;
  };
  const events = consoleOf(ask, ["--instance", "micro"], end.signal).pipeThrough(
    new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>,
  );
  for await (const event of events) {
    if (!event.includes("the end")) continue;
    const { text } = JSON.parse(event.slice("data: ".length));
    assert(text.length <= 64 * 1024 && text.endsWith("\nthe end"));
    break; // the browser goes: the command is ended
  }
  await asked.promise;
});

Deno.test("ui: it looks only while somebody looks at it, and shows what is done", async () => {
  const end = new AbortController();
  let looks = 0;
  const going = Promise.withResolvers<number>();
  const ask: Ask = async ({ name, output, signal }) => {
    if (name === "list") looks++;
    if (name === "start") {
      signal!.addEventListener("abort", () => going.resolve(130));
      await output("stderr", bytes("hotboot: resume\n"));
      return await going.promise;
    }
    await output("stdout", bytes("[]"));
    return 0;
  };
  const all = new Looks(ask, { profile: "micro", home: "/home", instance: "micro" }, end.signal);
  const activities = new Activities(ask, all, end.signal);
  const id = activities.begin(commandFor({ verb: "start", instance: "new" }, INSTANCES));
  const shown = () => all.view.value.activities.map(({ what, state, text }) => [what, state, text]);
  while (shown()[0][2] === "") await new Promise((resolve) => setTimeout(resolve));
  assertEquals([shown(), looks], [[["start new", "at work", "resume"]], 0]);
  activities.interrupt(id);
  await activities.ended();
  assertEquals(shown(), [["start new", "interrupted", ""]]);

  const unwatch = all.watch();
  while (all.view.value.instances.length === 0) await new Promise((resolve) => setTimeout(resolve));
  assertEquals(all.view.value.instances.map(({ instance, state }) => [instance, state]), [["micro", "stopped"]]);
  unwatch();
  assert(looks > 0);
  end.abort();
});

Deno.test("ui: the page in lib/ui/assets.json is made of the sources in lib/ui/browser/", async () => {
  assertEquals(assets, await makeAssets() as typeof assets, "run 'deno run -A dev/page.ts'");
});
