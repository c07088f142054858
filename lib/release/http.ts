/**
 * HTTP requests that are retried when that can help, and that send their token only to its own host.
 *
 * Source: RFC 9110 (HTTP semantics): 15.4 redirects, 10.2.3 Retry-After, 14.4 Content-Range.
 */

import { concat } from "@std/bytes/concat";
import { HotbootError, messageOf } from "../base/error.ts";
import { sleep } from "../base/wait.ts";
import { diagnose } from "./diagnose.ts";
import { isLoopback, type Network, proxyFor } from "./network.ts";
import { ProxyError, TransientError } from "./transient.ts";

/** When and how often to try again. */
export interface RetryOptions {
  /** The number of attempts; 6 by default. */
  attempts?: number;
  /** The pause before the second attempt in milliseconds, doubled each time; 500 by default. */
  baseMs?: number;
  /** The longest pause, even if the server asks for a longer one; 60 s by default. */
  longestMs?: number;
  /** The limit for one whole answer, to its last byte; 30 s by default. */
  answerMs?: number;
}

/** A request, by default a GET. */
export interface HttpRequest {
  /** Its address. */
  url: string;
  /** GET by default. */
  method?: "GET" | "HEAD" | "POST" | "PUT" | "PATCH";
  /** What is sent. */
  body?: Uint8Array<ArrayBuffer> | string;
  /** Headers besides the token's. */
  headers?: Record<string, string>;
  /** Sent to the URL's own origin only: a redirect elsewhere drops it. */
  token?: string;
  /** The whole `Authorization` header in the place of a token, with the same care. */
  authorization?: string;
  /** The most bytes that a successful answer may have, where {@linkcode getPatiently} reads it. */
  most?: number;
  /** Aborts the request, and the reading of its answer. */
  signal?: AbortSignal;
  /** The way to the server: more authorities to trust, and better messages. */
  network?: Network;
}

const MOST_REDIRECTS = 8;
/** The most bytes of an answer that only says why there is no other. */
const MOST_OF_REFUSAL = 2 ** 20;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
/** Statuses that another attempt may not get: RFC 9110, 15.5.9; RFC 6585, 4; RFC 9110, 15.6. */
const TRANSIENT = new Set([408, 425, 429, 500, 502, 503, 504]);

/**
 * One attempt, following its redirects. Returns any answer whose status is not transient.
 *
 * @throws {TransientError} if there is no answer, or one that asks to retry.
 * @throws {HotbootError} if redirects go in circles, or from https to http; if an address is neither; if the token would be
 * sent unencrypted to another machine.
 */
export async function get(request: HttpRequest): Promise<Response> {
  let { url } = request;
  const { origin, protocol, hostname } = requireHttp(url);
  const { variables } = request.network ?? NO_NETWORK;
  const isOwnHost = isLoopback(hostname) && !proxyFor(url, variables); // Deno asks a proxy even for this one
  const secret = request.authorization ?? (request.token && `Bearer ${request.token}`);
  if (secret && protocol !== "https:" && !isOwnHost) {
    throw new HotbootError(
      `the ${request.token ? "token" : "login"} is not sent to ${
        hostOf(url)
      }, because http is not encrypted: use an https address, or unset the ${request.token ? "token" : "login"}`,
    );
  }
  for (let redirects = 0; redirects <= MOST_REDIRECTS; redirects++) {
    const isHome = new URL(url).origin === origin;
    const authorization = secret && isHome ? { authorization: secret } : undefined;
    const response = await attempt({ ...request, url, headers: { ...request.headers, ...authorization } });
    if (!REDIRECTS.has(response.status)) {
      if (!TRANSIENT.has(response.status) || isUsedUp(response)) return response;
      await response.body?.cancel();
      throw new TransientError(`${hostOf(url)} answered ${response.status}`, retryAfter(response));
    }
    await response.body?.cancel();
    const location = response.headers.get("location");
    const next = location === null ? null : URL.parse(location, url);
    if (!next || !/^https?:$/.test(next.protocol)) {
      throw new HotbootError(
        `${hostOf(url)} redirects to nowhere (${response.status} without a usable Location): ask who runs it`,
      );
    }
    if (new URL(url).protocol === "https:" && next.protocol === "http:") {
      throw new HotbootError(`${hostOf(url)} redirects from https to http, which is not safe: use another address`);
    }
    url = next.href;
  }
  throw new HotbootError(
    `${hostOf(request.url)} redirects more than ${MOST_REDIRECTS} times, probably in circles: ask who runs it`,
  );
}

/** @throws {HotbootError} if the address is not one of http or https: Deno would fetch files, and data in the address itself. */
function requireHttp(url: string): URL {
  const parsed = URL.parse(url);
  if (parsed && /^https?:$/.test(parsed.protocol)) return parsed;
  throw new HotbootError(
    `${
      parsed ? `an address begins with ${parsed.protocol}` : "an address is no URL"
    }, and only http and https are fetched: correct it, or ask who gave it`,
  );
}

/** Also reads the whole answer, which is small, and retries while the failures are transient. */
export function getPatiently(request: HttpRequest, options: RetryOptions = {}): Promise<Response> {
  return patiently(request, options, async (response) => {
    const { status, headers, ok } = response;
    const bytes = await readWhole(response, request.url, ok ? request.most : MOST_OF_REFUSAL);
    return new Response(bytes.length > 0 ? bytes : null, { status, headers });
  });
}

/**
 * What `use` makes of the answer, whose rest is not read. Retries while the failures are transient; an attempt ends even if
 * the server falls silent.
 */
export async function patiently<T>(
  request: HttpRequest,
  options: RetryOptions,
  use: (response: Response) => Promise<T>,
): Promise<T> {
  const { attempts = 6 } = options;
  for (let attempt = 1;; attempt++) {
    try {
      return await once(request, options, use);
    } catch (error) {
      if (!(error instanceof TransientError) || error instanceof ProxyError) throw error;
      if (attempt === attempts) throw new HotbootError(`${error.message}, ${attempts} times: try again later`);
      await sleep(pauseBefore(attempt, error, options), request.signal);
    }
  }
}

async function once<T>(
  request: HttpRequest,
  { answerMs = 30_000 }: RetryOptions,
  use: (response: Response) => Promise<T>,
): Promise<T> {
  const timeout = AbortSignal.timeout(answerMs);
  const signal = request.signal ? AbortSignal.any([request.signal, timeout]) : timeout;
  try {
    const response = await get({ ...request, signal });
    try {
      return await use(response);
    } finally {
      if (!response.bodyUsed) await response.body?.cancel().catch(() => {});
    }
  } catch (error) {
    request.signal?.throwIfAborted();
    if (error instanceof HotbootError) throw error;
    const why = timeout.aborted ? `did not answer within ${answerMs / 1000} s` : `broke off (${reasonOf(error)})`;
    throw new TransientError(`${hostOf(request.url)} ${why}`);
  }
}

async function readWhole(response: Response, url: string, most = Infinity): Promise<Uint8Array<ArrayBuffer>> {
  if (!response.body) return new Uint8Array();
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of response.body) { // leaving the loop cancels the rest
    size += part.length;
    if (size > most) throw new TransientError(`${hostOf(url)} sent more than ${most} bytes`);
    parts.push(part);
  }
  return concat(parts);
}

/** True if the answer forbids more requests until a given time: GitHub says so with 403 or 429. */
export function isUsedUp({ headers }: Response): boolean {
  return headers.get("x-ratelimit-remaining") === "0" && Number(headers.get("x-ratelimit-reset")) > 0;
}

/**
 * How long to wait after the failed attempt `attempt`, from 1: as long as the server asks, else twice as long as before; in
 * both cases with some random variation.
 */
export function pauseBefore(attempt: number, error: TransientError, options: RetryOptions = {}): number {
  const { baseMs = 500, longestMs = 60_000 } = options;
  const wanted = error.afterMs ?? Math.min(baseMs * 2 ** (attempt - 1), 15_000);
  if (wanted > longestMs) {
    throw new HotbootError(`${error.message} and asks to wait for ${Math.ceil(wanted / 1000)} s: try again then`);
  }
  return wanted + Math.random() * Math.max(baseMs / 2, wanted / 4);
}

/** A URL's host, for messages: the rest may contain a signature. */
export function hostOf(url: string): string {
  return new URL(url).host;
}

/** What the server's clock says, in milliseconds since 1970: that of this host may be wrong. */
export function serverTime({ headers }: Response): number {
  const time = Date.parse(headers.get("date") ?? "");
  return Number.isNaN(time) ? Date.now() : time;
}

/** What `Retry-After` asks for, in milliseconds from now: seconds, or a date. */
export function retryAfter(response: Response, now = serverTime(response)): number | undefined {
  const value = response.headers.get("retry-after")?.trim();
  if (!value) return undefined;
  if (/^\d+$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

const NO_NETWORK: Network = { variables: {}, caCerts: [], faults: [] };
/** Clients that trust more authorities than Deno's own. */
const clients = new WeakMap<Network, Deno.HttpClient>();

async function attempt({ url, method, body, headers, signal, network = NO_NETWORK }: HttpRequest): Promise<Response> {
  try {
    // The bytes are counted, so nobody may compress them on the way.
    const all = { "accept-encoding": "identity", ...headers };
    return await fetch(url, { method, body, headers: all, redirect: "manual", signal, client: clientFor(network) });
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof Deno.errors.NotCapable) {
      throw new HotbootError(
        `${hostOf(url)} is not a host that hotboot may connect to: if you trust it, add it to HOTBOOT_DOWNLOAD_HOSTS`,
      );
    }
    throw await diagnose(url, reasonOf(error), network);
  }
}

function clientFor(network: Network): Deno.HttpClient | undefined {
  const { caCerts } = network;
  if (caCerts.length === 0) return undefined;
  const client = clients.get(network) ?? Deno.createHttpClient({ caCerts });
  clients.set(network, client);
  return client;
}

/** Why there was no answer, without the runtime's quotes: a header may contain a token, and an address a signature. */
function reasonOf(error: unknown): string {
  return messageOf((error as Error).cause ?? error)
    .replace(/^Invalid header value.*/, "a header's value is invalid")
    .replaceAll(/\bhttps?:\/\/[^\s)]+/g, (url) => URL.parse(url)?.host ?? "its address");
}

/** Parses a `Content-Range`: RFC 9110, 14.4. */
export function parseContentRange(value: string | null): { start: number; total: number } | undefined {
  const [, start, total] = value?.match(/^bytes (\d+)-\d+\/(\d+)$/) ?? [];
  return start === undefined ? undefined : { start: Number(start), total: Number(total) };
}

/**
 * What guarantees the same bytes: a strong ETag (RFC 9110, 8.8.1), or the date of the last change, unless the answer was sent
 * within that second, in which another change may follow (8.8.2.2).
 */
export function validatorOf(headers: Headers): string | undefined {
  const tag = headers.get("etag");
  if (tag?.startsWith('"')) return tag;
  const [changed, sent] = ["last-modified", "date"].map((name) => Date.parse(headers.get(name) ?? ""));
  return sent > changed ? headers.get("last-modified")! : undefined;
}
