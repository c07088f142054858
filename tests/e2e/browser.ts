/**
 * A real browser, driven by the Chrome DevTools Protocol.
 *
 * Source: https://chromedevtools.github.io/devtools-protocol/
 */

import { assert } from "@std/assert";
import { readUntil, textReader } from "./program.ts";

/** For how long a test waits for something on a page: no machine is too slow. */
const PATIENCE_MS = 120_000;
const LOOK_MS = 50;

type Fields = Record<string, unknown>;

/** What the protocol says: an answer, or an event. */
interface Message {
  id?: number;
  sessionId?: string;
  method?: string;
  params?: Fields;
  result?: Fields;
  error?: { message: string };
}

/** A browser with one page, with a directory of its own. */
export class Browser implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #socket: WebSocket;
  readonly #directory: string;
  readonly #answers = new Map<number, PromiseWithResolvers<Fields>>();
  #last = 0;
  #session = "";
  /** The addresses that the page has asked for. */
  readonly requests: string[] = [];
  /** What the page has complained about: errors, and what its policy has refused. */
  readonly complaints: string[] = [];

  private constructor(child: Deno.ChildProcess, socket: WebSocket, directory: string) {
    this.#child = child;
    this.#socket = socket;
    this.#directory = directory;
    socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
  }

  /** Starts one. */
  static async open(): Promise<Browser> {
    const directory = await Deno.makeTempDir({ prefix: "hotboot-browser-" });
    const child = new Deno.Command("chromium", {
      args: [
        ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"],
        ...["--disable-background-networking", "--remote-debugging-port=0", `--user-data-dir=${directory}`],
        ...["--window-size=1100,900", "about:blank"],
      ],
      env: { HOME: directory },
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const reader = textReader(child.stderr);
    const said = await readUntil(reader, "/devtools/browser/");
    void (async () => {
      while (!(await reader.read()).done);
    })();
    const socket = new WebSocket(said.match(/ws:\S+/)![0]);
    await new Promise((resolve) => socket.onopen = resolve);
    const browser = new Browser(child, socket, directory);
    const { targetInfos } = await browser.send("Target.getTargets");
    const { targetId } = (targetInfos as { type: string; targetId: string }[]).find(({ type }) => type === "page")!;
    const { sessionId } = await browser.send("Target.attachToTarget", { targetId, flatten: true });
    browser.#session = sessionId as string;
    for (const domain of ["Page", "Runtime", "Network", "Log", "Accessibility"]) await browser.send(`${domain}.enable`);
    return browser;
  }

  /** Sends a command of the protocol, and gives the answer. */
  async send(method: string, params: Fields = {}): Promise<Fields> {
    const id = ++this.#last;
    const answer = Promise.withResolvers<Fields>();
    this.#answers.set(id, answer);
    this.#socket.send(JSON.stringify({ id, method, params, ...(this.#session && { sessionId: this.#session }) }));
    return await answer.promise;
  }

  #receive({ id, method, params = {}, result = {}, error }: Message): void {
    if (id !== undefined) {
      const answer = this.#answers.get(id);
      this.#answers.delete(id);
      return error ? answer?.reject(new Error(error.message)) : answer?.resolve(result);
    }
    if (method === "Network.requestWillBeSent") this.requests.push(Object(params.request).url);
    if (method === "Runtime.exceptionThrown") this.complaints.push(JSON.stringify(params.exceptionDetails));
    if (method === "Log.entryAdded" && Object(params.entry).level === "error") {
      this.complaints.push(JSON.stringify(params.entry));
    }
  }

  /** Loads a page. */
  async go(url: string): Promise<void> {
    await this.send("Page.navigate", { url });
  }

  /** The value of an expression on the page, which may be a promise. */
  async evaluate<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", {
      expression,
      awaitPromise: true,
      returnByValue: true,
    });
    assert(!exceptionDetails, `${expression}: ${JSON.stringify(exceptionDetails)}`);
    return Object(result).value;
  }

  /** Waits until an expression on the page is true, and gives its value. */
  async until<T = unknown>(expression: string, patienceMs = PATIENCE_MS): Promise<T> {
    const end = Date.now() + patienceMs;
    for (;;) {
      const value = await this.evaluate<T>(expression);
      if (value) return value;
      if (Date.now() > end) {
        throw new Error(`never: ${expression}\non the page: ${await this.evaluate("document.body.innerText")}`);
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }

  /** Waits until the page has this text. */
  async see(text: string): Promise<void> {
    await this.until(`document.body?.innerText.includes(${JSON.stringify(text)})`);
  }

  /** Types keys: a text, or the name of one key. */
  async type(...keys: string[]): Promise<void> {
    for (const key of keys) {
      if (!KEYS[key]) await this.send("Input.insertText", { text: key });
      else {
        for (const type of ["keyDown", "keyUp"]) await this.send("Input.dispatchKeyEvent", { type, key, ...KEYS[key] });
      }
    }
  }

  /** Presses Tab until the focus is on what has this name, as a screen reader says it. */
  async tabTo(name: string, most = 60): Promise<void> {
    const seen: string[] = [];
    for (let count = 0; count < most; count++) {
      await this.type("Tab");
      const focused = await this.focused();
      if (focused === name) return;
      seen.push(focused);
    }
    throw new Error(`Tab does not lead to '${name}', only to ${seen.join(", ")}`);
  }

  /** The name of what has the focus, as a screen reader says it. */
  async focused(): Promise<string> {
    const { result } = await this.send("Runtime.evaluate", { expression: "document.activeElement" });
    const { nodes } = await this.send("Accessibility.getPartialAXTree", {
      objectId: Object(result).objectId,
      fetchRelatives: false,
    });
    return Object((nodes as Fields[])[0].name).value ?? "";
  }

  /** Waits until the focus is on what has this name: what a screen reader says follows the page a little later. */
  async untilFocused(name: string): Promise<void> {
    const end = Date.now() + PATIENCE_MS;
    for (let focused; (focused = await this.focused()) !== name;) {
      assert(Date.now() < end, `the focus is on '${focused}', and never on '${name}'`);
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }

  /** A picture of the whole page, as the user prefers colours. */
  async picture(scheme: "light" | "dark"): Promise<Uint8Array> {
    await this.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
    const { data } = await this.send("Page.captureScreenshot", { format: "png", captureBeyondViewport: true });
    return Uint8Array.from(atob(data as string), (each) => each.charCodeAt(0));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#session = "";
    await this.send("Browser.close").catch(() => {});
    this.#socket.close();
    await this.#child.status;
    await Deno.remove(this.#directory, { recursive: true });
  }
}

/** Keys by their names, as the protocol describes them. */
const KEYS: Record<string, Fields> = {
  Tab: { code: "Tab", windowsVirtualKeyCode: 9 },
  Enter: { code: "Enter", windowsVirtualKeyCode: 13, text: "\r" },
  Escape: { code: "Escape", windowsVirtualKeyCode: 27 },
};
