// needs: micro

/** `hotboot ui` with a real guest, in a real browser, by the keyboard alone. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { toText } from "@std/streams/to-text";
import axe from "axe-core";
import { Home } from "../../lib/instance/home.ts";
import { lock } from "../../lib/instance/locks.ts";
import { Browser } from "./browser.ts";
import { GuestHome } from "./guest_home.ts";
import { readUntil, type RunOptions, textReader } from "./program.ts";
import { ROTATE, secretMicro } from "./secret_micro.ts";

/** What a guest and a home say that a page must not obey. */
const HTML = "<img src=x onerror=document.title='broken'>";

/** The page while it is served, and its address. */
async function serve(
  micro: GuestHome,
  options: RunOptions = {},
  ...args: string[]
): Promise<AsyncDisposable & { url: string }> {
  const child = micro.spawnWith(options, "ui", "--json", ...args);
  const stderr = toText(child.stderr);
  const said = await readUntil(textReader(child.stdout), "}\n");
  return {
    url: JSON.parse(said).url,
    async [Symbol.asyncDispose]() {
      child.kill("SIGINT");
      assertEquals([(await child.status).code, await stderr], [0, ""]);
    },
  };
}

/** Whether an instance's card has this text. */
const cardHas = (instance: string, text: string) =>
  `document.getElementById("instance-${instance}")?.closest("article").innerText.includes(${JSON.stringify(text)})`;

/** A request of the page's own script, or of another page's. */
const post = (address: string, body: unknown, more = "") =>
  `fetch("${address}", { method: "POST", headers: { "content-type": "application/json" }, ${more}
    body: ${JSON.stringify(JSON.stringify(body))} }).then((answer) => answer.text())`;

Deno.test("ui: a guest is started, forked, saved, suspended and reset on the page, by the keyboard", async (t) => {
  await using micro = await secretMicro(ROTATE, undefined, { captured: true });
  await Deno.mkdir(`${micro.home}/instances/${HTML.replace("/", "")}`, { recursive: true });
  await using ui = await serve(micro);
  await using browser = await Browser.open();
  await browser.go(ui.url);
  await browser.until(cardHas("micro", "stopped"));
  const page = await browser.evaluate<string>("location.href");
  /** Moves to a button and presses it. */
  const press = async (name: string) => {
    await browser.tabTo(name);
    await browser.type("Enter");
  };
  /** The secret, which is in no answer before somebody asks for it. */
  let token = "";

  await t.step("start: the state changes, and the focus stays", async () => {
    await press("Start micro");
    await browser.until(cardHas("micro", "web: healthy"));
    await browser.untilFocused("Suspend micro");
    await browser.until("document.querySelector('[role=status]').textContent !== ''");
    const said = await browser.evaluate<string>("document.querySelector('[role=status]').textContent");
    assertMatch(said, /micro is running\.|start micro: done\./);
    await browser.until(cardHas("micro", "own,")); // its memory
    assert(await browser.evaluate(cardHas("micro", micro.ports.web.toString())));
  });

  await t.step("secrets are sent when they are asked for, and not before", async () => {
    token = JSON.parse(await micro.succeed("credentials", ["--json"])).TOKEN;
    const event = "new EventSource('events').onmessage = ({ target, data }) => (target.close(), resolve(data))";
    const sent = await browser.evaluate<string>(`new Promise((resolve) => { ${event} })`);
    const shown = "document.documentElement.outerHTML";
    assert(sent.includes('"micro"') && !sent.includes(token));
    assert(!(await browser.evaluate<string>(shown)).includes(token));
    await press("Secrets micro");
    await browser.see(token);
    await browser.untilFocused("Hide secrets micro");
    await browser.type("Enter");
    await browser.until(`!${shown}.includes(${JSON.stringify(token)})`);
  });

  await t.step("the console goes on, and what a guest prints is text", async () => {
    await press("Console micro");
    await browser.until("document.querySelector('.console')");
    await micro.exec("sh", "-c", `echo "${HTML}" >/dev/console`);
    await browser.until(`document.querySelector('.console').textContent.includes(${JSON.stringify(HTML)})`);
    assert(await browser.evaluate(`document.body.innerText.includes("onerror")`));
    assertEquals(await browser.evaluate("[document.images.length, document.title]"), [0, "hotboot"]);
  });

  await t.step("fork: a question with the focus in it, which gives the focus back", async () => {
    await press("Fork… micro");
    await browser.untilFocused("Name of the new instance");
    await browser.type("Escape");
    await browser.until("!document.querySelector('dialog')");
    await browser.untilFocused("Fork… micro");
    await browser.type("Enter", "second", "Enter");
    await browser.until(cardHas("second", "web: healthy"));
    await browser.untilFocused("Fork… micro");
  });

  await t.step("what fails says why, and what to do", async () => {
    await browser.type("Enter", "second", "Enter");
    await browser.see("instance 'second' is running: choose another name");
    await browser.type("Enter", "No good", "Enter");
    await browser.see("an instance cannot be called 'No good'");
  });

  await t.step("save: the checkpoint is in the tree, below the snapshot", async () => {
    await press("Save… micro");
    await browser.type("moment", "Enter");
    await browser.until(
      "[...document.querySelectorAll('.tree ul strong')].some(({ textContent }) => textContent === 'moment')",
    );
  });

  await t.step("two things at once on one instance: the second waits for the first, and says so", async () => {
    {
      using _other = await lock(new Home(micro.home), "instance-micro", () => {});
      await press("Suspend micro");
      await browser.see("waiting for another hotboot that works on instance 'micro'");
      assert(await browser.evaluate(cardHas("micro", "running")));
    }
    await browser.until(cardHas("micro", "suspended"));
    await browser.untilFocused("Start micro");
  });

  await t.step("reset: only when the name was typed", async () => {
    await press("Reset… second");
    await browser.type("micro", "Enter");
    await browser.see("nothing was reset");
    assert(await browser.evaluate(cardHas("second", "running")));
    await browser.type("Enter", "second", "Enter");
    await browser.until("!document.getElementById('instance-second')");
    await browser.untilFocused("Instances"); // what had it is gone
  });

  await t.step("the page can be read by everybody, in light and dark", async () => {
    await browser.evaluate(`${axe.source}; undefined`);
    for (const scheme of ["light", "dark"] as const) {
      await browser.picture(scheme);
      const faults = "axe.run().then(({ violations }) => violations.map(({ id, nodes }) => id + ': ' + nodes[0].html))";
      assertEquals(await browser.evaluate(faults), [], scheme);
    }
  });

  await t.step("nothing was asked of any other machine, and nothing was refused by the page's policy", () => {
    const hosts = new Set(browser.requests.map((url) => new URL(url).hostname));
    assertEquals([...hosts].filter((host) => host !== "127.0.0.1" && host !== ""), []);
    assertEquals(browser.complaints.filter((each) => /content security policy|uncaught/i.test(each)), []);
  });

  await t.step("another port gets no cookie, and its page can ask for nothing", async () => {
    const cookies: (string | null)[] = [];
    await using other = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, ({ headers }) => {
      cookies.push(headers.get("cookie"));
      return new Response("another page", { headers: { "content-type": "text/html" } });
    });
    await browser.go(`http://127.0.0.1:${other.addr.port}/`);
    await browser.see("another page");
    const wish = { verb: "start", instance: "micro" };
    const asked = post(`${page}wishes`, wish, `mode: "no-cors", credentials: "include",`);
    await browser.evaluate(`${asked}.catch(() => "")`);
    const read = `fetch("${page}events", { credentials: "include" }).then(() => "read", () => "refused")`;
    assertEquals(await browser.evaluate(read), "refused");
    const framed = `new Promise((resolve) => {
      const frame = document.createElement("iframe");
      frame.onload = () => { try { resolve(frame.contentDocument === null ? "closed" : frame.contentDocument.URL) } catch { resolve("closed") } };
      frame.src = "${page}"; document.body.append(frame); })`;
    assertEquals(await browser.evaluate(framed), "closed");
    assertEquals([...new Set(cookies)], [null]);
    await browser.go(page);
    await browser.until(cardHas("micro", "suspended"));
    assert(!(await browser.evaluate<string>("document.body.innerText")).includes("start micro\nat work"));
  });
});

Deno.test("ui: the server lets in who has the address, and sends its policy with everything", async () => {
  await using micro = await GuestHome.make();
  const opened = `${micro.directory}/opened`;
  await Deno.writeTextFile(
    `${micro.directory}/xdg-open`,
    `#!/bin/sh\necho "$1" >${opened}.part; mv ${opened}.part ${opened}\n`,
  );
  await Deno.chmod(`${micro.directory}/xdg-open`, 0o755);
  const env = { PATH: `${micro.directory}:${Deno.env.get("PATH")}` };
  await using ui = await serve(micro, { env }, "--open");
  const { origin, host } = new URL(ui.url);
  const ask = (url: string, init: RequestInit = {}) => fetch(url, { ...init, redirect: "manual" });
  const entered = await ask(ui.url);
  const page = new URL(entered.headers.get("location")!, ui.url).href;
  const cookie = entered.headers.get("set-cookie")!.split(";")[0];
  const json = { cookie, "content-type": "application/json" };
  const post = (path: string, headers: Record<string, string>, body = "{}") =>
    ask(`${page}${path}`, { method: "POST", headers, body });
  const events = await ask(`${page}events`, { headers: { cookie } });
  const answers: [number, Response][] = [
    [303, entered],
    [401, await ask(page)],
    [401, await ask(`${page}?token=0`)],
    [404, await ask(`${origin}/`, { headers: { cookie } })],
    [200, await ask(page, { headers: { cookie } })],
    [200, await ask(`${page}page.js`, { headers: { cookie } })],
    [404, await ask(`${page}constructor`, { headers: { cookie } })],
    [200, events],
    [403, await post("secrets", json)],
    [403, await post("wishes", { ...json, origin: "http://evil.example" })],
    [400, await post("wishes", { ...json, origin })],
    [400, await post("wishes", { ...json, origin }, "x".repeat(5000))],
    [400, await post("secrets", { ...json, origin }, '{"instance":"nobody"}')],
  ];
  for (const [status, answer] of answers) {
    assertEquals(answer.status, status, answer.url);
    assertMatch(answer.headers.get("content-security-policy")!, /^default-src 'none'; script-src 'self'; /);
    await answer.body?.cancel();
  }
  for (const [named, status] of [[host, 200], ["evil.example", 403]]) {
    using connection = await Deno.connect({ hostname: "127.0.0.1", port: Number(new URL(origin).port) });
    const head = `GET ${
      new URL(page).pathname
    } HTTP/1.1\r\nHost: ${named}\r\nCookie: ${cookie}\r\nConnection: close\r\n\r\n`;
    await connection.write(new TextEncoder().encode(head));
    assertMatch(await toText(connection.readable), new RegExp(`^HTTP/1.1 ${status} `));
  }
  while (!await Deno.stat(opened).catch(() => undefined)) await new Promise((resolve) => setTimeout(resolve, 50));
  const ticket = (await Deno.readTextFile(opened)).trim();
  const statuses = [await ask(ticket), await ask(ticket)].map(({ status }) => status);
  assertEquals([ticket === ui.url, ...statuses], [false, 303, 401]);
});
