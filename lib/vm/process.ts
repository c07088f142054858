/** QEMU as a process: started in a session of its own, and identified by its uuid afterwards. */

import { HostError, HotbootError } from "../base/error.ts";
import { APART } from "./apart.ts";
import { listenUnix } from "./connect.ts";
import type { Channels } from "./machine.ts";
import { QmpClient, QmpClosedError } from "./qmp.ts";
import { sleep, type WaitOptions, within } from "../base/wait.ts";

const STDERR_LIMIT = 64 * 1024;
const EXIT_TIMEOUT_MS = 10_000;
/** From the end of QEMU's monitor to the end of the process. */
const ENDING_MS = 500;
/** QEMU listens 40 to 60 ms after its start; asking costs well under a millisecond. */
const CONNECT_INTERVAL_MS = 2;

/** A QEMU that this program started, with a connection to its monitor. */
export class QemuProcess implements AsyncDisposable {
  /** The process id, valid for a signal as long as this program has not seen the process end. */
  readonly pid: number;
  /** The monitor. */
  readonly qmp: QmpClient;
  /** Resolves when the process has ended. */
  readonly exited: Promise<Deno.CommandStatus>;
  #child: Deno.ChildProcess;
  #stderr: StderrTail;
  /** Whether the process lives on without this object. */
  detached = false;

  private constructor(child: Deno.ChildProcess, stderr: StderrTail, qmp: QmpClient) {
    this.#child = child;
    this.#stderr = stderr;
    this.pid = child.pid;
    this.qmp = qmp;
    this.exited = child.status;
  }

  /**
   * Starts QEMU and connects to its monitor.
   *
   * @param program QEMU's absolute path.
   * @param args Its arguments, among them a monitor that listens on `sockets.monitor`, and what connects to `sockets.launcher`.
   * @param sockets See {@linkcode Channels}.
   * @param options The limit, 30 s by default.
   * @throws {HotbootError} with QEMU's message if it ends instead of answering. No process is left behind.
   */
  static async launch(
    program: string,
    args: string[],
    sockets: Pick<Channels, "monitor" | "launcher">,
    options: WaitOptions = {},
  ): Promise<QemuProcess> {
    options.signal?.throwIfAborted();
    using _launcher = await listenUnix(sockets.launcher);
    const child = spawnQemu(program, args);
    const stderr = new StderrTail(child.stderr);
    let ended = false;
    const failure = child.status.then(async ({ signal }) => {
      ended = true;
      const why = await stderr.reason(signal);
      if (/cannot allocate memory/i.test(why)) {
        throw new HostError(`QEMU ended at its start: ${why}`, "free some, or change machine.memory in the profile");
      }
      throw new HotbootError(`QEMU ended at its start: ${why}`);
    });
    try {
      const connect = async () => {
        while (true) {
          try {
            return await QmpClient.connect(sockets.monitor, options);
          } catch (error) {
            if (!GONE.some((kind) => error instanceof kind) || ended) {
              await Promise.race([failure, sleep(ENDING_MS)]); // it may be ending, and says why
              throw error;
            }
            await sleep(CONNECT_INTERVAL_MS, options.signal);
          }
        }
      };
      const qmp = await within(Promise.race([connect(), failure]), "QEMU", { timeoutMs: 30_000, ...options });
      return new QemuProcess(child, stderr, qmp);
    } catch (error) {
      await killChild(child);
      await stderr.cancel();
      throw error;
    } finally {
      failure.catch(() => {});
    }
  }

  /** Why QEMU gave up, as one line: its last message on standard error, or the signal that ended it. */
  async reason(): Promise<string> {
    const status = await Promise.race([this.exited, sleep(ENDING_MS)]);
    return await this.#stderr.reason(status?.signal);
  }

  /**
   * QEMU accepts devices whose queues are of another moment than RAM without an error, and its guest is dead then.
   *
   * @throws {HotbootError} if QEMU reported that.
   */
  async requireOneMoment(): Promise<void> {
    await sleep(0); // what it said before its last answer has been read by then
    if (this.#stderr.text.includes("inconsistent with Host index")) {
      throw new HotbootError("the devices' state and the memory are of two different moments");
    }
  }

  /** Asks QEMU to end at once, like a power cut, and waits until it has. */
  async quit(): Promise<void> {
    await this.qmp.execute("quit").catch(() => {}); // it may end before it answers
    try {
      await within(this.exited, "QEMU ('quit')", { timeoutMs: EXIT_TIMEOUT_MS });
      await this.#release();
    } catch {
      await this.kill();
    }
  }

  /** Kills the process and waits for its end. */
  async kill(): Promise<void> {
    await killChild(this.#child);
    await this.#release();
  }

  /** Lets the process live on when this object, and this program, end. */
  async detach(): Promise<void> {
    this.detached = true;
    await this.#release();
    this.#child.unref();
  }

  /** Kills the process unless it has been detached. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.detached) await this.kill();
  }

  async #release(): Promise<void> {
    await Promise.all([this.qmp.close(), this.#stderr.cancel()]);
  }
}

/** What connecting to one that has ended ends with, or is ending at this moment; also where no socket can be. */
const GONE = [
  ...(["NotFound", "NotADirectory", "ConnectionRefused", "ConnectionReset", "BrokenPipe", "UnexpectedEof"] as const)
    .map((name) => Deno.errors[name]),
  QmpClosedError,
];

/**
 * A connection to a QEMU that an earlier command started, or `undefined` if it no longer runs.
 *
 * Asks for its identity before anything else: a process id, or a socket's path, may belong to another process by now.
 */
export async function attach(
  monitorPath: string,
  who: { uuid: string } | { name: string },
  options: WaitOptions = {},
): Promise<QmpClient | undefined> {
  let qmp: QmpClient | undefined;
  let isIt = false;
  try {
    qmp = await QmpClient.connect(monitorPath, options);
    isIt = "uuid" in who
      ? (await qmp.execute<{ UUID: string }>("query-uuid", {}, options)).UUID === who.uuid
      : (await qmp.execute<{ name?: string }>("query-name", {}, options)).name === who.name;
    return isIt ? qmp : undefined;
  } catch (error) {
    if (GONE.some((kind) => error instanceof kind)) return undefined;
    throw error;
  } finally {
    if (!isIt) await qmp?.close(); // it serves one at a time
  }
}

/** Starts QEMU. Its standard error tells why it ended. */
function spawnQemu(program: string, args: string[]): Deno.ChildProcess {
  try {
    return new Deno.Command(program, { args, stdin: "null", stdout: "null", stderr: "piped", ...APART }).spawn();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new HotbootError(`QEMU is not at ${program}: install it again`);
    throw error;
  }
}

async function killChild(child: Deno.ChildProcess): Promise<void> {
  try {
    child.kill("SIGKILL");
  } catch {
    // it has ended
  }
  await child.status;
}

/** The end of what QEMU prints on standard error, where it says why it gives up. */
class StderrTail {
  #reader: ReadableStreamDefaultReader<Uint8Array>;
  /** The end of what it has said so far. */
  text = "";
  #done: Promise<void>;

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#reader = stream.getReader();
    this.#done = this.#read().catch(() => {});
  }

  async reason(signal?: Deno.Signal | null): Promise<string> {
    await Promise.race([this.#done, sleep(200)]);
    // QEMU writes to memory backed by files, and this is the kernel's signal for a full disk.
    if (signal === "SIGBUS") return "the disk of hotboot's home is full (SIGBUS)";
    const lines = this.text.split("\n").map((line) => line.replace(/^\S*qemu-system-\S+: /, "").trim());
    return lines.filter((line) => line !== "" && !/^warning: /.test(line)).join("; ") ||
      (signal ? `${signal} ended it` : "it gave no reason");
  }

  async cancel(): Promise<void> {
    await this.#reader.cancel().catch(() => {});
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    for (let part; !(part = await this.#reader.read()).done;) {
      this.text = (this.text + decoder.decode(part.value, { stream: true })).slice(-STDERR_LIMIT);
    }
  }
}
