/**
 * The sandbox: a command runs in a Worker that has its grants and nothing else, and the launcher that started it gives up its
 * own permissions.
 *
 * Source: Deno's documentation, "Workers", "Specifying worker permissions".
 */

import { CODE } from "../../base/bundle.ts";
import type { Arguments } from "../commands/command.ts";
import type { Asked } from "../../ui/ask.ts";
import { HotbootError, messageOf } from "../../base/error.ts";
import { type Interrupt, Interrupts } from "../interrupts.ts";
import type { Login } from "../../oci/login.ts";
import type { Network } from "../../release/network.ts";
import type { Token } from "../../release/token.ts";
import type { Display } from "../ui/display.ts";
import type { AskMessage, RunAsked } from "./asking.ts";
import type { Grants } from "./grants.ts";
import { isAtLeast } from "./program.ts";

/** The Worker's name, which tells the program that it is one. */
export const SANDBOX_NAME = "hotboot-command";

/** What to do in the sandbox. */
export interface Work {
  /** The command: `start`, `iso create`. */
  command: string;
  /** Its arguments. */
  args: Arguments;
  /** How to write to the terminal. */
  display: Display;
  /** The emulator as the launcher found it: its profile, the profile's URL, and the home. */
  emulator?: { profile: unknown; url: string; home: string };
  /** What the command's `prepare` has found out. */
  prepared?: unknown;
  /** A token for GitHub; `null` if there is none. */
  token?: Token | null;
  /** A login for the registry; `null` if there is none. */
  login?: Login | null;
  /** The way to servers. */
  network?: Network;
  /** What it prints goes to the command that has asked for it, and not to the terminal. */
  isAskedFor?: boolean;
}

/** How a command runs, other than alone and on the terminal. */
export interface SandboxOptions {
  /**
   * Where it may ask for symbolic links. Deno lets only programs with full read and write permission make them, so the
   * launcher does it.
   */
  linksBelow?: string;
  /** Runs the commands that it asks for, each in a sandbox of its own. The launcher keeps its permissions for that. */
  runAsked?: RunAsked;
  /** Gets what it prints. */
  output?: Asked["output"];
}

type ToSandbox = { kind: "work"; work: Work } | { kind: "interrupt"; name: Interrupt } | {
  kind: "linked";
  error?: string;
} | { kind: "taken" };
type FromSandbox =
  | { kind: "ready" }
  | { kind: "exit"; code: number }
  | { kind: "link"; target: string; path: string }
  | { kind: "output"; to: "stdout" | "stderr"; bytes: Uint8Array }
  | AskMessage;

/** What the launcher itself gives up once the Worker has what it needs. */
const ALL = ["read", "write", "net", "run", "env", "sys", "ffi", "import"] as const;

/** A Worker's permissions. `module` is the program's main module, which may be anywhere. */
export function workerPermissions(grants: Grants, module: URL): Deno.PermissionOptionsObject {
  const orNone = (list: string[]) => list.length > 0 ? list : false;
  // Before 2.9 a socket needs read and write permission for its path, and "unix:" is not a valid host.
  const takesSockets = isAtLeast(Deno.version.deno, 2, 9);
  const net = grants.net.filter((peer) => takesSockets || !peer.startsWith("unix:"));
  const isFile = module.protocol === "file:";
  return {
    read: orNone([...grants.read, ...grants.write, ...isFile ? [decodeURIComponent(CODE.pathname)] : []]),
    write: orNone(grants.write),
    net: orNone(net),
    run: orNone(grants.run),
    env: orNone(grants.env),
    sys: orNone(grants.sys) as Deno.PermissionOptionsObject["sys"],
    import: isFile ? false : [module.host],
    ffi: false,
  };
}

/**
 * Runs the work in a Worker of `module`, which must call {@linkcode serveSandbox}, and returns the exit code. The command
 * decides about interrupts.
 */
export async function runInSandbox(
  module: URL,
  grants: Grants,
  work: Work,
  interrupts: Interrupts,
  { linksBelow, runAsked, output }: SandboxOptions = {},
): Promise<number> {
  const worker = startWorker(module, grants, work.command);
  const send = (message: ToSandbox) => worker.postMessage(message);
  try {
    return await new Promise<number>((resolve, reject) => {
      worker.onerror = (event) => {
        event.preventDefault();
        reject(new Error(event.message));
      };
      worker.onmessage = async ({ data }: MessageEvent<FromSandbox>) => {
        if (data.kind === "exit") return resolve(data.code);
        if (data.kind === "link") {
          const error = await makeLink(data, linksBelow).then(() => undefined, messageOf);
          return send({ kind: "linked", ...(error !== undefined && { error }) });
        }
        if (data.kind === "output") {
          await output?.(data.to, data.bytes);
          return send({ kind: "taken" });
        }
        if (data.kind === "ask") return void (await import("./asking.ts")).answer(data, runAsked);
        if (interrupts.signal.aborted) return reject(interrupts.signal.reason);
        // A launcher that runs other commands needs its permissions for them.
        if (!work.isAskedFor && !runAsked) giveUp(linksBelow === undefined ? [] : ["read", "write"]);
        interrupts.takeOver((name) => send({ kind: "interrupt", name }));
        send({ kind: "work", work });
      };
    });
  } finally {
    worker.terminate();
  }
}

function startWorker(module: URL, grants: Grants, command: string): Worker {
  const deno = { permissions: workerPermissions(grants, module) };
  try {
    return new Worker(module, { type: "module", name: SANDBOX_NAME, deno } as WorkerOptions);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
    throw new HotbootError(
      `deno has fewer permissions than '${command}' needs (see 'hotboot permissions ${command}'): run it with the flags in docs/security.md, or with -A`,
    );
  }
}

/** Call it only now: until a Worker runs, its modules load with the permissions of the thread that started it. */
function giveUp(except: string[]): void {
  for (const name of ALL) if (!except.includes(name)) Deno.permissions.revokeSync({ name });
}

async function makeLink({ target, path }: { target: string; path: string }, below?: string): Promise<void> {
  if (below === undefined) throw new HotbootError("this command may not make symbolic links");
  const [root, parent] = await Promise.all([Deno.realPath(below), Deno.realPath(path.replace(/[^/]*$/, ""))]);
  if (parent !== root && !parent.startsWith(`${root}/`)) throw new HotbootError(`${path} is not below ${below}`);
  await Deno.symlink(target, path);
}

/** What the main thread offers to the command. */
export interface SandboxServices {
  /** The user's interrupts. */
  interrupts: Interrupts;
  /** Makes a symbolic link. */
  symlink(target: string, path: string): Promise<void>;
  /** Runs another command in a sandbox of its own, and gives its exit code. @throws {HotbootError} if it cannot begin. */
  ask(asked: Asked): Promise<number>;
  /** Prints for the command that has asked for this one. */
  output(to: "stdout" | "stderr", bytes: Uint8Array): Promise<void>;
}

interface Scope {
  name?: string;
  postMessage(message: FromSandbox, transfer?: Transferable[]): void;
  onmessage: (event: MessageEvent<ToSandbox>) => void;
}

/** In the Worker: does the work that comes. `run` returns the exit code. */
export function serveSandbox(run: (work: Work, services: SandboxServices) => Promise<number>): void {
  const scope = globalThis as unknown as Scope;
  const interrupts = new Interrupts();
  const links: PromiseWithResolvers<void>[] = [];
  const symlink = (target: string, path: string) => {
    const answer = Promise.withResolvers<void>();
    links.push(answer);
    scope.postMessage({ kind: "link", target, path });
    return answer.promise;
  };
  const taken: (() => void)[] = [];
  const output = (to: "stdout" | "stderr", bytes: Uint8Array) => {
    scope.postMessage({ kind: "output", to, bytes: bytes.slice() });
    return new Promise<void>((resolve) => taken.push(resolve));
  };
  const ask = async (asked: Asked) =>
    (await import("./asking.ts")).ask(asked, (message, port) => scope.postMessage(message, [port]));
  scope.onmessage = async ({ data }) => {
    if (data.kind === "interrupt") return interrupts.raise(data.name);
    if (data.kind === "taken") return taken.shift()?.();
    if (data.kind === "linked") {
      const answer = links.shift()!;
      return data.error === undefined ? answer.resolve() : answer.reject(new HotbootError(data.error));
    }
    scope.postMessage({ kind: "exit", code: await run(data.work, { interrupts, symlink, ask, output }) });
  };
  scope.postMessage({ kind: "ready" });
}

/** Which thread this is: a Worker's name, or `undefined` for the main thread. */
export function threadName(): string | undefined {
  return "WorkerGlobalScope" in globalThis ? (globalThis as unknown as Scope).name ?? "" : undefined;
}
