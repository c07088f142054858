/**
 * A program that starts Workers in a command's place: they try things, and tell which were refused. For `sandbox_rows.ts`.
 * A process of its own, so that no attempt reaches the runner, and nothing asks at its terminal.
 */

import * as childProcess from "node:child_process";
import * as dgram from "node:dgram";
import * as dns from "node:dns/promises";
import * as fs from "node:fs";
import * as net from "node:net";
import * as os from "node:os";
import process from "node:process";
import { answerOf } from "../e2e/worker.ts";

/** How to try something, and with what. */
export interface Attempt {
  way: string;
  /** A path, address, program or variable. */
  what: string;
  /** A second one: where to, or another program's environment. */
  also?: string;
}

/** `refused`: by the sandbox. `done`, or another error's text: it let that through. */
export type Outcome = "refused" | "done" | string;

/** Longer than any refusal takes. */
const LONGEST_MS = 3000;
const NOTHING: Deno.CommandOptions = { args: ["--version"], stdin: "null", stdout: "null", stderr: "null" };
const ALL = { read: true, write: true, net: true, run: true, env: true, sys: true, ffi: true, import: true };
const NEW = { read: true, write: true, create: true } as const;

/** Fails as the sandbox does: some of Node's functions hide what they may not tell. */
function refuse(): never {
  throw new Deno.errors.NotCapable("hidden");
}

/** Connects, until the connection stands or fails. */
function connected(socket: net.Socket): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  }).finally(() => socket.destroy());
}

function endpoint(what: string): { hostname: string; port: number } {
  const at = what.lastIndexOf(":");
  return { hostname: what.slice(0, at), port: Number(what.slice(at + 1)) };
}

/** All ways, by their names. */
export const WAYS: Record<string, (what: string, also?: string) => unknown> = {
  "read a file": (path) => Deno.readFile(path),
  "open a file": (path) => Deno.open(path).then((file) => file.close()),
  "look at a file": (path) => Deno.stat(path),
  "look at a link": (path) => Deno.lstat(path),
  "follow a path": (path) => Deno.realPath(path),
  "read a directory": (path) => Array.fromAsync(Deno.readDir(path)),
  "read, as Node does": (path) => fs.readFileSync(path),
  "read, as streams do": (path) => Array.fromAsync(fs.createReadStream(path)),
  "read by a URL": (path) => fetch(`file://${path}`).then((response) => response.arrayBuffer()),
  "import it": (path) => import(`file://${path}`),
  "import it as JSON": (path) => import(`file://${path}`, { with: { type: "json" } }),
  "import from the network": (address) => import(`http://${address}/module.js`),
  "copy it into the home": (from, to) => Deno.copyFile(from, to!),
  "copy it into the home, as Node does": (from, to) => fs.copyFileSync(from, to!),
  "link it into the home": (from, to) => Deno.symlink(from, to!),
  "link it into the home, as Node does": (from, to) => fs.symlinkSync(from, to!),
  "give it a second name in the home": (from, to) => Deno.link(from, to!),
  "give it a second name in the home, as Node does": (from, to) => fs.linkSync(from, to!),
  "move it into the home": (from, to) => Deno.rename(from, to!),
  "write a file": (path) => Deno.open(path, NEW).then((file) => file.close()),
  "write, as Node does": (path) => fs.closeSync(fs.openSync(path, "a")),
  "shorten a file": (path) => Deno.truncate(path, 1),
  "change a mode": (path) => Deno.chmod(path, 0o777),
  "change an owner": (path) => Deno.chown(path, null, null),
  "change a time": (path) => Deno.utime(path, 0, 0),
  "make a directory": (path) => Deno.mkdir(path),
  "remove it": (path) => Deno.remove(path),
  "remove all": (path) => Deno.remove(path, { recursive: true }),
  "make a temporary file": (path) => Deno.makeTempFile({ dir: path }).then((made) => Deno.remove(made)),
  "watch it": (path) => Deno.watchFs(path).close(),
  "connect": (what) => Deno.connect(endpoint(what)).then((connection) => connection.close()),
  "connect, as Node does": (what) => {
    const { hostname, port } = endpoint(what);
    return connected(net.connect(port, hostname));
  },
  "connect by TLS": (what) => Deno.connectTls(endpoint(what)).then((connection) => connection.close()),
  "fetch": (what) => fetch(`http://${what}/`).then((response) => response.body?.cancel()),
  "open a web socket": (what) =>
    new Promise<void>((resolve, reject) => {
      const socket = new WebSocket(`ws://${what}/`);
      socket.onopen = () => resolve(socket.close());
      socket.onerror = (event) => reject(new Error((event as ErrorEvent).message));
    }),
  "connect to a socket": (path) => Deno.connect({ transport: "unix", path }).then((connection) => connection.close()),
  "connect to a socket, as Node does": (path) => connected(net.connect(path)),
  "listen on a socket": (path) => {
    Deno.listen({ transport: "unix", path }).close();
    Deno.removeSync(path);
  },
  "send a datagram": (what) =>
    new Promise<void>((resolve, reject) => {
      const { hostname, port } = endpoint(what);
      const socket = dgram.createSocket("udp4");
      socket.once("error", reject);
      socket.send("x", port, hostname, (error) => error ? reject(error) : resolve(socket.close() as unknown as void));
    }),
  "listen": (what) => Deno.listen(endpoint(what)).close(),
  "listen, as Node does": (what) =>
    new Promise<void>((resolve, reject) => {
      const { hostname, port } = endpoint(what);
      const server = net.createServer();
      server.once("error", reject);
      server.listen(port, hostname, () => server.close(() => resolve()));
    }),
  "ask for a name's address": (name) => Deno.resolveDns(name, "A"),
  "ask for a name's address, as Node does": (name) => dns.lookup(name),
  "run a program": (program) => new Deno.Command(program, NOTHING).output(),
  "run a program, as Node does": (program) => {
    const { error } = childProcess.spawnSync(program, ["--version"]);
    if (error) throw error;
  },
  "run a shell, as Node does": (program) => childProcess.execSync(`${program} --version`, { stdio: "ignore" }),
  "run a program from another PATH": (program, path) =>
    new Deno.Command(program, { ...NOTHING, env: { PATH: path! } }).output(),
  "run a program with another library": (program, library) =>
    new Deno.Command(program, { ...NOTHING, env: { LD_PRELOAD: library! } }).output(),
  "run a program from another directory": (program, cwd) =>
    new Deno.Command(`./${program}`, { ...NOTHING, cwd }).output(),
  "signal a process": (pid) => Deno.kill(Number(pid), "SIGCONT"),
  "signal a process, as Node does": (pid) => process.kill(Number(pid), "SIGCONT"),
  "load a library": (path) => Deno.dlopen(path, {}).close(),
  "load a module of Node's": (path) => process.dlopen({ exports: {} }, path),
  "read a variable": (name) => Deno.env.get(name),
  "read a variable, as Node does": (name) => process.env[name] ?? refuse(),
  "read all variables": () => Deno.env.toObject(),
  "set a variable": (name) => {
    Deno.env.set(name, "x");
    Deno.env.delete(name);
  },
  "ask the system": (name) => (Deno as unknown as Record<string, () => unknown>)[name](),
  "ask the system, as Node does": (name) => (os as unknown as Record<string, () => unknown>)[name](),
  "a Worker with all permissions": (code) => startWorker(code, ALL),
  "a Worker that may read and run": (code) => startWorker(code, { read: true, run: true }),
};

/** Starts one with more permissions. */
function startWorker(code: string, permissions: Deno.PermissionOptionsObject): void {
  const options = { type: "module", deno: { permissions } } as WorkerOptions;
  new Worker(`data:text/javascript,${code}`, options).terminate();
}

/** Gets what a function of Node's throws later, by itself. */
let uncaught: (error: unknown) => void = () => {};

async function outcome({ way, what, also }: Attempt): Promise<Outcome> {
  const thrown = Promise.withResolvers<never>();
  uncaught = thrown.reject;
  const late = setTimeout(() => thrown.reject(new Error(`nothing after ${LONGEST_MS / 1000} s`)), LONGEST_MS);
  try {
    await Promise.race([thrown.promise, (async () => await WAYS[way](what, also))()]);
    return "done";
  } catch (error) {
    const { name, message, code } = error as Error & { code?: string };
    const isRefused = error instanceof Deno.errors.NotCapable || name === "NotCapable" ||
      code === "ERR_ACCESS_DENIED" ||
      /Requires [\w-]+ access|scoped grant|Can't escalate|getaddrinfo EPERM/.test(message);
    return isRefused ? "refused" : String(error);
  } finally {
    clearTimeout(late);
  }
}

/** What to try with which permissions. */
export interface Trial {
  permissions: Deno.PermissionOptions;
  attempts: Attempt[];
}

/** Tries all of it in a Worker. */
async function tried({ permissions, attempts }: Trial): Promise<Outcome[]> {
  const options = { type: "module", deno: { permissions } } as WorkerOptions;
  return await answerOf(new Worker(import.meta.url, options), attempts);
}

if ("WorkerGlobalScope" in globalThis) {
  const scope = globalThis as unknown as Worker;
  for (const kind of ["error", "unhandledrejection"]) {
    scope.addEventListener(kind, (event) => {
      event.preventDefault();
      uncaught((event as ErrorEvent).error ?? (event as unknown as PromiseRejectionEvent).reason);
    });
  }
  scope.onmessage = async ({ data }: MessageEvent<Attempt[]>) => {
    const outcomes: Outcome[] = [];
    for (const attempt of data) outcomes.push(await outcome(attempt)); // in turn: some change what others try
    scope.postMessage(outcomes);
  };
} else if (import.meta.main) {
  const trial: Trial = await new Response(Deno.stdin.readable).json();
  console.log(JSON.stringify(await tried(trial)));
}
