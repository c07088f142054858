/**
 * Who may use the page: whoever has its address, and nobody else.
 *
 * A browser sends a cookie to all ports of a host, so also to the guests' services on 127.0.0.1. So the cookie belongs to a
 * path that nobody can guess.
 *
 * Sources: RFC 6265, 8.5 (cookies and ports); W3C, "Content Security Policy Level 3" and "Fetch Metadata Request Headers".
 */

import { timingSafeEqual } from "node:crypto";
import { encodeHex } from "@std/encoding/hex";

const COOKIE = "hotboot";
/** For how long a browser that hotboot opens may take. */
const TICKET_MS = 60_000;

/** For every answer. */
const HEADERS = {
  "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
  "cache-control": "no-store",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
};

/** An answer with the headers that every answer has. */
export function answer(body: BodyInit | null, status: number, headers: Record<string, string> = {}): Response {
  return new Response(body, {
    status,
    headers: { ...HEADERS, "content-type": "text/plain; charset=utf-8", ...headers },
  });
}

/** The secrets of one page, and the checks of each request. */
export class Access {
  readonly #path = `/${random(16)}/`;
  readonly #token = random(32);
  readonly #origin: string;
  #ticket?: { token: string; ends: number };

  /** @param port Where the page is. */
  constructor(port: number) {
    this.#origin = `http://127.0.0.1:${port}`;
  }

  /** The page's address, with the token. */
  get url(): string {
    return this.#address(this.#token);
  }

  /** The same for once, and for a minute: other users can see a browser's arguments. */
  ticketUrl(): string {
    this.#ticket = { token: random(32), ends: performance.now() + TICKET_MS };
    return this.#address(this.#ticket.token);
  }

  #address(token: string): string {
    return `${this.#origin}${this.#path}?token=${token}`;
  }

  /** What is asked for below the page's path or, if the request is not allowed, the answer to it. */
  check(request: Request): string | Response {
    const url = new URL(request.url);
    const { headers, method } = request;
    if (`http://${headers.get("host")}` !== this.#origin) return answer("this page has another address\n", 403);
    if (!url.pathname.startsWith(this.#path)) return answer("there is nothing here\n", 404);
    const isNavigation = headers.get("sec-fetch-mode") === "navigate";
    const site = headers.get("sec-fetch-site");
    if (!isNavigation && site !== null && site !== "same-origin" && site !== "none") {
      return answer("another page may not ask this one\n", 403);
    }
    if (method !== "GET" && method !== "POST") return answer("use GET or POST\n", 405, { allow: "GET, POST" });
    const token = url.searchParams.get("token");
    if (method === "GET" && token !== null) return this.#enter(token);
    if (!isSame(cookieOf(headers), this.#token)) return answer("open the address that 'hotboot ui' has printed\n", 401);
    if (method === "POST") {
      if (headers.get("origin") !== this.#origin) return answer("another page may not ask this one\n", 403);
      if (headers.get("content-type") !== "application/json") return answer("send JSON\n", 415);
    }
    return url.pathname.slice(this.#path.length);
  }

  #enter(token: string): Response {
    const ticket = this.#ticket;
    const isTicket = ticket !== undefined && performance.now() < ticket.ends && isSame(token, ticket.token);
    if (isTicket) this.#ticket = undefined;
    if (!isTicket && !isSame(token, this.#token)) {
      return answer("open the address that 'hotboot ui' has printed\n", 401);
    }
    return answer(null, 303, {
      location: this.#path,
      "set-cookie": `${COOKIE}=${this.#token}; Path=${this.#path}; HttpOnly; SameSite=Strict`,
    });
  }
}

function random(bytes: number): string {
  return encodeHex(crypto.getRandomValues(new Uint8Array(bytes)));
}

function cookieOf(headers: Headers): string {
  const all = (headers.get("cookie") ?? "").split(";").map((pair) => pair.trim());
  return all.find((pair) => pair.startsWith(`${COOKIE}=`))?.slice(COOKIE.length + 1) ?? "";
}

/** Takes the same time wherever they differ. */
function isSame(one: string, other: string): boolean {
  const [first, second] = [one, other].map((text) => new TextEncoder().encode(text));
  return first.length === second.length && timingSafeEqual(first, second);
}
