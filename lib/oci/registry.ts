/**
 * One repository of a registry.
 *
 * Source: OCI Distribution Specification 1.1: "Pull", "Push".
 */

import { HotbootError } from "../base/error.ts";
import { sha256 } from "../base/hash.ts";
import { pieces } from "../base/io.ts";
import { printable } from "../base/printable.ts";
import { getPatiently, type HttpRequest, pauseBefore, type RetryOptions } from "../release/http.ts";
import type { Network } from "../release/network.ts";
import { TransientError } from "../release/transient.ts";
import { sleep } from "../base/wait.ts";
import { authorizationFor, loginFirst } from "./authorization.ts";
import type { Login } from "./login.ts";
import { type Descriptor, INDEX, LONGEST_MANIFEST, MANIFEST, parseManifest } from "./manifest.ts";
import { formatReference, type Reference } from "./reference.ts";

/** How to reach a registry. */
export interface RegistryOptions {
  /** The login for it. */
  login?: Login;
  /** The way there. */
  network?: Network;
  /** Aborts all that is under way. */
  signal?: AbortSignal;
  /** How often to try again, and when. */
  retry?: RetryOptions;
  /** Whether something will be written, so that the first token is good for that, too. */
  writes?: boolean;
}

/** A manifest or an index as it came. */
export interface Fetched {
  mediaType: string;
  digest: string;
  bytes: Uint8Array<ArrayBuffer>;
}

/** More time for an answer, for each so many bytes of it: a connection that brings less is not worth waiting for. */
const BYTES_PER_MS = 32;
/** What is sent at once of a blob that is too long for one request. */
const PIECE = 16 * 2 ** 20;
/** How often a blob that is not what was asked for is fetched again, and one that was not taken is sent again. */
const MOST_ROUNDS = 3;
/** How often in a row a registry may ask for a new login. */
const MOST_REFUSALS = 3;

/** A repository: reads and writes its blobs and manifests, and logs in when the registry wants that. */
export class Registry {
  /** Which one. */
  readonly reference: Reference;
  #options: RegistryOptions;
  #authorization?: string;
  /** What the authorization is for. */
  #scope = "";
  #renewing?: Promise<void>;
  /** The repositories from which blobs are taken over, which tokens must allow. */
  #from = new Set<string>();

  constructor(reference: Reference, options: RegistryOptions = {}) {
    this.reference = reference;
    this.#options = options;
  }

  /** Another repository of the same registry. */
  at(reference: Reference): Registry {
    return new Registry(reference, this.#options);
  }

  /**
   * A manifest or an index.
   *
   * @param which A tag or a digest; by default what the reference names.
   * @returns `undefined` if there is none.
   * @throws {HotbootError} if it cannot be got, or is not what the digest says.
   */
  async manifest(
    which: string = this.reference.digest ?? this.reference.tag!,
  ): Promise<Fetched | undefined> {
    const response = await this.#send(`manifests/${which}`, {
      headers: { accept: `${INDEX}, ${MANIFEST}, */*;q=0.1` },
      most: LONGEST_MANIFEST,
    });
    if (response.status === 404) return undefined;
    if (!response.ok) throw await this.#refused(response, `manifest ${which}`);
    const bytes = new Uint8Array(await response.arrayBuffer());
    const digest = `sha256:${await sha256(bytes)}`;
    if (which.startsWith("sha256:") && digest !== which) {
      throw new HotbootError(
        `${this.reference.host} sent another manifest than ${which}: try again, or ask who runs it`,
      );
    }
    return { mediaType: (response.headers.get("content-type") ?? "").replace(/;.*/, ""), digest, bytes };
  }

  /**
   * What is attached to a manifest or an index: from the registry's list or, if it keeps none, from the tag in which clients
   * list it themselves.
   *
   * @throws {HotbootError} if the list cannot be got, or is none.
   */
  async referrers(digest: string): Promise<Descriptor[]> {
    const response = await this.#send(`referrers/${digest}`, { headers: { accept: INDEX }, most: LONGEST_MANIFEST });
    if (response.ok && response.headers.get("content-type")?.startsWith(INDEX)) {
      return listIn(new Uint8Array(await response.arrayBuffer()));
    }
    await response.body?.cancel();
    if (response.status === 401 || response.status === 403) throw await this.#refused(response, `referrers ${digest}`);
    const tagged = await this.manifest(digest.replace(":", "-"));
    return tagged ? listIn(tagged.bytes) : [];
  }

  /**
   * A blob, which has exactly the digest and size of its descriptor.
   *
   * @throws {HotbootError} if it cannot be got, or is again and again something else.
   */
  async blob({ digest, size }: Descriptor): Promise<Uint8Array<ArrayBuffer>> {
    const { retry = {}, signal } = this.#options;
    for (let round = 1;; round++) {
      const response = await this.#send(`blobs/${digest}`, { most: size }, size);
      if (!response.ok) throw await this.#refused(response, `blob ${digest}`);
      const bytes = new Uint8Array(await response.arrayBuffer());
      if (bytes.length === size && `sha256:${await sha256(bytes)}` === digest) return bytes;
      if (round === MOST_ROUNDS) {
        throw new HotbootError(
          `${this.reference.host} sent something else than ${digest}, ${MOST_ROUNDS} times: try again later, or ask who runs it`,
        );
      }
      await sleep(pauseBefore(round, new TransientError("a wrong blob"), retry), signal);
    }
  }

  /** Whether the repository has a blob. */
  async has(digest: string): Promise<boolean> {
    const response = await this.#send(`blobs/${digest}`, { method: "HEAD" });
    await response.body?.cancel();
    if (response.ok) return true;
    if (response.status === 404) return false;
    throw await this.#refused(response, `blob ${digest}`);
  }

  /** Takes a blob over from another repository of the registry, if that allows it. */
  async mount(digest: string, from: string): Promise<boolean> {
    this.#from.add(from);
    const query = new URLSearchParams({ mount: digest, from });
    const response = await this.#send(`blobs/uploads/?${query}`, { method: "POST" });
    await response.body?.cancel();
    return response.status === 201; // 202: it wants the blob to be sent
  }

  /**
   * Sends a blob, unless it is there.
   *
   * @param content Its bytes, or the path of a file with them.
   * @throws {HotbootError} if the registry does not take it.
   */
  async upload({ digest, size }: Descriptor, content: Uint8Array<ArrayBuffer> | string): Promise<void> {
    for (let round = 1;; round++) {
      const started = await this.#send("blobs/uploads/", { method: "POST" });
      if (started.status !== 202) throw await this.#refused(started, "a new blob");
      let place = this.#location(started);
      let sent = started;
      if (typeof content === "string") {
        using file = await Deno.open(content);
        let at = 0;
        for await (const piece of pieces(file, PIECE)) {
          const range = { "content-range": `${at}-${at + piece.length - 1}` };
          sent = await this.#sendTo(place, { method: "PATCH", body: piece, headers: { ...OCTETS, ...range } }, PIECE);
          if (!sent.ok) break;
          place = this.#location(sent);
          at += piece.length;
        }
      }
      if (sent.ok) {
        place += `${place.includes("?") ? "&" : "?"}digest=${digest}`;
        const body = typeof content === "string" ? new Uint8Array() : content;
        sent = await this.#sendTo(place, { method: "PUT", body, headers: OCTETS }, size);
      }
      if (sent.status === 201) return;
      if (await this.has(digest)) return; // an answer was lost
      if (round === MOST_ROUNDS) throw await this.#refused(sent, `blob ${digest}`);
    }
  }

  /** Writes a manifest or an index under a tag or its digest. */
  async putManifest(which: string, { mediaType, bytes }: Fetched): Promise<void> {
    const headers = { "content-type": mediaType };
    const response = await this.#send(`manifests/${which}`, { method: "PUT", body: bytes, headers });
    if (response.status !== 201) throw await this.#refused(response, `manifest ${which}`);
  }

  #location(response: Response): string {
    const url = URL.parse(response.headers.get("location") ?? "", this.#url("blobs/uploads/"));
    if (url && /^https?:$/.test(url.protocol)) return url.href;
    throw new HotbootError(`${this.reference.host} does not say where to send a blob: ask who runs it`);
  }

  #url(path: string): string {
    return `${this.reference.origin}/v2/${this.reference.repository}/${path}`;
  }

  #send(path: string, request: Omit<HttpRequest, "url">, size = 0): Promise<Response> {
    return this.#sendTo(this.#url(path), request, size);
  }

  /** Sends a request, and again with a new authorization if the old one is not enough. @param size Of what is moved. */
  async #sendTo(url: string, request: Omit<HttpRequest, "url">, size: number): Promise<Response> {
    const { network, signal, retry = {} } = this.#options;
    const { answerMs = 30_000 } = retry;
    const isOwn = new URL(url).origin === this.reference.origin;
    for (let refusals = 0;; refusals++) {
      const authorization = isOwn ? this.#authorization : undefined;
      const response = await getPatiently(
        { ...request, url, network, signal, ...(authorization && { authorization }) },
        { ...retry, answerMs: answerMs + size / BYTES_PER_MS },
      );
      if (response.status !== 401 || !isOwn || refusals === MOST_REFUSALS) return response;
      if (!await this.#renew(response, authorization, request.method ?? "GET")) return response;
    }
  }

  /** Gets a new authorization, once for all requests that need it. Gives whether there is one. */
  async #renew(refusal: Response, old: string | undefined, method: string): Promise<boolean> {
    const { login, writes, ...asking } = this.#options;
    const access = writes || (method !== "GET" && method !== "HEAD") ? "pull,push" : "pull";
    const others = [...this.#from].map((each) => `repository:${each}:pull`);
    const scopes = [`repository:${this.reference.repository}:${access}`, ...others];
    const isRenewed = this.#authorization !== old && this.#scope === scopes.join(" ");
    if (isRenewed) return true; // by another request
    this.#renewing ??= authorizationFor(refusal, this.reference, login, scopes, asking).then((found) => {
      this.#authorization = found;
      this.#scope = scopes.join(" ");
    }).finally(() => this.#renewing = undefined);
    await this.#renewing;
    return this.#authorization !== undefined;
  }

  /** Why the registry does not do something, in its own words. */
  async #refused(response: Response, what: string): Promise<HotbootError> {
    const { host, repository } = this.reference;
    const { status } = response;
    const text = await response.text().catch(() => "");
    const said = printable(messagesIn(text)).slice(0, 200);
    const why = `${host} answered ${status} for ${what} of ${repository}${said && ` (${said})`}`;
    if (status === 401 || status === 403 || status === 407) {
      return new HotbootError(
        `${why}: ${
          this.#options.login ? `ask for access, or run 'docker login ${host}' again` : loginFirst(this.reference)
        }`,
      );
    }
    if (status === 404) return new HotbootError(`${why}: push it again, or name another tag`);
    return new HotbootError(`${why}: try again later, or ask who runs it`);
  }
}

/** The entries of an index. */
function listIn(bytes: Uint8Array): Descriptor[] {
  const value = parseManifest(bytes, INDEX);
  return "manifests" in value ? value.manifests : [];
}

const OCTETS = { "content-type": "application/octet-stream" };

/** The messages of a registry's errors. */
function messagesIn(text: string): string {
  try {
    const { errors } = JSON.parse(text);
    return errors.map((each: { code?: string; message?: string }) => each.message ?? each.code ?? "").join("; ");
  } catch {
    return "";
  }
}

/** The error for an image that is not there. */
export function noImage(reference: Reference): HotbootError {
  return new HotbootError(
    `there is no ${
      formatReference(reference)
    }: check the name, push it with 'hotboot push', or log in with 'docker login ${reference.host}'`,
  );
}
