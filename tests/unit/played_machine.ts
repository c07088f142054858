/**
 * A QEMU and a guest agent that the test plays, on an instance's sockets. They show what hotboot makes of their answers,
 * and what it has written down at which moment. The end-to-end tests show that QEMU gives these answers.
 */

import { encodeBase64 } from "@std/encoding/base64";
import { writeAll } from "../../lib/base/io.ts";
import { channelsOf, machineName, makeChannels } from "../../lib/instance/channels.ts";
import type { Emulator } from "../../lib/instance/emulator.ts";

/** The size of its RAM. */
const RAM_BYTES = 1 << 20;

type Answer = (args: Record<string, unknown>) => unknown;

/** The result of an answer that refuses. */
export class Refusal {
  constructor(readonly desc: string) {}
}

/** Serves newline-delimited JSON on a socket, to one client at a time as QEMU does. */
class Served implements Disposable {
  #listener: Deno.Listener;
  #clients = new Set<Deno.Conn>();

  constructor(path: string, serve: (connection: Deno.Conn) => Promise<void>) {
    // Deno removes a socket's path some time after the close; by then another socket can be there.
    const first = `${path}.${crypto.randomUUID().slice(0, 8)}`;
    const listener = this.#listener = Deno.listen({ transport: "unix", path: first });
    Deno.renameSync(first, path);
    (async () => {
      for await (const connection of listener) {
        this.#clients.add(connection);
        await serve(connection).catch(() => {});
        this.#clients.delete(connection);
        close(connection);
      }
    })().catch(() => {});
  }

  [Symbol.dispose](): void {
    close(this.#listener);
    for (const client of this.#clients) close(client);
  }
}

function close(resource: { close(): void }): void {
  try {
    resource.close();
  } catch {
    // it is closed already
  }
}

async function* linesOf(connection: Deno.Conn): AsyncGenerator<Record<string, unknown>> {
  let rest = "";
  for await (const text of connection.readable.pipeThrough(new TextDecoderStream("latin1"))) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    for (const line of lines) yield JSON.parse(line.replace("\xff", ""));
  }
}

/** The machine. Its answers can be replaced, by the names of QMP's commands and the agent's. */
export class PlayedMachine implements Disposable {
  /** QEMU's run state. */
  status = "running";
  /** All QMP commands received, in order. */
  readonly commands: string[] = [];
  /** Called when a command arrives, before the answer. */
  onCommand: (command: string) => Promise<void> | void = () => {};
  /** Answers that replace the usual ones. */
  readonly answers: Record<string, Answer> = {};
  /** The shell scripts that the agent received. */
  readonly scripts: string[] = [];
  /** How far the guest's clock is ahead, in milliseconds. */
  clockMs = 0;
  migration: { status?: string } = {};

  #served: Served[] = [];
  #uuid: string;
  #name: string;

  private constructor(uuid: string, name: string) {
    this.#uuid = uuid;
    this.#name = name;
  }

  /** Starts one that listens on the sockets of this emulator's instance. `agent`: whether there is an agent. */
  static async start(emulator: Emulator, { uuid, agent = true }: { uuid: string; agent?: boolean }) {
    await makeChannels(emulator);
    const channels = await channelsOf(emulator);
    const machine = new PlayedMachine(uuid, machineName(emulator.instance));
    machine.#served.push(new Served(channels.monitor, (connection) => machine.#serveMonitor(connection)));
    if (agent) machine.#served.push(new Served(channels.agent, (connection) => machine.#serveAgent(connection)));
    return machine;
  }

  /** Ends it, as if QEMU had ended. */
  [Symbol.dispose](): void {
    for (const served of this.#served) served[Symbol.dispose]();
  }

  async #serveMonitor(connection: Deno.Conn): Promise<void> {
    const send = (value: unknown) => writeAll(connection, new TextEncoder().encode(JSON.stringify(value) + "\r\n"));
    const event = (name: string, data = {}) =>
      send({ event: name, data, timestamp: { seconds: Math.floor(Date.now() / 1000), microseconds: 0 } });
    await send({ QMP: { version: { qemu: { major: 10, minor: 0, micro: 0 } }, capabilities: [] } });
    for await (const { execute, arguments: args = {}, id } of linesOf(connection)) {
      const command = String(execute);
      this.commands.push(command);
      await this.onCommand(command);
      const own = this.answers[command];
      const answer = own ? own(args as Record<string, unknown>) : this.#answer(command);
      if (answer instanceof Refusal) {
        await send({ error: { class: "GenericError", desc: answer.desc }, id });
        continue;
      }
      await send({ return: answer, id });
      if (command === "stop") await this.#become("paused", () => event("STOP"));
      if (command === "device_del") await event("DEVICE_DELETED", { device: (args as { id: string }).id });
      if (command === "cont") await this.#become("running", () => event("RESUME"));
      if (command === "migrate" && !own) await this.#migrate(args as { uri: string }, event);
      if (command === "quit" && !own) return this[Symbol.dispose]();
    }
  }

  async #become(status: string, tell: () => Promise<void>): Promise<void> {
    this.status = status;
    await tell();
  }

  async #migrate({ uri }: { uri: string }, event: (name: string, data: object) => Promise<void>): Promise<void> {
    this.migration = { status: "active" };
    const socket = await Deno.connect({ transport: "unix", path: uri.replace("unix:", "") });
    await writeAll(socket, new TextEncoder().encode("all that is in its memory"));
    socket.close();
    this.migration = { status: "completed" };
    this.status = "postmigrate";
    await event("MIGRATION", { status: "completed" });
  }

  #answer(command: string): unknown {
    if (command === "query-uuid") return { UUID: this.#uuid };
    if (command === "query-name") return { name: this.#name };
    if (command === "query-status") return { running: this.status === "running", status: this.status };
    if (command === "query-migrate") return this.migration;
    if (command === "query-memory-size-summary") return { "base-memory": RAM_BYTES };
    if (["query-migrate-capabilities", "qom-list", "query-block", "query-chardev"].includes(command)) return [];
    return {};
  }

  async #serveAgent(connection: Deno.Conn): Promise<void> {
    for await (const { execute, arguments: args = {} } of linesOf(connection)) {
      const command = String(execute);
      const given = args as Record<string, unknown>;
      const sync = command === "guest-sync-delimited" ? [0xff] : [];
      const answer = this.answers[command]?.(given) ?? this.#agentAnswer(command, given);
      const text = answer instanceof Refusal ? { error: { desc: answer.desc } } : { return: answer };
      const line = new TextEncoder().encode(JSON.stringify(text) + "\n");
      await writeAll(connection, new Uint8Array([...sync, ...line]));
      if (command === "guest-shutdown" && !(answer instanceof Refusal)) return this[Symbol.dispose]();
    }
  }

  #agentAnswer(command: string, args: Record<string, unknown>): unknown {
    if (command === "guest-sync-delimited") return args.id;
    if (command === "guest-get-time") return (Date.now() + this.clockMs) * 1e6;
    if (command === "guest-exec") {
      this.scripts.push([args.path, ...args.arg as string[]].join(" "));
      if (args.path === "date") this.clockMs = 0;
      return { pid: 1 };
    }
    if (command === "guest-exec-status") {
      return { exited: true, exitcode: 0, "out-data": encodeBase64("mark 1 begin\nmark 1 clock\n") };
    }
    return {};
  }
}
