/**
 * QEMU's guest agent: programs, files and the clock inside the guest, over a virtio-serial port.
 *
 * Source: QEMU's documentation, "QEMU Guest Agent Protocol Reference" (qga/qapi-schema.json).
 *
 * @module
 */

import { HotbootError } from "../base/error.ts";
import { decodeBase64, encodeBase64 } from "@std/encoding/base64";
import { Turns } from "../base/turns.ts";
import { connectUnix } from "./connect.ts";
import { DELIMITER, type Duplex, JsonLines } from "./json_lines.ts";
import { sleep, type WaitOptions, within } from "../base/wait.ts";

/** A program to run in the guest. */
export interface GuestCommand {
  /** The program: a path, or a name to be looked up in the agent's `PATH`. */
  path: string;
  /** Its arguments, without the program's own name. */
  args?: string[];
  /** `NAME=value` entries that replace the agent's own environment. */
  env?: string[];
  /** Its standard input; empty if absent. */
  input?: Uint8Array;
}

/** How a program in the guest ended, and what it printed. */
export interface GuestResult {
  /** The exit code; 128 + n if signal n ended the program. */
  exitCode: number;
  /** Standard output: at most 16 MiB, the agent's limit. */
  stdout: Uint8Array;
  /** Standard error, with the same limit. */
  stderr: Uint8Array;
}

/** The agent refused a command. */
export class GuestAgentError extends HotbootError {
  /** The class's name, for logs. */
  override name = "GuestAgentError";

  /**
   * Creates the error from the agent's message.
   *
   * @param command The command that was refused.
   * @param description The agent's message.
   */
  constructor(command: string, description: string) {
    super(`the guest agent refused '${command}': ${description}`);
  }
}

const DEFAULT_TIMEOUT_MS = 10_000;
/** How much goes over the channel in one message; the agent clears and fills as much memory each time. */
const CHUNK_BYTES = 256 * 1024;

/** An answer's fields, by name. A guest can send anything in its agent's place. */
type Fields = Record<string, unknown>;

function wrongAnswer(command: string): HotbootError {
  return new HotbootError(
    `the guest agent's answer to '${command}' is not of its kind: restart the guest, and use only images that you trust`,
  );
}

function fieldsOf(value: unknown, command: string): Fields {
  if (typeof value !== "object" || value === null) throw wrongAnswer(command);
  return value as Fields;
}

function integer(value: unknown, command: string): number {
  if (!Number.isSafeInteger(value)) throw wrongAnswer(command);
  return value as number;
}

/** Bytes from base64; none if there is no such field. */
function bytesOf(value: unknown, command: string): Uint8Array {
  if (value === undefined) return new Uint8Array();
  try {
    if (typeof value === "string") return decodeBase64(value);
  } catch {
    // it is not base64
  }
  throw wrongAnswer(command);
}

/**
 * A synchronised connection to the guest agent.
 *
 * QEMU serves one client at a time and makes others wait, so hold a connection only while you use it.
 *
 * Each command has a limit of 10 s by default. It fails with a {@linkcode GuestAgentError} if the agent refuses it, or
 * with a {@linkcode HotbootError} if the agent goes away or the limit passes. Paths and programs are the guest's.
 *
 * Needs net permission for `unix:PATH` (Deno 2.9 and later), or read and write permission on it (before), to connect to a
 * socket, and none for an open stream.
 *
 * @example
 * ```ts
 * import { GuestAgent } from "@hotboot/hotboot";
 *
 * await using agent = await GuestAgent.connect("/run/vm/agent.sock");
 * await agent.setTime();
 * const { stdout } = await agent.exec({ path: "uname", args: ["-r"] });
 * console.log(new TextDecoder().decode(stdout));
 * ```
 */
export class GuestAgent implements AsyncDisposable {
  #lines: JsonLines;
  #turns = new Turns();

  private constructor(lines: JsonLines) {
    this.#lines = lines;
  }

  /**
   * Connects to the agent's unix socket and synchronises with the agent.
   *
   * Needs net permission for `unix:PATH` (Deno 2.9 and later), or read and write permission on it (before).
   *
   * @param path The absolute path of the socket behind the port `org.qemu.guest_agent.0`.
   * @param options The limit, 10 s by default.
   * @throws {HotbootError} if no agent answers in time.
   */
  static async connect(path: string, options: WaitOptions = {}): Promise<GuestAgent> {
    return await GuestAgent.open(await connectUnix(path, options), options);
  }

  /**
   * The same over any byte stream.
   *
   * @param duplex The stream, which is closed with the connection.
   * @param options The limit, 10 s by default.
   * @throws {HotbootError} if no agent answers in time.
   */
  static async open(duplex: Duplex, options: WaitOptions = {}): Promise<GuestAgent> {
    const agent = new GuestAgent(new JsonLines(duplex));
    try {
      await within(agent.#sync(), "the guest agent", { timeoutMs: DEFAULT_TIMEOUT_MS, ...options });
      return agent;
    } catch (error) {
      await agent.close();
      throw error;
    }
  }

  /**
   * Runs one of the agent's commands and returns its `return` value. Commands run one after the other.
   *
   * @param command A name from QEMU's guest agent reference.
   * @param args Its arguments.
   * @param options The limit, 10 s by default.
   * @returns The agent's answer, in the form of its reference; nothing checks that it is a `T`.
   * @throws {GuestAgentError} if the agent refuses.
   * @throws {HotbootError} if it goes away, does not answer in time, or answers what is none; the connection is unusable then.
   */
  async execute<T = unknown>(command: string, args: object = {}, options: WaitOptions = {}): Promise<T> {
    const turn = this.#turns.run(async () => {
      const sent = await this.#lines.write({ execute: command, arguments: args }).then(() => true, () => false);
      const reply = sent ? await this.#lines.read() : undefined;
      if (reply === undefined) throw new HotbootError(`the guest agent went away during '${command}': try again`);
      const { return: value, error } = fieldsOf(reply, command);
      if (error !== undefined) throw new GuestAgentError(command, `${fieldsOf(error, command).desc}`);
      return value as T;
    });
    const limits = { timeoutMs: DEFAULT_TIMEOUT_MS, ...options };
    return await within(turn, `the guest agent ('${command}')`, limits);
  }

  /** Returns when the agent answers. */
  async ping(options: WaitOptions = {}): Promise<void> {
    await this.execute("guest-ping", {}, options);
  }

  /**
   * Sets the guest's clock to the host's, or to `time` (milliseconds since 1970).
   *
   * The agent also writes the hardware clock, with hwclock(8), which waits for that clock's next full second: this
   * takes up to one second. {@linkcode setTimeWithDate} is faster. In a guest without hwclock the system clock is still
   * set (the agent sets it first), and that is what counts.
   */
  async setTime(time: number = Date.now(), options: WaitOptions = {}): Promise<void> {
    const begin = performance.now();
    try {
      await this.execute("guest-set-time", { time: Math.round(time * 1000) * 1000 }, options);
    } catch (error) {
      if (!(error instanceof GuestAgentError)) throw error;
      if (/hwclock|hardware clock/i.test(error.message)) return;
      // It refuses the years from 2070 on, whatever the guest's kernel can do.
      const now = time + performance.now() - begin;
      if (!await this.#setWithDate(Math.round(now / 1000).toFixed(), options)) throw error;
    }
  }

  /**
   * The same with GNU's date(1), and without the hardware clock, which under QEMU follows the host's anyway.
   *
   * @returns False if the guest's `date` does not support fractions of seconds; its clock is unchanged then.
   */
  async setTimeWithDate(time: number = Date.now(), options: WaitOptions = {}): Promise<boolean> {
    return await this.#setWithDate((time / 1000).toFixed(3), options);
  }

  async #setWithDate(seconds: string, options: WaitOptions): Promise<boolean> {
    const date = { path: "date", args: ["-u", "-s", `@${seconds}`] };
    try {
      const { exitCode, stderr } = await this.exec(date, options);
      return exitCode === 0 && stderr.length === 0; // if the kernel refuses the time, busybox says so and ends with 0
    } catch (error) {
      if (error instanceof GuestAgentError) return false; // there is no such program
      throw error;
    }
  }

  /**
   * Starts a program and returns its process id in the guest; {@linkcode status} shows how it is doing.
   *
   * @param command The program.
   * @param capture Whether to keep its output for {@linkcode status}.
   */
  async spawn(command: GuestCommand, capture = false, options: WaitOptions = {}): Promise<number> {
    const started = await this.execute("guest-exec", {
      path: command.path,
      arg: command.args ?? [],
      ...(command.env && { env: command.env }),
      ...(command.input && { "input-data": encodeBase64(command.input) }),
      "capture-output": capture,
    }, options);
    return integer(fieldsOf(started, "guest-exec").pid, "guest-exec");
  }

  /** The result of a spawned program, or `undefined` while it runs. It can be read once. */
  async status(pid: number, options: WaitOptions = {}): Promise<GuestResult | undefined> {
    const command = "guest-exec-status";
    const status = fieldsOf(await this.execute(command, { pid }, options), command);
    if (!status.exited) return undefined;
    return {
      exitCode: status.signal ? 128 + integer(status.signal, command) : integer(status.exitcode ?? 0, command),
      stdout: bytesOf(status["out-data"], command),
      stderr: bytesOf(status["err-data"], command),
    };
  }

  /**
   * Runs a program and waits for its end.
   *
   * @param command The program.
   * @param options The limit for the whole run, 10 s by default; `what` names it in the error.
   * @throws {HotbootError} if the program cannot be started or runs longer; it is not killed then.
   */
  async exec(command: GuestCommand, options: WaitOptions & { what?: string } = {}): Promise<GuestResult> {
    const { what = `'${command.path}' in the guest`, signal } = options;
    const run = async () => {
      const pid = await this.spawn(command, true, options); // a busy guest may take long to start it
      // The agent has no event for a program's end. Most take a few milliseconds; poll those closely.
      for (let pause = 2;; pause = Math.min(pause * 1.5, 30)) {
        const result = await this.status(pid, { signal });
        if (result) return result;
        await sleep(pause, signal);
      }
    };
    return await within(run(), what, { timeoutMs: DEFAULT_TIMEOUT_MS, ...options });
  }

  /** Writes a file in the guest, replacing it, or with `append` extends it. */
  async writeFile(path: string, data: Uint8Array, options: WaitOptions & { append?: boolean } = {}): Promise<void> {
    const mode = options.append ? "a" : "w";
    const handle = await this.#open(path, mode, options);
    try {
      for (let at = 0; at < data.length;) {
        const chunk = data.subarray(at, at + CHUNK_BYTES);
        const command = "guest-file-write";
        const written = await this.execute(command, { handle, "buf-b64": encodeBase64(chunk) }, options);
        const count = integer(fieldsOf(written, command).count, command);
        if (count > chunk.length) throw wrongAnswer(command);
        if (!(count > 0)) {
          throw new HotbootError(
            `the guest agent cannot write ${path}: it wrote nothing; free some space in the guest`,
          );
        }
        at += count;
      }
    } finally {
      await this.execute("guest-file-close", { handle }, options); // flushes, so its failure counts
    }
  }

  /** Opens a file in the guest for reading; pass the handle to {@linkcode read} and {@linkcode closeFile}. */
  async openFile(path: string, options: WaitOptions = {}): Promise<number> {
    return await this.#open(path, "r", options);
  }

  /** The next bytes, at most 256 KiB; empty at the file's current end. */
  async read(handle: number, options: WaitOptions = {}): Promise<Uint8Array> {
    const command = "guest-file-read";
    const reply = fieldsOf(await this.execute(command, { handle, count: CHUNK_BYTES }, options), command);
    return bytesOf(reply["buf-b64"], command);
  }

  /** Closes a file that {@linkcode openFile} opened. */
  async closeFile(handle: number, options: WaitOptions = {}): Promise<void> {
    await this.execute("guest-file-close", { handle }, options);
  }

  /** Makes the guest power itself off, and does not wait for that. */
  async powerDown(options: WaitOptions = {}): Promise<void> {
    // It answers only if it fails, for example without logind to notify users.
    const failed = await this.execute("guest-shutdown", { mode: "powerdown" }, { timeoutMs: 5000, ...options }).catch(
      (error) => error instanceof GuestAgentError,
    );
    if (!failed) return;
    // This may end the agent before it answers, too.
    await this.spawn({ path: "/bin/sh", args: ["-c", "poweroff"] }, false, options).catch((error) => {
      options.signal?.throwIfAborted();
      if (error instanceof GuestAgentError) throw error;
    });
  }

  /** Ends the connection; the agent keeps running. */
  async close(): Promise<void> {
    await this.#lines.close();
  }

  /** The same as {@linkcode close}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #open(path: string, mode: string, options: WaitOptions): Promise<number> {
    return integer(await this.execute("guest-file-open", { path, mode }, options), "guest-file-open");
  }

  /**
   * Brings both sides to a known point: an earlier client may have left half a request in the agent's parser, which
   * the delimiter flushes, and answers on the way, which are dropped up to the delimiter that answers ours.
   */
  async #sync(): Promise<void> {
    const id = crypto.getRandomValues(new Uint32Array(1))[0];
    await this.#lines.write({ execute: "guest-sync-delimited", arguments: { id } }, [DELIMITER]);
    while (await this.#lines.skipToDelimiter()) {
      const reply = await this.#lines.read() as { return?: number } | null | undefined;
      if (reply?.return === id) return;
    }
    throw new HotbootError("QEMU closed the guest agent's channel: the machine has stopped");
  }
}
