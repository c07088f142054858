/** From inside each command's sandbox: what no command may do. */

import { assert, assertEquals } from "@std/assert";
import { toText } from "@std/streams/to-text";
import { importArguments } from "../../dev/deno.ts";
import { allCommands } from "../../lib/cli/commands/verbs.ts";
import { readArguments } from "../../lib/cli/commands/command.ts";
import { grantsOf } from "../../lib/cli/permissions/grants.ts";
import { situationOf } from "../../lib/cli/permissions/launcher.ts";
import { workerPermissions } from "../../lib/cli/permissions/sandbox.ts";
import { TABLE } from "../../lib/cli/permissions/table.ts";
import type { GuestHome } from "../e2e/guest_home.ts";
import { HOTBOOT } from "../e2e/program.ts";
import type { Attempt, Outcome, Trial } from "./sandbox_worker.ts";

/** How many attempts of each kind one run makes. */
const EACH = 40;
const SECRET = "HOTBOOT_CHAOS_SECRET";
const WORKER = new URL("./sandbox_worker.ts", import.meta.url);

/** Command lines, where more than the home and the profile is needed. */
const LINES: Record<string, (outside: string) => string[]> = {
  "run": () => ["--", "true"],
  "exec": () => ["--", "true"],
  "fork": () => ["micro", "other"],
  "doctor": () => ["--fix", "--online"],
  "list": () => ["--details"],
  "ui": () => ["--open"],
  "completions list": () => ["instances"],
  "timeline": (outside) => ["--html", `${outside}/named/file`],
  "push": (outside) => ["--assets", `${outside}/named/directory`],
  "snapshot export": (outside) => [`${outside}/named/file`],
  "snapshot import": (outside) => [`${outside}/named/file`],
  "iso create": (outside) => ["-o", `${outside}/named/file`, `${outside}/named/directory`],
  "iso ls": (outside) => [`${outside}/named/file`],
  "iso extract": (outside) => [`${outside}/named/file`, `${outside}/named/directory`],
};

/** Those that change nothing in the home but the instance's console and the cache. */
const LOOKING = ["wait", "list", "status", "timeline", "logs", "exec", "shell", "credentials", "completions list"];

const READING = ["read a file", "open a file", "look at a file", "look at a link", "follow a path", "watch it"]
  .concat("read, as Node does", "read, as streams do", "read by a URL", "import it", "import it as JSON");
const BRINGING = ["copy it into the home", "link it into the home", "give it a second name in the home"]
  .flatMap((way) => [way, `${way}, as Node does`]).concat("move it into the home");
const WRITING = ["write a file", "write, as Node does", "shorten a file", "change a mode", "change an owner"]
  .concat("change a time", "remove it", "remove all");
const CONNECTING = ["connect", "connect, as Node does", "connect by TLS", "fetch", "open a web socket"]
  .concat("send a datagram", "import from the network");

/** Something to try, and whether it would work without the sandbox: then it is tried so, too, once before. */
interface Try extends Attempt {
  isReal: boolean;
}

type Pick = <T>(list: T[]) => T;

/** What is around the home: a user's files, another home, programs and servers. It is made anew for each use. */
export class Outside implements AsyncDisposable {
  readonly #listeners: Deno.Listener[] = [];
  readonly port: number;
  readonly root: string;
  #clients = 0;

  constructor(readonly guest: GuestHome) {
    this.root = `${guest.directory}/outside`;
    const tcp = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    this.port = tcp.addr.port;
    this.#listeners.push(tcp);
    void this.#serve(tcp);
    this.make();
    const unix = Deno.listen({ transport: "unix", path: `${guest.directory}/other.sock` });
    this.#listeners.push(unix);
    void this.#serve(unix);
  }

  /** Makes all files as they should be. */
  make(): void {
    try {
      Deno.removeSync(this.root, { recursive: true });
    } catch {
      // the first time
    }
    const files = ["user/.bashrc", "user/.ssh/id_ed25519", "user/.docker/config.json", "bin/program"]
      .concat("home/instances/micro/credentials.json", "home/images/micro.qcow2", "named/file", "named/directory/file");
    for (const name of files) {
      Deno.mkdirSync(`${this.root}/${name}`.replace(/[^/]*$/, ""), { recursive: true });
      Deno.writeTextFileSync(`${this.root}/${name}`, "precious\n", { mode: 0o755 });
    }
    for (const name of ["qemu-system-x86_64", "qemu-system-aarch64", "bash"]) {
      Deno.writeTextFileSync(`${this.root}/bin/${name}`, `#!/bin/sh\n: >"${this.root}/bin/ran"\n`, { mode: 0o755 });
    }
  }

  /** What is there, and how often somebody has connected. */
  state(): string {
    const seen: string[] = [];
    const look = (directory: string) => {
      for (const { name, isDirectory } of Deno.readDirSync(directory)) {
        const path = `${directory}/${name}`;
        const { mode, mtime } = Deno.lstatSync(path);
        seen.push(`${path} ${mode} ${isDirectory ? "" : `${mtime?.getTime()} ${Deno.readTextFileSync(path)}`}`);
        if (isDirectory) look(path);
      }
    };
    look(this.root);
    return [`${this.#clients} connections`, ...seen.sort()].join("\n");
  }

  async #serve(listener: Deno.Listener): Promise<void> {
    for await (const connection of listener) {
      this.#clients++;
      connection.close();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    for (const listener of this.#listeners) listener.close();
    return Promise.resolve();
  }
}

/** A path in other words. */
function disguised(path: string, home: string, pick: Pick): string {
  return pick([
    path,
    path,
    `/proc/self/root${path}`,
    `/${path}`,
    `${home}/instances/../..${path.slice(home.replace(/\/[^/]*$/, "").length)}`,
    path.replace(/\/([^/]*)$/, "/./$1"),
  ]);
}

/** Attempts by kind. Each gives one of its kind. */
function kindsOf({ root, port, guest }: Outside, command: string, program: string, pid: number, pick: Pick) {
  const { home } = guest;
  const user = Deno.env.get("HOME")!;
  const own = ["user/.bashrc", "user/.ssh/id_ed25519", "user/.docker/config.json", "bin/program"]
    .concat("home/instances/micro/credentials.json", "home/images/micro.qcow2");
  const file = () => disguised(`${root}/${pick(own)}`, home, pick);
  const systems = ["/etc/shadow", "/etc/passwd", `${user}/.ssh`, "/proc/self/environ", "/proc/self/mem", "/dev/tty"]
    .concat(`/proc/${pid}/environ`, `/proc/${pid}/mem`, "/proc/1/root/etc/passwd", "/root", "/", guest.directory)
    .concat(`${home}x`, `${user}/.config/hotboot/trusted`, "/proc/self/fd/0", "/dev/fd/1");
  const news = ["/etc", "/usr/bin", "/usr/local/bin", "/tmp", "/var/tmp", "/dev/shm", user, guest.directory, "/run"];
  const name = `hotboot-chaos-${Deno.pid}`;
  const elsewhere = [
    "169.254.169.254:80",
    "10.0.2.2:80",
    "192.168.0.1:443",
    "192.0.2.1:443",
    "0.0.0.0:8022",
    "[::1]:81",
  ];
  const real = (attempt: Attempt): Try => ({ ...attempt, isReal: true });
  const unreal = (attempt: Attempt): Try => ({ ...attempt, isReal: false });
  const kinds: Record<string, () => Try> = {
    "others' files, read": () =>
      pick([
        () => real({ way: pick(READING), what: file() }),
        () =>
          real({
            way: "read a directory",
            what: pick([`${root}/user`, `${home}/..`, `${root}/home`, guest.directory]),
          }),
        () => unreal({ way: pick(READING), what: pick(systems) }),
      ])(),
    "others' files, brought into the home": () =>
      real({ way: pick(BRINGING), what: file(), also: `${home}/brought-${Math.floor(Math.random() * 2 ** 32)}` }),
    "others' files, written": () =>
      pick([
        () => real({ way: pick(WRITING), what: file() }),
        () => real({ way: pick(["write a file", "make a directory"]), what: `${root}/${pick(["user", "bin"])}/new` }),
        () => unreal({ way: "make a temporary file", what: pick(news) }),
        () => unreal({ way: pick(["write a file", "make a directory"]), what: `${pick(news)}/${name}` }),
        () => unreal({ way: pick(["write, as Node does", "change a mode"]), what: HOTBOOT.at(-1)! }),
      ])(),
    "other servers and sockets": () =>
      pick([
        () => real({ way: pick(CONNECTING), what: `127.0.0.1:${port}` }),
        () => unreal({ way: pick(CONNECTING), what: pick(elsewhere) }),
        () =>
          real({
            way: pick(["connect to a socket", "connect to a socket, as Node does"]),
            what: `${guest.directory}/other.sock`,
          }),
        () => unreal({ way: "connect to a socket", what: pick(["/run/docker.sock", "/run/dbus/system_bus_socket"]) }),
        () =>
          unreal({
            way: pick(["ask for a name's address", "ask for a name's address, as Node does"]),
            what: "localhost",
          }),
      ])(),
    "other places to listen": () =>
      pick([
        () => real({ way: pick(["listen", "listen, as Node does"]), what: pick(["0.0.0.0:0", "127.0.0.2:0"]) }),
        () => real({ way: "listen on a socket", what: `${root}/new.sock` }),
      ])(),
    "other programs and processes": () =>
      pick([
        () =>
          real({
            way: pick(["run a program", "run a program, as Node does", "run a shell, as Node does"]),
            what: pick(["/bin/sh", "sh", "/usr/bin/env", "curl", `${root}/bin/qemu-system-x86_64`, `${root}/bin/bash`]),
          }),
        () =>
          real({
            way: "run a program from another PATH",
            what: pick(["qemu-system-x86_64", "bash"]),
            also: `${root}/bin`,
          }),
        () => real({ way: "run a program from another directory", what: "bash", also: `${root}/bin` }),
        () => real({ way: "run a program with another library", what: program, also: `${root}/bin/program` }),
        () => real({ way: pick(["signal a process", "signal a process, as Node does"]), what: String(pid) }),
      ])(),
    "libraries, variables, the system and more rights": () =>
      pick([
        () =>
          unreal({
            way: pick(["load a library", "load a module of Node's"]),
            what: pick(["libc.so.6", `${root}/bin/program`]),
          }),
        () => real({ way: pick(["read a variable", "read a variable, as Node does"]), what: SECRET }),
        () => unreal({ way: "read a variable", what: pick(["HOME", "SSH_AUTH_SOCK", "GITHUB_TOKEN", "LD_PRELOAD"]) }),
        () => real({ way: "read all variables", what: "" }),
        () => real({ way: "set a variable", what: pick(["LD_PRELOAD", "HOTBOOT_CHAOS_NEW"]) }),
        () =>
          real({
            way: "ask the system",
            what: pick(["hostname", "networkInterfaces", "uid", "gid", "osRelease", "loadavg"]),
          }),
        () => real({ way: "ask the system, as Node does", what: pick(["hostname", "userInfo", "networkInterfaces"]) }),
        () =>
          real({
            way: pick(["a Worker with all permissions", "a Worker that may read and run"]),
            what: "postMessage(0)",
          }),
      ])(),
  };
  if (!LOOKING.includes(command)) return kinds;
  const closed = ["instances/micro/instance.json", "instances/micro/credentials.json", "instances/busy/serial.log"]
    .concat(`images/micro-${guest.arch}.json`, "snapshots/new", "instances/new", "locks/new");
  const change = ["write a file", "write, as Node does", "change a mode", "remove it", "shorten a file"];
  return {
    ...kinds,
    "the home, of a command that looks": () => unreal({ way: pick(change), what: `${home}/${pick(closed)}` }),
  };
}

/** Tries all of it, in another process. */
async function tried(trial: Trial): Promise<Outcome[]> {
  const flags = ["-A", "-q", "--no-prompt", "--no-check", "--unstable-worker-options", ...await importArguments()];
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", ...flags, WORKER.pathname],
    env: { [SECRET]: "x" },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const fed = new Response(JSON.stringify(trial)).body!.pipeTo(child.stdin);
  const [{ code }, stdout, stderr] = await Promise.all([child.status, toText(child.stdout), toText(child.stderr), fed]);
  assertEquals(code, 0, stderr);
  return JSON.parse(stdout);
}

/** One command, as it is run now, with attempts of each kind. Gives what was let through, by kind. */
export async function tryRow(
  outside: Outside,
  next: () => number,
): Promise<{ name: string; through: Map<string, string[]> }> {
  const pick: Pick = (list) => list[Math.floor(next() * list.length)];
  const { guest, root } = outside;
  const name = pick(Object.keys(TABLE));
  const { command } = (await allCommands()).find((each) => each.name === name)!;
  const line = [
    ...command.standalone ? [] : ["--home", guest.home, "--profile", guest.profile],
    ...LINES[name]?.(root) ?? [],
  ];
  const grants = await grantsOf(name, await situationOf(command, readArguments(name, command, line)));
  const [pid] = await guest.qemuProcesses();
  const kinds = kindsOf(outside, name, grants.run[0] ?? "/usr/bin/env", pid ?? Deno.pid, pick);
  const all = Object.entries(kinds).flatMap(([kind, make]) =>
    Array.from({ length: EACH }, () => ({ kind, attempt: make() }))
  );
  const real = all.filter(({ attempt }) => attempt.isReal);
  outside.make();
  const free = await tried({ permissions: "inherit", attempts: real.map(({ attempt }) => attempt) });
  const unreal = real.filter((_, at) => free[at] === "refused").map(({ attempt }) => JSON.stringify(attempt));
  assertEquals(unreal, [], "attempts that fail without a sandbox, too");
  for await (const { name } of Deno.readDir(guest.home)) {
    if (name.startsWith("brought-")) await Deno.remove(`${guest.home}/${name}`);
  }
  outside.make();
  const before = outside.state();
  const outcomes = await tried({
    permissions: workerPermissions(grants, WORKER),
    attempts: all.map(({ attempt }) => attempt),
  });
  const through = new Map(Object.keys(kinds).map((kind) => [kind, [] as string[]]));
  for (const [at, { kind, attempt: { way, what, also } }] of all.entries()) {
    if (outcomes[at] !== "refused") through.get(kind)!.push(`${name}: ${way}: ${what} ${also ?? ""}: ${outcomes[at]}`);
  }
  assert(outside.state() === before || [...through.values()].some((list) => list.length > 0), "something was changed");
  return { name, through };
}
