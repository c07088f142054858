/**
 * The connections of one download: each fetches a range and writes it to its place. It starts with one; others join while
 * that makes it faster.
 *
 * Source: RFC 9110, 14 (range requests) and 13.1.5 (If-Range).
 */

import { HotbootError, messageOf } from "../base/error.ts";
import { sleep } from "../base/wait.ts";
import { FileDigest } from "./digest.ts";
import { formatBytes } from "../base/format.ts";
import { get, hostOf, parseContentRange, pauseBefore, validatorOf } from "./http.ts";
import { ProxyError, TransientError } from "./transient.ts";
import { type Download, type DownloadOptions, WrongContent } from "./options.ts";
import type { PartFile, Range } from "./part_file.ts";
import { cannotWrite, PartWriter } from "./part_writer.ts";
import { requireFreeSpace } from "./free_space.ts";
import { StallWatch } from "./stall.ts";

/** The least work for a further connection. */
const SMALLEST_SHARE = 4 * 1024 * 1024;
/** An attempt that brings less counts as a failure. */
const NEXT_TO_NOTHING = 64 * 1024;
/** A redirect gives a new address each time, so refusals in a row are not about the address. */
const MOST_REFUSALS = 2;
/** How long to measure a rate before trying a further connection, and the gain that justifies another one. */
const MEASURE_MS = 1000;
const WORTHWHILE = 1.2;

/** A range that a connection works on; its end moves when another connection takes over a part. */
interface Segment extends Range {
  /** Its bytes have come up to here. */
  at: number;
  /** Its connection has requested bytes up to here. */
  requested: number;
}

/** The connections of a download, from one {@linkcode run} to its end. */
export class Transfer {
  /** False once the server has ignored a range. */
  acceptsRanges: boolean;
  /** Bytes that have come, including those of earlier runs. */
  received: number;
  /** Hashes the bytes as they come, up to the first gap. */
  digest: FileDigest;
  #part: PartFile;
  #what: Download;
  #options: DownloadOptions;
  #waiting: Range[] = [];
  #active = new Set<Segment>();
  #failures = 0;
  /** True once a server has answered. */
  #hasAnswered = false;
  /** How often in a row another host has refused an address that it was sent to. */
  #refusals = 0;
  /** True once a connection has broken. */
  #isBroken = false;
  #end = new AbortController();

  constructor(part: PartFile, what: Download, options: DownloadOptions, acceptsRanges: boolean) {
    this.#part = part;
    this.#what = what;
    this.#options = options;
    this.digest = new FileDigest(part.path);
    this.acceptsRanges = acceptsRanges;
    this.received = part.received;
  }

  /**
   * Fetches everything that is missing.
   *
   * @throws {WrongContent} if the data belongs to another version, or is something else altogether.
   * @throws {HotbootError} if it cannot be downloaded.
   */
  async run(): Promise<void> {
    const { signal } = this.#options;
    const stop = signal ? AbortSignal.any([signal, this.#end.signal]) : this.#end.signal;
    const mayGoOn = this.acceptsRanges && (this.#part.validator ?? this.#what.sha256) !== undefined;
    if (this.#part.size >= 0 && this.#part.received > 0 && mayGoOn) {
      this.#waiting = this.#part.missing;
      if (this.#waiting.length === 0) return;
      await this.#requireFreeSpace();
    } else {
      this.#startOver();
    }
    const connections: Promise<void>[] = [];
    const connect = () => {
      const connection = this.#connection(stop);
      connection.catch((error) => this.#end.abort(error)); // one failure ends the others
      connections.push(connection);
    };
    connect();
    const growing = this.#grow(connect, stop);
    try {
      for (let at = 0; at < connections.length; at++) await connections[at]; // there may be more by then
    } catch (error) {
      await this.#settle([...connections, growing]);
      await this.#part.save().catch(() => {}); // on a full disk: the earlier state file is still true
      throw error;
    }
    await this.#settle([growing]);
    await this.#part.save().catch((error) => {
      throw cannotWrite(this.#what.name, error);
    });
  }

  async #settle(parts: Promise<void>[]): Promise<void> {
    this.#end.abort();
    await Promise.allSettled(parts);
  }

  /** Adds connections while each makes it faster. */
  async #grow(connect: () => void, stop: AbortSignal): Promise<void> {
    const { connections = 4 } = this.#options;
    try {
      let before = await this.#rate(stop);
      for (let count = 1; count < connections; count++) {
        if (!this.acceptsRanges || !this.#canSplit()) return;
        connect();
        await sleep(MEASURE_MS / 2, stop); // to get up to speed
        const after = await this.#rate(stop);
        if (after < before * WORTHWHILE) return;
        before = after;
      }
    } catch {
      // the download has ended
    }
  }

  async #rate(stop: AbortSignal): Promise<number> {
    const before = this.received;
    await sleep(MEASURE_MS, stop);
    return this.received - before;
  }

  /** Fetches one segment after the other until none is left. */
  async #connection(stop: AbortSignal): Promise<void> {
    for (let segment; (segment = this.#next());) {
      const begin = segment.at;
      try {
        await this.#fetch(segment, stop);
        this.#failures = 0;
      } catch (error) {
        stop.throwIfAborted();
        if (!(error instanceof TransientError)) throw error;
        this.#giveBack(segment);
        if (this.#active.size > 0) return; // an extra one that the server does not want: the others continue
        if (this.acceptsRanges && segment.at - begin >= NEXT_TO_NOTHING) this.#failures = 0;
        await this.#pauseAfter(error, stop);
      } finally {
        this.#active.delete(segment);
      }
    }
  }

  /** @throws {HotbootError} after too many failures in a row. */
  async #pauseAfter(error: TransientError, stop: AbortSignal): Promise<void> {
    const { retry = {}, onTrouble } = this.#options;
    const { attempts = 6 } = retry;
    if (error instanceof ProxyError && !this.#hasAnswered) throw error;
    if (++this.#failures >= attempts) {
      throw new HotbootError(
        `${this.#what.name} cannot be downloaded: ${error.message}, ${attempts} times in a row; ` +
          `try again, which continues after the ${formatBytes(this.#part.received)} that have come`,
      );
    }
    onTrouble?.(`${error.message}; trying again`);
    await sleep(pauseBefore(this.#failures, error, retry), stop);
  }

  /** Something to fetch: what waits, or half of what the slowest still has to do. */
  #next(): Segment | undefined {
    let range = this.#waiting.shift();
    if (!range && this.#canSplit()) {
      const largest = this.#largest()!;
      const middle = largest.at + Math.ceil((largest.end - largest.at) / 2);
      range = { start: middle, end: largest.end };
      largest.end = middle;
    }
    if (!range) return undefined;
    const segment = { ...range, at: range.start, requested: range.end };
    this.#active.add(segment);
    return segment;
  }

  #largest(): Segment | undefined {
    return [...this.#active].toSorted((a, b) => (b.end - b.at) - (a.end - a.at))[0];
  }

  #canSplit(): boolean {
    const largest = this.#largest();
    return this.acceptsRanges && this.#part.size >= 0 && largest !== undefined &&
      largest.end - largest.at >= 2 * SMALLEST_SHARE;
  }

  #giveBack(segment: Segment): void {
    this.#active.delete(segment);
    const before = [...this.#active].find(({ end, requested }) => end === segment.at && requested >= segment.end);
    if (!this.acceptsRanges || segment.end === Infinity) this.#startOver();
    else if (before) before.end = segment.end; // the connection that it was split from continues
    else if (segment.at < segment.end) this.#waiting.unshift({ start: segment.at, end: segment.end });
  }

  /** Forgets all about the file; the next answer will tell. */
  #startOver(): void {
    this.#waiting = [{ start: 0, end: Infinity }];
    this.received = 0;
  }

  /** Sends one request, and puts its answer's bytes in their places. */
  async #fetch(segment: Segment, stop: AbortSignal): Promise<void> {
    const { stallMs = 30_000 } = this.#options;
    using watch = new StallWatch(hostOf(this.#what.request.url), stallMs);
    const signal = AbortSignal.any([stop, watch.signal]);
    try {
      const response = await get({
        ...this.#what.request,
        headers: { ...this.#what.request.headers, ...this.#rangeHeaders(segment) },
        signal,
      });
      try {
        await this.#accept(segment, response);
      } catch (error) {
        await response.body?.cancel().catch(() => {}); // the explanation may have read it
        throw error;
      }
      await this.#copy(segment, response, signal, (count) => watch.came(count));
    } catch (error) {
      stop.throwIfAborted();
      if (error instanceof HotbootError) throw error; // a failed write is not a stall
      watch.signal.throwIfAborted();
      throw error;
    }
  }

  #rangeHeaders({ at, end }: Segment): Record<string, string> {
    if (!this.acceptsRanges) return {};
    const { validator } = this.#part;
    return {
      range: `bytes=${at}-${end === Infinity ? "" : end - 1}`,
      ...(validator !== undefined && { "if-range": validator }),
    };
  }

  /** Checks what the server says that it sends. */
  async #accept(segment: Segment, response: Response): Promise<void> {
    const { name, request, explain } = this.#what;
    const { status, headers } = response;
    this.#hasAnswered = true;
    const isFirst = segment.end === Infinity;
    if (status === 416 && isFirst) { // there is not even a first byte
      this.acceptsRanges = false;
      throw new TransientError(`${hostOf(request.url)} has no ranges of ${name}`);
    }
    if (status === 416) throw this.#changed();
    if (status !== 200 && status !== 206) {
      const isOwnHost = !response.url || new URL(response.url).origin === new URL(request.url).origin;
      if (isOwnHost && this.#active.size === 1) { // otherwise the others continue with what the host gave them
        throw await explain?.(response) ?? new HotbootError(
          `${name}: ${hostOf(request.url)} answered ${status}: try again later, or use another address`,
        );
      }
      const host = hostOf(response.url || request.url);
      if (!isOwnHost && this.#active.size === 1 && ++this.#refusals >= MOST_REFUSALS) {
        throw new HotbootError(
          `${host} answered ${status} for ${name}, at new addresses too: check whether a proxy or firewall refuses it`,
        );
      }
      throw new TransientError(`${host} answered ${status}: the address may have expired`);
    }
    this.#refusals = 0;
    if (/^text\/html\b/i.test(headers.get("content-type") ?? "") && !/\.html?$/.test(name)) {
      throw new TransientError(`${hostOf(response.url || request.url)} sent a web page instead of ${name}`);
    }
    const coding = headers.get("content-encoding") ?? "identity";
    if (coding !== "identity") { // decoded bytes are not the bytes that are counted
      throw new TransientError(`${hostOf(response.url || request.url)} sent ${name} in another form (${coding})`);
    }
    if (status === 200 && !isFirst) { // the server ignored the range, or the file has changed
      this.acceptsRanges = headers.get("accept-ranges") === "bytes";
      throw this.#changed();
    }
    const range = status === 206 ? parseContentRange(headers.get("content-range")) : undefined;
    if (status === 206 && !range) throw new TransientError(`${hostOf(request.url)} does not say which bytes it sends`);
    const length = headers.get("content-length");
    const total = range ? range.total : length === null ? -1 : Number(length);
    if (isFirst) return await this.#begin(segment, response, total, range?.start ?? 0);
    const { validator } = this.#part;
    const now = headers.get(validator?.startsWith('"') ? "etag" : "last-modified");
    const isOther = validator !== undefined && now !== null && now !== validator && !now.startsWith("W/");
    if (isOther || range!.start !== segment.at || total !== this.#part.size) throw this.#changed();
  }

  /** The first answer tells the size. */
  async #begin(segment: Segment, { status, headers }: Response, total: number, start: number): Promise<void> {
    const { name, size } = this.#what;
    if (start !== 0) throw new TransientError(`${name} came from byte ${start} on`);
    if (size !== undefined && total >= 0 && total !== size) {
      throw new WrongContent(`${name} has ${total} bytes instead of ${size}: try again, or ask who publishes it`);
    }
    const validator = validatorOf(headers);
    // If nothing would reveal a changed file, all of it must come in one answer.
    if (status === 200 || (validator ?? this.#what.sha256) === undefined) this.acceptsRanges = false;
    const known = total >= 0 ? total : size ?? -1;
    this.digest = new FileDigest(this.#part.path);
    await this.#part.reset(known, validator);
    if (known >= 0) segment.end = segment.requested = known;
    await this.#requireFreeSpace();
  }

  async #requireFreeSpace(): Promise<void> {
    const { path, size, received } = this.#part;
    if (size >= 0) await requireFreeSpace(path.replace(/[^/]*$/, "") || ".", size - received, this.#what.name);
  }

  #changed(): WrongContent {
    return new WrongContent(`${this.#what.name} changed during the download: try again`);
  }

  /** Writes data while more is coming. */
  async #copy(
    segment: Segment,
    response: Response,
    signal: AbortSignal,
    onBytes: (count: number) => void,
  ): Promise<void> {
    const first = segment.at;
    if (!response.body) return await this.#finish(segment, first, segment.at);
    const reader = response.body.getReader({ mode: "byob" });
    const target = { part: this.#part, digest: this.digest, name: this.#what.name };
    const writer = await PartWriter.open(target, first, this.#isBroken);
    try {
      // If the server did not say how much it sends, it may send more than the file should have.
      const isOpen = !response.headers.has("content-length") && segment.end === this.#part.size;
      while (segment.at < segment.end || (isOpen && segment.end === this.#part.size)) {
        const { value, done } = await reader.read(writer.room).catch((error) => {
          const lost = writer.drop();
          segment.at -= lost;
          this.received -= lost;
          this.#isBroken = true;
          signal.throwIfAborted();
          const host = hostOf(response.url || this.#what.request.url);
          throw new TransientError(`the connection to ${host} broke (${messageOf(error)})`);
        });
        if (value) writer.giveBack(value);
        if (done) break;
        onBytes(value.length);
        if (isOpen && segment.at + value.length > this.#part.size && segment.end === this.#part.size) {
          throw new WrongContent(
            `${this.#what.name} has more than ${this.#part.size} bytes: try again, or ask who publishes it`,
          );
        }
        const counted = Math.min(value.length, segment.end - segment.at); // the rest belongs to another connection
        segment.at += counted;
        this.received += counted;
        await writer.add(counted, this.#isBroken);
      }
    } finally {
      await reader.cancel().catch(() => {});
      await writer.close();
    }
    await this.#finish(segment, first, segment.at);
  }

  /** Checks that everything has come. */
  async #finish(segment: Segment, first: number, last: number): Promise<void> {
    if (segment.end === Infinity) { // the server did not say how much it would send
      await this.#part.end(last);
      return;
    }
    if (last < segment.end) {
      throw new TransientError(`${this.#what.name} ended ${segment.end - last} bytes early, after ${last - first}`);
    }
  }
}
