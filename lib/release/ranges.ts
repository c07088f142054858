/**
 * Reads parts of a file on a server. GitHub counts requests to its API, so it is asked once where the file is, and again only
 * when that address is refused, because such addresses expire, GitHub's after five minutes.
 *
 * Source: RFC 9110, 14 (range requests); GitHub's REST API, "Get a release asset", "Rate limits for the REST API".
 */

import { HotbootError } from "../base/error.ts";
import { within } from "../base/wait.ts";
import { hostOf, type HttpRequest, parseContentRange, patiently, type RetryOptions } from "./http.ts";
import type { Download } from "./options.ts";
import type { Range } from "./part_file.ts";
import { TransientError } from "./transient.ts";

/** More time for an answer, for each so many bytes of it: a connection that brings less is not worth waiting for. */
const BYTES_PER_MS = 32;
/** How long a server may be silent. */
const ANSWER_MS = 30_000;
/** A redirect gives a new address each time, so refusals in a row are not about the address. */
const MOST_REFUSALS = 3;

/** The server sends files as a whole only. */
export class NoRanges extends HotbootError {}

/** Another host has refused the address that the request was sent to. */
class Refusal {
  constructor(readonly status: number, readonly host: string) {}
}

/** Reads parts of one file, whose size is known. */
export class RangeReader {
  #what: Download;
  #size: number;
  #signal?: AbortSignal;
  #retry: RetryOptions;
  /** The request for the file where it is. */
  #located?: Promise<HttpRequest>;

  constructor(
    what: Download & { size: number },
    { signal, retry = {} }: { signal?: AbortSignal; retry?: RetryOptions },
  ) {
    this.#what = what;
    this.#size = what.size;
    this.#signal = signal;
    this.#retry = retry;
  }

  /**
   * The bytes of a range, as many as it has. Nothing shows that they are the right ones: the caller checks that.
   *
   * @throws {NoRanges} if the server sends no parts of the file.
   * @throws {HotbootError} if they cannot be got.
   */
  async read(range: Range): Promise<Uint8Array<ArrayBuffer>> {
    for (let refusals = 1;; refusals++) {
      const located = this.#located ??= this.#locate();
      try {
        const { answerMs = ANSWER_MS } = this.#retry;
        const use = (response: Response) => readExactly(response, range, answerMs);
        const bytes = await this.#fetch(await located, range, use);
        if (!(bytes instanceof Refusal)) return bytes;
        if (refusals === MOST_REFUSALS) throw this.#refused(bytes);
      } catch (error) {
        if (this.#located === located) this.#located = undefined;
        throw error;
      }
      if (this.#located === located) this.#located = undefined; // else another reader has asked already
    }
  }

  /** Asks where the file is, and whether parts of it are sent. */
  async #locate(): Promise<HttpRequest> {
    const { request } = this.#what;
    for (let refusals = 1;; refusals++) {
      const url = await this.#fetch(request, { start: 0, end: 1 }, ({ url }) => Promise.resolve(url || request.url));
      if (url instanceof Refusal) {
        if (refusals === MOST_REFUSALS) throw this.#refused(url);
        continue;
      }
      // Only the request's own host gets its token.
      if (new URL(url).origin === new URL(request.url).origin) return request;
      const { token: _token, authorization: _authorization, ...rest } = request;
      return { ...rest, url };
    }
  }

  /** Asks for a range. */
  async #fetch<T>(request: HttpRequest, range: Range, use: (response: Response) => Promise<T>): Promise<T | Refusal> {
    const { name, request: { url: home }, explain } = this.#what;
    const { answerMs = ANSWER_MS } = this.#retry;
    const length = range.end - range.start;
    const headers = { ...request.headers, range: `bytes=${range.start}-${range.end - 1}` };
    const retry = { ...this.#retry, answerMs: answerMs + length / BYTES_PER_MS };
    return await patiently({ ...request, headers, signal: this.#signal }, retry, async (response) => {
      const { status } = response;
      const at = response.url || request.url;
      const host = hostOf(at);
      if (status !== 206 && /^text\/html\b/i.test(response.headers.get("content-type") ?? "")) {
        throw new TransientError(`${host} sent a web page instead of ${name}`);
      }
      // 416: a server that does not count as it should, or another file.
      if (status === 200 || status === 416) throw new NoRanges(`${host} does not send parts of ${name}`);
      if (status !== 206) {
        if (new URL(at).origin !== new URL(home).origin) return new Refusal(status, host);
        throw await explain?.(response) ??
          new HotbootError(`${name}: ${host} answered ${status}: try again later, or use another address`);
      }
      const sent = parseContentRange(response.headers.get("content-range"));
      if (sent?.start !== range.start || sent.total !== this.#size) {
        throw new TransientError(`${host} sent another part than was asked for of ${name}`);
      }
      return await use(response);
    });
  }

  #refused({ status, host }: Refusal): HotbootError {
    return new HotbootError(
      `${host} answered ${status} for ${this.#what.name}, at new addresses too: check whether a proxy or firewall refuses it`,
    );
  }
}

/** @param silenceMs How long the server may be silent. */
async function readExactly(
  response: Response,
  { start, end }: Range,
  silenceMs: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const host = hostOf(response.url);
  const bytes = new Uint8Array(end - start);
  let got = 0;
  const reader = response.body!.getReader();
  try {
    while (true) {
      const { value } = await within(reader.read(), host, { timeoutMs: silenceMs }).catch((error) => {
        throw error instanceof HotbootError ? new TransientError(error.message) : error;
      });
      if (!value) break;
      if (got + value.length > bytes.length) throw new TransientError(`${host} sent more than ${bytes.length} bytes`);
      bytes.set(value, got);
      got += value.length;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
  if (got === bytes.length) return bytes;
  throw new TransientError(`${host} sent ${got} bytes instead of ${bytes.length}`);
}
