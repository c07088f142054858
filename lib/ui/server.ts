/** The page's server: it listens on 127.0.0.1, and does everything else by commands that it asks for. */

import { HotbootError, messageOf } from "../base/error.ts";
import { Access, answer } from "./access.ts";
import { Activities } from "./activities.ts";
import { type Ask, resultOf } from "./ask.ts";
import assets from "./assets.json" with { type: "json" };
import { consoleOf } from "./console_stream.ts";
import { eventsOf } from "./events.ts";
import { Looks, type Whose } from "./looks.ts";
import { commandFor, optionsFor } from "./wishes.ts";

/** The longest request, in bytes. */
const MOST_BYTES = 4096;

/** The parts of the page, by their paths. */
const PARTS: Record<string, { type: string; text: string }> = {
  "": { type: "text/html", text: assets["page.html"] },
  "page.js": { type: "text/javascript", text: assets["page.js"] },
  "page.css": { type: "text/css", text: assets["page.css"] },
  "icon.svg": { type: "image/svg+xml", text: assets["icon.svg"] },
};

/** How to serve the page. */
export interface UiOptions extends Whose {
  /** The port; 0 for any. */
  port: number;
  /** Runs the commands. */
  ask: Ask;
  /** Ends it. */
  signal: AbortSignal;
}

/** A page that is served. */
export interface Ui {
  /** Its address, with the token. */
  url: string;
  /** The same for once, and for a minute. */
  ticketUrl(): string;
  /** When it has ended, with all that it was doing. */
  ended: Promise<void>;
}

/** Serves the page. @throws {HotbootError} if the port cannot be had. */
export function serveUi({ port, ask, signal, ...whose }: UiOptions): Ui {
  const looks = new Looks(ask, whose, signal);
  const activities = new Activities(ask, looks, signal);
  const server = listen(port, async (request) => {
    const allowed = access.check(request);
    if (typeof allowed !== "string") return allowed;
    try {
      return await (request.method === "POST" ? post(allowed, request) : get(allowed, request));
    } catch (error) {
      return json({ error: messageOf(error) }, 400);
    }
  });
  const access = new Access(server.addr.port);

  function get(path: string, request: Request): Response {
    const part = Object.hasOwn(PARTS, path) ? PARTS[path] : undefined;
    if (part) return answer(part.text, 200, { "content-type": `${part.type}; charset=utf-8` });
    if (path === "events") return events(eventsOf(looks.view, signal, looks.watch()));
    if (path === "console") {
      const instance = new URL(request.url).searchParams.get("instance");
      const known = looks.view.value.instances.find((each) => each.instance === instance);
      // Looking at a console changes nothing, so it may be of any profile's instance.
      const options = optionsFor(instance, known ? [{ ...known, elsewhere: undefined }] : []);
      return events(consoleOf(ask, options, signal));
    }
    return answer("there is nothing here\n", 404);
  }

  async function post(path: string, request: Request): Promise<Response> {
    const body = await bodyOf(request);
    const { instances } = looks.view.value;
    if (path === "wishes") return json({ id: activities.begin(commandFor(body, instances)) });
    if (path === "interrupt") {
      activities.interrupt(Number(Object(body).id));
      return json({});
    }
    if (path === "secrets") {
      const args = optionsFor(Object(body).instance, instances);
      return json({ secrets: await resultOf<Record<string, string>>(ask, { name: "credentials", args, signal }) });
    }
    return answer("there is nothing here\n", 404);
  }

  const end = async () => {
    await activities.ended();
    await server.shutdown(); // its streams have ended: the signal has
  };
  const ended = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve())).then(end);
  return { url: access.url, ticketUrl: () => access.ticketUrl(), ended };
}

function listen(port: number, handler: (request: Request) => Promise<Response>): Deno.HttpServer<Deno.NetAddr> {
  try {
    return Deno.serve({ hostname: "127.0.0.1", port, onListen() {} }, handler);
  } catch (error) {
    throw new HotbootError(`port ${port} cannot be used (${messageOf(error)}): choose another --port, or leave it out`);
  }
}

function events(body: ReadableStream<Uint8Array>): Response {
  return answer(body as BodyInit, 200, { "content-type": "text/event-stream" });
}

function json(value: unknown, status = 200): Response {
  return answer(JSON.stringify(value), status, { "content-type": "application/json" });
}

/** What the browser sends. @throws {HotbootError} if it is too long, or no JSON. */
async function bodyOf(request: Request): Promise<unknown> {
  const bytes = new Uint8Array(MOST_BYTES);
  let length = 0;
  for await (const piece of request.body ?? []) {
    if (length + piece.length > MOST_BYTES) throw new HotbootError("the page sends too much: try again after a reload");
    bytes.set(piece, length);
    length += piece.length;
  }
  try {
    return JSON.parse(new TextDecoder().decode(bytes.subarray(0, length)));
  } catch {
    throw new HotbootError("the page sends no JSON: try again after a reload");
  }
}
