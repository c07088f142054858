/**
 * QEMU's machine protocol: commands with ids, replies, and the events between them, over one connection.
 *
 * Source: QEMU's documentation, "QEMU Machine Protocol Specification" (docs/interop/qmp-spec.rst).
 *
 * @module
 */

import { HotbootError } from "../base/error.ts";
import { connectUnix } from "./connect.ts";
import { type Duplex, JsonLines } from "./json_lines.ts";
import { type WaitOptions, within } from "../base/wait.ts";

/** A message that QEMU sends unasked. */
export interface QmpEvent {
  /** The event's name, as in QEMU's QMP reference: `STOP`, `MIGRATION`. */
  event: string;
  /** Its data. */
  data: Record<string, unknown>;
  /** When it happened, by the host's clock: milliseconds since 1970. */
  time: number;
}

/** QEMU refused a command. */
export class QmpError extends HotbootError {
  /** The class's name, for logs. */
  override name = "QmpError";
  /** QEMU's error class: `GenericError`, `CommandNotFound` … */
  readonly errorClass: string;

  /**
   * Creates the error from QEMU's message.
   *
   * @param command The command that was refused.
   * @param errorClass QEMU's error class.
   * @param description QEMU's message.
   */
  constructor(command: string, errorClass: string, description: string) {
    super(`QEMU refused '${command}': ${description}`);
    this.errorClass = errorClass;
  }
}

/** QEMU closed its monitor, as it does when it ends. */
export class QmpClosedError extends HotbootError {
  /** The class's name, for logs. */
  override name = "QmpClosedError";

  /**
   * Creates the error.
   *
   * @param what What was asked, or awaited.
   */
  constructor(what: string) {
    super(`QEMU closed its monitor during '${what}'`);
  }
}

interface Pending {
  command: string;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/** What comes over the monitor; of these members each message has its own few. */
interface Message {
  id?: number;
  return?: unknown;
  error?: { class: string; desc: string };
  event?: string;
  data?: Record<string, unknown>;
  timestamp?: { seconds: number; microseconds: number };
}

const DEFAULT_TIMEOUT_MS = 10_000;

/**
 * A connection to a QEMU monitor in control mode.
 *
 * Needs net permission for `unix:PATH` (Deno 2.9 and later), or read and write permission on it (before), to connect to a
 * socket, and none for an open stream.
 *
 * @example
 * ```ts
 * import { QmpClient } from "@hotboot/hotboot";
 *
 * await using qmp = await QmpClient.connect("/run/vm/qmp.sock");
 * console.log(await qmp.execute("query-status"));
 * ```
 */
export class QmpClient implements AsyncDisposable {
  /** QEMU's version, from the greeting: `7.2.22`. */
  readonly version: string;
  /** Resolves when the connection has ended, whoever ended it. */
  readonly closed: Promise<void>;
  #lines: JsonLines;
  #nextId = 1;
  #pending = new Map<number, Pending>();
  #listeners = new Set<(event: QmpEvent | undefined) => void>();

  private constructor(lines: JsonLines, version: string) {
    this.#lines = lines;
    this.version = version;
    this.closed = this.#readAll();
  }

  /**
   * Connects to the monitor's unix socket and negotiates capabilities.
   *
   * Needs net permission for `unix:PATH` (Deno 2.9 and later), or read and write permission on it (before).
   *
   * @param path The socket's absolute path; at most 107 bytes on Linux, 103 on macOS.
   * @param options The limit until QEMU has greeted, 10 s by default; QEMU serves one client at a time, so a
   * second one waits until the first has gone.
   * @throws {HotbootError} if nothing answers in time.
   * @throws {Deno.errors.NotFound | Deno.errors.ConnectionRefused} if no QEMU listens there.
   * @throws {Deno.errors.UnexpectedEof} if it ends meanwhile.
   */
  static async connect(path: string, options: WaitOptions = {}): Promise<QmpClient> {
    return await QmpClient.open(await connectUnix(path, options), options);
  }

  /**
   * The same over any byte stream, such as the standard streams of a QEMU started with `-qmp stdio`.
   *
   * @param duplex The stream, which is closed with the connection.
   * @param options The limit until QEMU has greeted, 10 s by default.
   * @throws {HotbootError} if nothing answers in time.
   * @throws {Deno.errors.UnexpectedEof} if it ends before.
   */
  static async open(duplex: Duplex, options: WaitOptions = {}): Promise<QmpClient> {
    const limits = { timeoutMs: DEFAULT_TIMEOUT_MS, ...options };
    const lines = new JsonLines(duplex);
    try {
      const greeting = await within(lines.read(), "QEMU's monitor", limits);
      if (greeting === undefined) throw new Deno.errors.UnexpectedEof("QEMU closed its monitor before greeting");
      const client = new QmpClient(lines, versionIn(greeting));
      await client.execute("qmp_capabilities", {}, limits);
      return client;
    } catch (error) {
      await lines.close();
      throw error;
    }
  }

  /**
   * Runs a command and returns its `return` value.
   *
   * @param command A name from QEMU's QMP reference.
   * @param args Its arguments.
   * @param options The limit, 10 s by default. Reaching it does not undo the command.
   * @returns QEMU's answer, in the form of its reference; nothing checks that it is a `T`.
   * @throws {QmpError} if QEMU refuses.
   * @throws {QmpClosedError} if the monitor closes.
   * @throws {HotbootError} if it does not answer in time.
   */
  async execute<T = unknown>(command: string, args: object = {}, options: WaitOptions = {}): Promise<T> {
    const id = this.#nextId++;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#pending.set(id, { command, resolve, reject });
    promise.catch(() => {}); // the write below may fail before anyone awaits it
    try {
      await this.#lines.write({ execute: command, arguments: args, id }).catch(() => {
        throw new QmpClosedError(command);
      });
      return await within(promise, `QEMU ('${command}')`, { timeoutMs: DEFAULT_TIMEOUT_MS, ...options }) as T;
    } finally {
      this.#pending.delete(id);
    }
  }

  /**
   * The next event that `matches`. Call it before running the command that causes the event: earlier events are gone.
   *
   * @param matches Whether it is the right one.
   * @param what What is awaited, for the error's message.
   * @param options The limit; none by default.
   * @throws {HotbootError} if the monitor closes or the limit passes first.
   */
  waitForEvent(matches: (event: QmpEvent) => boolean, what: string, options: WaitOptions = {}): Promise<QmpEvent> {
    const { promise, resolve, reject } = Promise.withResolvers<QmpEvent>();
    const listener = (event: QmpEvent | undefined) => {
      if (!event) reject(new QmpClosedError(what));
      else if (matches(event)) resolve(event);
    };
    this.#listeners.add(listener);
    const result = within(promise, what, options).finally(() => this.#listeners.delete(listener));
    result.catch(() => {}); // the caller may fail before it comes to await this
    return result;
  }

  /** Ends the connection; QEMU keeps running. */
  async close(): Promise<void> {
    await this.#lines.close();
    await this.closed;
  }

  /** The same as {@linkcode close}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #readAll(): Promise<void> {
    try {
      while (true) {
        const read = await this.#lines.read();
        if (read === undefined) break;
        const message: Message = Object(read);
        if (message.event !== undefined) {
          const { event, data = {}, timestamp } = message;
          const time = timestamp ? timestamp.seconds * 1000 + timestamp.microseconds / 1000 : Date.now();
          for (const listener of [...this.#listeners]) listener({ event, data, time });
        } else {
          this.#settle(message);
        }
      }
    } catch {
      // a line that is no JSON, or a broken connection: the same as its end
    }
    for (const { command, reject } of this.#pending.values()) reject(new QmpClosedError(command));
    for (const listener of [...this.#listeners]) listener(undefined);
    await this.#lines.close();
  }

  #settle(message: Message): void {
    // A reply without an id is QEMU's to a line it could not parse; hotboot sends none, so it has no owner here.
    const pending = this.#pending.get(message.id ?? -1);
    if (!pending) return;
    if (message.error) pending.reject(new QmpError(pending.command, message.error.class, message.error.desc));
    else pending.resolve(message.return);
  }
}

/** The version in a greeting. @throws {HotbootError} if it is none: something else answers. */
function versionIn(greeting: unknown): string {
  const { major, minor, micro } = Object(Object(Object(Object(greeting).QMP).version).qemu);
  if ([major, minor, micro].every(Number.isInteger)) return versionOf({ major, minor, micro });
  throw new HotbootError("what answers is not QEMU's monitor (its greeting has no version): end what listens there");
}

/** QEMU's version as its greeting has it, as text: `7.2.22`. */
export function versionOf({ major, minor, micro }: { major: number; minor: number; micro: number }): string {
  return `${major}.${minor}.${micro}`;
}
