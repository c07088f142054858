/**
 * Each command can do in its sandbox exactly what it may. A probe replaces the command: `sandbox_probe.ts`,
 * in a Worker with the permissions that the launcher gives to the command.
 */

import { assert, assertEquals } from "@std/assert";
import { allCommands } from "../../lib/cli/commands/verbs.ts";
import { readArguments } from "../../lib/cli/commands/command.ts";
import { type Grants, grantsOf, type Situation } from "../../lib/cli/permissions/grants.ts";
import { situationOf } from "../../lib/cli/permissions/launcher.ts";
import { isAtLeast } from "../../lib/cli/permissions/program.ts";
import { workerPermissions } from "../../lib/cli/permissions/sandbox.ts";
import { type Row, TABLE } from "../../lib/cli/permissions/table.ts";
import { HOST_ARCH } from "../../lib/vm/arch.ts";
import { freePort } from "./shared.ts";
import type { Attempt, Outcome } from "./sandbox_probe.ts";
import { answerOf } from "./worker.ts";

const BOOT = [
  "write home",
  "connect services",
  "connect sockets",
  "run qemu",
  "read PATH",
  "read HOTBOOT_ACCEL",
  "ask osUptime",
  "ask statfs",
];
const JUDGE = ["run qemu", "read PATH", "read HOTBOOT_ACCEL", "ask osUptime"];
const LOOK = ["read home", "write console", "ask statfs"];
const PULL_ANY = ["write home", "connect sockets", "read HOTBOOT_GITHUB_API", "ask statfs"];
const PULL = [...PULL_ANY, "connect github"];
const BUILD = ["read recipe", "write home", "connect sockets", "run bash", "read PATH"];
const DOCTOR = [
  ...["read home", "write cache", "connect services", "connect sockets", ...JUDGE, "run bash"],
  ...["read HOTBOOT_GITHUB_API", "ask statfs", "ask systemMemoryInfo"],
];

/** What each command may do, stated again and independently of the table. A condition follows the name. */
const MAY: Record<string, string[]> = {
  "init": ["read compose", "write project"],
  "profile show": [],
  "profile validate": [],
  "build": BUILD,
  "build, by cloud-init": [
    ...["read recipe", "write home", "connect sockets", "connect base image", "ask statfs"],
    ...["run qemu", "read PATH", "read HOTBOOT_ACCEL", "ask osUptime"],
  ],
  "pull": [...PULL, ...BOOT],
  "pull --skip-snapshot": PULL,
  "pull --skip-snapshot, image, in a registry": [...PULL_ANY, "connect registry"],
  "start, no image, in a registry": [...BOOT, ...PULL_ANY, "connect registry"],
  "push, image, in a registry": ["write home", "connect registry", "ask statfs"],
  "push --assets": ["write home", "write DIR", "ask statfs"],
  "export kubevirt, image, in a registry": ["read home"],
  "list-releases": ["connect github", "read HOTBOOT_GITHUB_API"],
  "capture": [...BOOT, "connect spares"],
  "capture, no image": [...BOOT, ...BUILD, "connect spares"],
  "capture, no image, published": [...BOOT, ...PULL, "connect spares"],
  "start": BOOT,
  "start, no image": [...BOOT, ...BUILD],
  "start, no image, published": [...BOOT, ...PULL],
  "start --config-file": [...BOOT, "read FILE"],
  "fork": BOOT,
  "fork, no image": [...BOOT, ...BUILD],
  "fork, no image, published": [...BOOT, ...PULL],
  "run": [...BOOT, "run bash", "connect spares"],
  "run, no image": [...BOOT, ...BUILD, "connect spares"],
  "run, no image, published": [...BOOT, ...PULL, "run bash", "connect spares"],
  "run --config-file": [...BOOT, "run bash", "read FILE", "connect spares"],
  "spare": [...BOOT, "run bash", "connect spares"],
  "spare, no image": [...BOOT, ...BUILD, "connect spares"],
  "spare, no image, published": [...BOOT, ...PULL, "run bash", "connect spares"],
  "stop": ["write home", "connect sockets"],
  "restart": BOOT,
  "restart, no image": [...BOOT, ...BUILD],
  "restart, no image, published": [...BOOT, ...PULL],
  "doctor": DOCTOR,
  "doctor --fix": [...DOCTOR, "write home"],
  "doctor --online": [...DOCTOR, "connect github"],
  "wait": [...LOOK, "connect services", "connect sockets"],
  "list": ["read home", "connect sockets"],
  "list --details": ["read home", "connect sockets", "connect services", "run bash", "read PATH"],
  "ui": ["listen page"],
  "ui --open": ["listen page", "run bash", "read PATH"],
  "reset": ["write home", "connect sockets", "run bash", "read PATH"],
  "status": [...LOOK, "connect services", "connect sockets", "read HOTBOOT_ACCEL"],
  "timeline": ["read home"],
  "timeline --html": ["read home", "replace FILE"],
  "logs": ["read home", "write console"],
  "exec": [...LOOK, "connect sockets", "connect streams", "read TERM"],
  "shell": [...LOOK, "connect sockets", "connect streams", "read TERM"],
  "credentials": ["read home", "connect sockets"],
  "snapshot ls": ["read home", "write cache", "connect sockets", ...JUDGE],
  "snapshot save": ["write home", "connect sockets", "ask osUptime"],
  "snapshot rename": ["write home"],
  "snapshot rm": ["write home", "connect sockets"],
  "snapshot prune": ["write home", "connect sockets", "run bash", ...JUDGE],
  "snapshot verify": ["write home", "ask osUptime"],
  "snapshot export": ["write home", "replace FILE", "ask osUptime"],
  "snapshot import": ["write home", "read FILE", ...JUDGE, "ask statfs"],
  "iso create": ["read PATH…", "replace IMAGE", "read SOURCE_DATE_EPOCH"],
  "iso ls": ["read IMAGE"],
  "iso extract": ["read IMAGE", "write DIR"],
  "completions bash": [],
  "completions zsh": [],
  "completions fish": [],
  "completions list": ["read home"],
  "trust": [],
  "permissions": [
    "read home",
    "read qemu",
    "read bash",
    "read PATH",
    "read HOTBOOT_GITHUB_API",
    "read HOTBOOT_DOWNLOAD_HOSTS",
  ],
};

/** The capabilities that one permission implies. */
function implied(capability: string): string[] {
  const [verb, what] = capability.split(" ");
  const own = [capability];
  if (verb === "replace") own.push(`read ${what}`, `write ${what}`);
  if (verb === "write") own.push(`read ${what}`);
  // Before Deno 2.9, a socket is a file like any other.
  if (capability === "write home" && !isAtLeast(Deno.version.deno, 2, 9)) {
    own.push("connect sockets", "connect streams");
  }
  if (verb === "run") own.push(`read ${what}`);
  const inHome = (each: string) => ["home", "cache", "console"].map((what) => each.replace("home", what));
  return own.flatMap((each) => each.endsWith(" home") ? inHome(each) : [each]);
}

const VARIABLES = [
  "PATH",
  "TERM",
  "SOURCE_DATE_EPOCH",
  "HOTBOOT_ACCEL",
  "EMULATOR_NO_ROTATION",
  "HOTBOOT_GITHUB_API",
  "HOTBOOT_DOWNLOAD_HOSTS",
];

/** A home with files and a socket, servers that may and may not be reached, and files for command lines. */
class World implements Disposable {
  readonly #cwd = Deno.cwd();
  readonly directory = Deno.makeTempDirSync({ prefix: "hotboot-sandbox-" });
  readonly home = `${this.directory}/home`;
  readonly bash = which("bash");
  readonly qemu = which("qemu-system-x86_64");
  readonly port = freePort();
  /** With which spares are made. */
  readonly sparePort = freePort();
  #listeners: Deno.Listener[];
  readonly unlisted: number;

  constructor() {
    const { directory, home } = this;
    for (
      const made of [
        `${home}/cache`,
        `${home}/instances/sandboxed`,
        `${home}/instances/.spare-sandboxed-${HOST_ARCH}`,
        `${home}/images`,
        "recipe",
        "in",
        "out",
        "tree",
        "project/hotboot",
        ".ssh",
      ]
    ) {
      Deno.mkdirSync(made.startsWith("/") ? made : `${directory}/${made}`, { recursive: true });
    }
    const files = [
      "home/file",
      "home/cache/file",
      "home/instances/sandboxed/serial.log",
      "recipe/build.sh",
      "in/image",
      "in/file",
      "out/file",
      "tree/file",
      "project/docker-compose.yml",
      "project/hotboot/file",
    ];
    for (const name of [...files, "outside", "homely", ".ssh/id_ed25519", "project/other"]) {
      Deno.writeTextFileSync(`${directory}/${name}`, "x");
    }
    Deno.writeTextFileSync(
      `${home}/instances/.spare-sandboxed-${HOST_ARCH}/ports.json`,
      JSON.stringify({ web: { port: this.sparePort } }),
    );
    const other = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    this.unlisted = other.addr.port;
    this.#listeners = [
      other,
      Deno.listen({ hostname: "127.0.0.1", port: this.port }),
      Deno.listen({ hostname: "127.0.0.1", port: this.sparePort }),
      Deno.listen({ hostname: "127.0.0.2", port: this.port }),
      Deno.listen({ transport: "unix", path: `${home}/instances/sandboxed/monitor.sock` }),
      Deno.listen({ transport: "unix", path: `${home}/instances/sandboxed/exec9.err` }),
      Deno.listen({ transport: "unix", path: `${directory}/other.sock` }),
    ];
    for (const listener of this.#listeners) void serve(listener);
    Deno.chdir(`${directory}/project`);
  }

  /** The profile for the commands, with a release or a recipe. */
  profile(kind: "script" | "cloud-init" | "release" | "oci"): string {
    const path = `${this.directory}/recipe/${kind}.json`;
    const base = { url: "https://base.example.com/{arch}.qcow2", sha256: { amd64: "0".repeat(64) } };
    const build = kind === "script"
      ? { script: "build.sh", inputs: ["build.sh"] }
      : { cloudInit: { base, disk: 1024, userData: "build.sh" } };
    const oci = "oci://registry.example.com:5000/acme/shop:v1";
    const release = { repository: "acme/shop", tag: "v1", assets: { disk: "shop.qcow2" } };
    Deno.writeTextFileSync(
      path,
      JSON.stringify({
        name: "sandboxed",
        image: kind === "oci" ? { oci } : kind === "release" ? { release } : { build },
        machine: { memory: 256, cpus: 1 },
        ports: { web: { guest: 80, host: this.port } },
        health: [{ name: "web", port: "web", path: "/" }],
        timeouts: { boot: 1, resume: 1 },
      }),
    );
    return path;
  }

  /** The attempts that show each capability. */
  capabilities(): Record<string, Attempt[]> {
    const { directory, home } = this;
    const places: Record<string, string> = {
      home: `${home}/file`,
      cache: `${home}/cache/file`,
      console: `${home}/instances/sandboxed/serial.log`,
      recipe: `${directory}/recipe/build.sh`,
      IMAGE: `${directory}/in/image`,
      FILE: `${directory}/in/file`,
      DIR: `${directory}/out/file`,
      "PATH…": `${directory}/tree/file`,
      compose: `${directory}/project/docker-compose.yml`,
      project: `${directory}/project/hotboot/file`,
    };
    const all: Record<string, Attempt[]> = {
      "connect services": [{ kind: "connect", hostname: "127.0.0.1", port: this.port }],
      "connect spares": [{ kind: "connect", hostname: "127.0.0.1", port: this.sparePort }],
      "listen page": [{ kind: "listen", hostname: "127.0.0.1", port: 0 }],
      "connect streams": [{ kind: "socket", path: `${home}/instances/sandboxed/exec9.err` }],
      "connect sockets": [{ kind: "socket", path: `${home}/instances/sandboxed/monitor.sock` }],
      "connect github": ["api.github.com:443", "objects.githubusercontent.com:443", "a.blob.core.windows.net:443"]
        .map((host) => ({ kind: "ask", descriptor: { name: "net", host } })),
      "connect registry": [{ kind: "ask", descriptor: { name: "net", host: "registry.example.com:5000" } }],
      "connect base image": [{ kind: "ask", descriptor: { name: "net", host: "base.example.com:443" } }],
      "read qemu": [{ kind: "read", path: this.qemu }],
      "read bash": [{ kind: "read", path: this.bash }],
      "run qemu": [{ kind: "run", program: this.qemu }],
      "run bash": [{ kind: "run", program: this.bash }],
      "ask statfs": [{ kind: "ask", descriptor: { name: "sys", kind: "statfs" } }],
      "ask osUptime": [{ kind: "system", name: "osUptime" }],
      "ask systemMemoryInfo": [{ kind: "ask", descriptor: { name: "sys", kind: "systemMemoryInfo" } }],
    };
    for (const [name, path] of Object.entries(places)) {
      all[`read ${name}`] = [{ kind: "read", path }];
      all[`write ${name}`] = [{ kind: "write", path }];
    }
    for (const file of ["hotboot.json", `hotboot.json.${Deno.pid}.tmp`, "compose.yaml"]) {
      all["write project"].push({ kind: "write", path: `${directory}/project/${file}` });
    }
    for (const name of ["FILE", "IMAGE"]) {
      all[`replace ${name}`] = [{ kind: "write", path: `${places[name]}.${Deno.pid}.tmp` }];
    }
    for (const name of VARIABLES) all[`read ${name}`] = [{ kind: "variable", name }];
    return all;
  }

  /** What no command may do. */
  forbidden(): Attempt[] {
    const { directory, home, port } = this;
    const user = Deno.env.get("HOME")!;
    const asked = ["10.0.0.1:80", "192.168.1.1:443", "169.254.169.254:80", "1.1.1.1:443", "example.com:443"];
    const alike = ["api.github.com.example.com:443", "githubusercontent.com.example.com:443", "api.github.com:80"];
    return [
      ...["/etc/shadow", "/etc/passwd", user, `${user}/.ssh`, "/proc/self/environ", "/", directory],
      ...[`${directory}/project`, `${directory}/project/other`],
      ...[`${directory}/.ssh/id_ed25519`, `${directory}/outside`, `${directory}/homely`, `${home}/../outside`],
    ].map((path): Attempt => ({ kind: "read", path })).concat(
      [
        `${directory}/outside`,
        `${directory}/homely`,
        `${home}/../new`,
        `${directory}/in/new`,
        `${directory}/project/other`,
        `${directory}/project/hotboot.js`,
        "/tmp/hotboot-sandbox-new",
      ]
        .map((path) => ({ kind: "write", path })),
      [
        { kind: "link", path: "/etc/passwd" },
        { kind: "socket", path: `${directory}/other.sock` },
        { kind: "socket", path: "/run/dbus/system_bus_socket" },
        { kind: "connect", hostname: "127.0.0.2", port },
        { kind: "connect", hostname: "127.0.0.1", port: this.unlisted },
        { kind: "listen", hostname: "0.0.0.0", port },
        { kind: "run", program: "/bin/sh" },
        { kind: "run", program: "sh" },
        { kind: "run", program: "/usr/bin/env" },
        { kind: "variable", name: "HOME" },
        { kind: "variable", name: "GITHUB_TOKEN" },
        { kind: "variable", name: "SSH_AUTH_SOCK" },
        { kind: "system", name: "hostname" },
        { kind: "system", name: "uid" },
        { kind: "system", name: "networkInterfaces" },
        { kind: "dlopen", path: "libc.so.6" },
        { kind: "import", path: `http://127.0.0.1:${this.unlisted}/module.js` },
        { kind: "worker" },
      ],
      [...asked, ...alike].map((host) => ({ kind: "ask", descriptor: { name: "net", host } })),
    );
  }

  [Symbol.dispose]() {
    Deno.chdir(this.#cwd);
    for (const listener of this.#listeners) listener.close();
    Deno.removeSync(this.directory, { recursive: true });
  }
}

async function serve(listener: Deno.Listener): Promise<void> {
  for await (const connection of listener) connection.close();
}

function which(program: string): string {
  const paths = Deno.env.get("PATH")!.split(":").map((directory) => `${directory}/${program}`);
  return paths.find((path) => {
    try {
      return Deno.statSync(path).isFile;
    } catch {
      return false;
    }
  })!;
}

/** A scenario's command, with a command line that names the world's files. */
async function prepare(world: World, scenario: string): Promise<{ name: string; situation: Situation }> {
  const [name, ...conditions] = scenario.replace(/ --[a-z-]+/, "").split(", ");
  const { directory, home } = world;
  const record = `${home}/images/sandboxed-${Deno.build.arch === "aarch64" ? "arm64" : "amd64"}.json`;
  const isThere = conditions[0] !== "no image";
  if (isThere) await Deno.writeTextFile(record, JSON.stringify({ files: { disk: { sha256: "x" } } }));
  else await Deno.remove(record).catch(() => {});
  const operands: Record<string, string[]> = {
    "run": ["--", "true"],
    "exec": ["--", "true"],
    "fork": ["other"],
    "completions list": ["instances"],
    "snapshot export": [`${directory}/in/file`],
    "snapshot import": [`${directory}/in/file`],
    "iso create": ["-o", `${directory}/in/image`, `${directory}/tree`],
    "iso ls": [`${directory}/in/image`],
    "iso extract": [`${directory}/in/image`, `${directory}/out`],
  };
  const { command } = (await allCommands()).find((each) => each.name === name)!;
  const isPublished = conditions[1] === "published" || name === "pull";
  const kind = conditions[1] === "in a registry"
    ? "oci"
    : isPublished
    ? "release"
    : conditions[0] === "by cloud-init"
    ? "cloud-init"
    : "script";
  const emulator = ["--home", home, "--profile", world.profile(kind)];
  const line = [
    ...(command.standalone ? [] : emulator),
    ...["--skip-snapshot", "--fix", "--online", "--details", "--open"].filter((option) => scenario.includes(option)),
    ...(scenario.includes("--config-file") ? ["--config-file", `${directory}/in/file`] : []),
    ...(scenario.includes("--assets") ? ["--assets", `${directory}/out`] : []),
    ...(scenario.includes("--html") ? ["--html", `${directory}/in/file`] : []),
    ...operands[name] ?? [],
  ];
  const situation = await situationOf(command, readArguments(name, command, line));
  if (situation.emulator) return { name, situation };
  // Commands that use no emulator are tested for what they could do to one.
  const start = (await allCommands()).find((each) => each.name === "start")!.command;
  const other = await situationOf(start, readArguments("start", start, emulator));
  return { name, situation: { ...situation, emulator: other.emulator } };
}

async function probe(grants: Grants, attempts: Attempt[]): Promise<Outcome[]> {
  const module = new URL("./sandbox_probe.ts", import.meta.url);
  const worker = new Worker(module, { type: "module", deno: { permissions: workerPermissions(grants, module) } });
  return await answerOf(worker, attempts);
}

/** The attempts that were wrongly allowed or refused: none, if the sandbox is right. */
async function faults(world: World, may: string[], grants: Grants, withPrograms = true): Promise<string[]> {
  const allowed = new Set(may.flatMap(implied));
  const attempts = [
    ...Object.entries(world.capabilities()).flatMap(([name, list]) =>
      list.map((attempt) => ({ attempt, title: name, isAllowed: allowed.has(name) }))
    ),
    ...world.forbidden().map((attempt) => ({ attempt, title: JSON.stringify(attempt), isAllowed: false })),
  ].filter(({ attempt }) => withPrograms || attempt.kind !== "run");
  const outcomes = await probe(grants, attempts.map(({ attempt }) => attempt));
  return attempts.flatMap(({ title, isAllowed }, at) => {
    if (isAllowed) return outcomes[at] === "done" ? [] : [`${title}: ${outcomes[at]}`];
    return outcomes[at] === "refused" ? [] : [`${title} is not refused: ${outcomes[at]}`];
  });
}

Deno.test("each command can do in its sandbox exactly what it may", async (t) => {
  using world = new World();
  assertEquals(
    [...new Set(Object.keys(MAY).map((name) => name.replace(/,.*| --.*/, "")))].sort(),
    Object.keys(TABLE).sort(),
  );
  for (const [scenario, may] of Object.entries(MAY)) {
    await t.step(scenario, async () => {
      const { name, situation } = await prepare(world, scenario);
      assertEquals(await faults(world, may, await grantsOf(name, situation)), []);
    });
  }
});

/** The effective permissions in a fixed order. */
function sorted(grants: Grants): string {
  const effective = Object.values(workerPermissions(grants, new URL(import.meta.url)));
  return JSON.stringify(effective.map((list) => Array.isArray(list) ? list.toSorted() : list));
}

Deno.test("any additional word in a row is noticed", async (t) => {
  using world = new World();
  const places = ["home", "cache", "recipe", "IMAGE", "DIR", "FILE", "PATH…"] as const;
  const widenings: Row[] = [
    ...places.flatMap((place) => [{ read: [place] }, { write: [place] }]),
    ...(["FILE", "IMAGE"] as const).map((place) => ({ replace: [place] })),
    ...(["services", "all services", "spares", "page", "qemu", "github", "registry"] as const).map((peer) => ({
      net: [peer],
    })),
    ...(["qemu", "bash"] as const).map((program) => ({ run: [program] })),
    ...[...VARIABLES, "HOME"].map((variable) => ({ env: [variable] })),
    ...(["statfs", "osUptime", "systemMemoryInfo"] as const).map((what) => ({ sys: [what] })),
  ];
  for (const [scenario, may] of Object.entries(MAY)) {
    await t.step(scenario, async () => {
      const { name, situation } = await prepare(world, scenario);
      // If the command line does not name a file, it stands for one that it could name.
      const named = (word: string) => {
        const given = situation.named(word);
        if (given.length > 0 || word === "PORT" || !/^[A-Z]/.test(word)) return given;
        const made: Record<string, string> = { IMAGE: "in/image", FILE: "in/file", DIR: "out", "PATH…": "tree" };
        return [`${world.directory}/${made[word]}`];
      };
      const whole = { ...situation, named };
      const base = sorted(await grantsOf(name, whole));
      const mayRead = TABLE[name].read?.includes("FILE") ? [...may, "read FILE"] : may;
      let noticed = 0;
      for (const more of widenings) {
        const row = { ...TABLE[name] };
        for (const [key, list] of Object.entries(more) as ["read", never[]][]) row[key] = [...row[key] ?? [], ...list];
        const grants = await grantsOf(name, whole, row);
        if (sorted(grants) === base) continue; // it has that already
        const found = await faults(world, mayRead, grants, more.run !== undefined);
        assert(found.length > 0, `${JSON.stringify(more)} is not noticed`);
        noticed++;
      }
      assert(noticed > 5);
    });
  }
});
