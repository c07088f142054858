import { assert, assertEquals, assertFalse, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { ensureDir } from "@std/fs/ensure-dir";
import { readArguments, withVariables } from "../../lib/cli/commands/command.ts";
import { command as start } from "../../lib/cli/commands/start.ts";
import { HotbootError } from "../../lib/base/error.ts";
import { findProfile } from "../../lib/profile/find.ts";
import { parseProfile } from "../../lib/profile/parse.ts";
import { loadProfile } from "../../lib/profile/load.ts";
import type { Profile } from "../../lib/profile/profile.ts";
import { fillVariables } from "../../lib/profile/variables.ts";
import { openEmulator } from "../../lib/instance/emulator.ts";
import micro from "../../qemu/micro/profile.json" with { type: "json" };
import stack from "../../qemu/stack/profile.json" with { type: "json" };
import { withDirectory } from "./temporary.ts";

type Values = Record<string, string>;

/** The text with these variables filled in, and the names that were read. */
function fill(text: string, values: Values = {}, isFilledAgain = false): [filled: string, asked: string[]] {
  const asked: string[] = [];
  const read = (name: string) => {
    asked.push(name);
    return values[name];
  };
  return [fillVariables(text, isFilledAgain, read).filled, asked];
}

Deno.test("variables: a value or its default is filled in", () => {
  assertEquals(fill("a${env.X}b", { X: "1" }), ["a1b", ["X"]]);
  assertEquals(fill("${env.X:-2}", { X: "1" }), ["1", ["X"]]);
  assertEquals(fill("${env.X:-2}${env.X:-}"), ["2", ["X", "X"]]);
  assertEquals(fill("${env.X:-2}", { X: "" }), ["2", ["X"]]);
  const nested = "${env.X:-a${env.Y:-${env.Z:-c}d}e}01";
  assertEquals(fill(nested), ["acde01", ["X", "Y", "Z"]]);
  assertEquals(fill(nested, { Z: "z" }), ["azde01", ["X", "Y", "Z"]]);
  assertEquals(fill(nested, { X: "x", Y: "y" }), ["x01", ["X"]]); // an unused default is not read
});

Deno.test("variables: dollars, braces and other names stay as they are", () => {
  const shell = "kill $$ $x $ ${HOME} $${HOME} {} } ${ports.a.host}";
  assertEquals(fill(shell)[0], shell);
  assertEquals(fill("$${env.X} $$$${env.X:-}")[0], "${env.X} $$${env.X:-}");
  assertEquals(fill("${env.X:-${ports.a.host}$$ $${env.X}}}")[0], "${ports.a.host}$$ ${env.X}}");
  assertEquals(fill("${env.X}", { X: "$$ ${env.Y} ${ports.a}" })[0], "$$ ${env.Y} ${ports.a}");
});

Deno.test("variables: a second fill sees the text's dollars, and none from a value", () => {
  assertEquals(fill("$$ ${secret.A} $${env.X}", {}, true)[0], "$$ ${secret.A} $${env.X}");
  assertEquals(fill("${env.X:-$$}", { X: "$ ${secret.A}" }, true)[0], "$$ $${secret.A}");
  assertEquals(fill("${env.X:-$$}", {}, true)[0], "$$");
});

Deno.test("variables: tokens and proxies are closed to profiles, also with a default, and are not read", () => {
  for (const name of ["GITHUB_TOKEN", "GH_TOKEN", "HOTBOOT_ANY_TOKEN", "HTTPS_PROXY", "all_proxy"]) {
    for (const text of [`\${env.${name}}`, `\${env.${name}:-none}`, `\${env.X:-\${env.${name}:-}}`]) {
      const read = (asked: string) => asked === name ? assert(false, "it is read") : undefined;
      assertThrows(() => fillVariables(text, false, read), HotbootError, `the variable ${name} is closed to profiles`);
    }
  }
  assertEquals(fill("${env.STACK_TOKENS}", { STACK_TOKENS: "60" })[0], "60");
});

Deno.test("variables: a syntax error is reported", () => {
  const refused: [string, RegExp][] = [
    ["${env.X}", /^the variable X is not set: set it$/],
    ["${env.X:-${env.Y}}", /^the variable Y is not set: set it$/],
    ["${env.X", /^'\$\{env\.X' is not a variable: write /],
    ["${env.1}", /is not a variable/],
    ["${env.}", /is not a variable/],
    ["${env.X-1}", /is not a variable/],
    ["a${env.X:-${env.Y}", /^'a\$\{env\.X:-\$\{env\.Y\}' lacks a closing brace: add it$/],
  ];
  for (const [text, why] of refused) assertMatch(assertThrows(() => fill(text), HotbootError).message, why);
});

/** The micro guest's profile with changes, parsed with these variables. */
function parsed(changes: object, values: Values = {}): Profile {
  return parseProfile(JSON.stringify({ ...micro, ...changes }), "x", (name) => values[name]);
}

Deno.test("variables: they are filled in before the checks, and strings become numbers", () => {
  const profile = parsed({
    name: "${env.NAME:-micro}",
    ports: { web: { guest: "${env.PREFIX:-80}80", host: "${env.PORT:-26880}" } },
    machine: { memory: "${env.RAM:-256}", cpus: "${env.CPUS:-2}" },
    timeouts: { boot: "${env.TIMEOUT:-1.5}", resume: 30 },
    config: { label: "microcfg", files: { "a": ["P=${env.PREFIX:-80} ${ports.web.host} $$x ${env.VALUE:-}"] } },
  }, { NAME: "other", PREFIX: "81", VALUE: "${ports.web.guest}" });
  assertEquals(profile.name, "other");
  assertEquals(profile.ports, { web: { guest: 8180, host: 26880, variable: "PORT" } });
  assertEquals([profile.machine.memory, profile.machine.cpus, profile.timeouts], [256, 2, { boot: 1.5, resume: 30 }]);
  assertEquals(profile.config!.files.a, ["P=81 ${ports.web.host} $$x $${ports.web.guest}"]);
});

Deno.test("variables: an error about a value names the variable", () => {
  const port = (host: string, guest: unknown = 8080) => ({ ports: { web: { guest, host } } });
  const range = "use an integer from 1 to 65535";
  const refused: [object, Values, string][] = [
    [port("${env.P:-26880}"), { P: "x" }, `P is 'x', which is not a port: ${range}`],
    [port("${env.P:-26880}"), { P: "70000" }, `P is '70000', which is not a port: ${range}`],
    [port("${env.P:-26880}"), { P: "1e3" }, `P is '1e3', which is not a port: ${range}`],
    [port("${env.P:-26880}"), { P: "80.5" }, `P is '80.5', which is not a port: ${range}`],
    [port("${env.P:-26880}"), { P: " 80" }, `P is ' 80', which is not a port: ${range}`],
    [
      port("1", "${env.A:-8}${env.B:-1}02"),
      { A: "0", B: "9" },
      `A is '0' and B is '9', which makes ports.web.guest '0902', which is not a port: ${range}`,
    ],
    [port("${env.P:-}"), {}, `ports.web.host: '' is not a port: ${range}`],
    [port("${env.P}"), {}, "ports.web.host: the variable P is not set: set it"],
    [
      { machine: { memory: "${env.RAM:-256}", cpus: 1 } },
      { RAM: "1" },
      "RAM is '1', which machine.memory cannot be: use an integer from 64 to 1048576",
    ],
    [
      { timeouts: { boot: "${env.T:-1}" } },
      { T: "0" },
      "T is '0', which timeouts.boot cannot be: use a number of at least 1",
    ],
    [
      { ports: { web: { guest: 1, host: "${env.P:-1}" }, api: { guest: 1, host: "${env.Q:-2}" } } },
      { P: "2" },
      "P is '2', which is also the port of 'api': choose another",
    ],
    [
      { ports: { web: { guest: 1, host: "${env.P:-1}" }, api: { guest: 1, host: "${env.Q:-2}" } } },
      { Q: "1" },
      "Q is '1', which is also the port of 'web': choose another",
    ],
  ];
  for (const [changes, values, why] of refused) {
    assertEquals(assertThrows(() => parsed(changes, values), HotbootError).message, `profile x: ${why}`);
  }
  const secret = { config: { label: "l", files: { f: ["${env.SECRET}"] } } };
  const { message } = assertThrows(() => parsed(secret, { SECRET: "s3cret\nline" }), HotbootError);
  assertMatch(message, /^profile x: config\.files\.f\[0\], with SECRET: [^\n]*$/);
  assertEquals(message.includes("s3cret"), false);
});

Deno.test({
  name: "variables: a variable without read permission is named",
  permissions: { read: true, env: ["EMULATOR_ALLOWED"] },
  fn: () => {
    const text = (name: string) => JSON.stringify({ ...micro, name: `\${env.${name}:-x}` });
    assertEquals(parseProfile(text("EMULATOR_ALLOWED"), "x").name, "x");
    const { message } = assertThrows(() => parseProfile(text("OTHER"), "x"), HotbootError);
    assertMatch(
      message,
      /^profile x: name: hotboot may not read the variable OTHER: .* EMULATOR_, HOTBOOT_ or STACK_[^\n]*$/,
    );
  },
});

/** The stack profile with these variables. */
const stackWith = (values: Values) => parseProfile(JSON.stringify(stack), "stack", (name) => values[name]);

Deno.test("stack: it has the defaults that its users know, and their variables change it", () => {
  const plain = stackWith({});
  assertEquals(plain.home, { directory: "~/.stack/emulator", instances: "run", images: "images", instance: "vm" });
  assertEquals(plain.machine, { memory: 4096, cpus: 4 });
  assertEquals(plain.timeouts, { boot: 240, resume: 45 });
  assertEquals(
    Object.values(plain.ports).map(({ guest, host }) => [guest, host]),
    [[8101, 26700], [8102, 26701], [9090, 26702], [9001, 26703], [8114, 8114]],
  );
  const changed = stackWith({
    STACK_EMULATOR_HOME: "/srv/emulator",
    NEXT_PUBLIC_STACK_PORT_PREFIX: "92",
    EMULATOR_RAM: "2048",
    EMULATOR_CPUS: "2",
    EMULATOR_DASHBOARD_PORT: "1",
    EMULATOR_BACKEND_PORT: "2",
    EMULATOR_MINIO_PORT: "3",
    EMULATOR_INBUCKET_PORT: "4",
    EMULATOR_RUN_DIR: "/run/dir",
    EMULATOR_IMAGE_DIR: "/image/dir",
    EMULATOR_READY_TIMEOUT: "100",
    EMULATOR_SNAPSHOT_READY_TIMEOUT: "10",
  });
  assertEquals(changed.home, {
    directory: "/srv/emulator",
    instances: "/run/dir",
    images: "/image/dir",
    instance: "vm",
  });
  assertEquals(changed.machine, { memory: 2048, cpus: 2 });
  assertEquals(changed.timeouts, { boot: 100, resume: 10 });
  assertEquals(changed.rotation!.timeout, 10);
  assertEquals(
    Object.values(changed.ports).map(({ guest, host }) => [guest, host]),
    [[9201, 1], [9202, 2], [9090, 3], [9001, 4], [9214, 9214]],
  );
  assertEquals((changed.config!.files["runtime.env"] as string[])[0], "STACK_EMULATOR_PORT_PREFIX=92");
  const both = stackWith({ PORT_PREFIX: "91", NEXT_PUBLIC_STACK_PORT_PREFIX: "92" });
  assertEquals(both.ports.backend.guest, 9102);
  assertThrows(() => stackWith({ EMULATOR_CPUS: "many" }), HotbootError, "EMULATOR_CPUS is 'many'");
  assertThrows(() => stackWith({ PORT_PREFIX: "x" }), HotbootError, "PORT_PREFIX is 'x', which makes ports.");
});

Deno.test("stack: the built-in profile is checked, too", async () => {
  for (const port of ["x", "70000", "26700"]) {
    const loading = () => withEnvironment({ EMULATOR_BACKEND_PORT: port }, () => loadProfile("stack"));
    await assertRejects(loading, HotbootError, `profile stack: EMULATOR_BACKEND_PORT is '${port}', which is `);
  }
});

/** Does something with these variables set (or unset, if `undefined`). */
async function withEnvironment<T>(values: Record<string, string | undefined>, use: () => Promise<T>): Promise<T> {
  const before = Object.keys(values).map((name) => [name, Deno.env.get(name)] as const);
  const set = (name: string, value: string | undefined) =>
    value === undefined ? Deno.env.delete(name) : Deno.env.set(name, value);
  try {
    for (const [name, value] of Object.entries(values)) set(name, value);
    return await use();
  } finally {
    for (const [name, value] of before) set(name, value);
  }
}

const UNSET = Object.fromEntries(
  ["HOTBOOT_HOME", "STACK_EMULATOR_HOME", "EMULATOR_RUN_DIR", "EMULATOR_IMAGE_DIR"].map((name) => [name, undefined]),
);

Deno.test("home: refused where Deno opens no files, whether by name, by a link or by the user's home directory", () =>
  withEnvironment({ HOTBOOT_HOME: undefined, HOME: "/dev/shm/me" }, () =>
    withDirectory(async (directory) => {
      await Deno.symlink("/dev", `${directory}/link`);
      const refusal = async (home?: string) =>
        (await assertRejects(() => openEmulator({ profile: "demo", home }), HotbootError)).message;
      for (const root of ["/dev", "/proc", "/sys"]) {
        for (const home of [root, `${root}/`, `${root}/not/there`, `/tmp/..${root}/x`]) {
          assertMatch(await refusal(home), new RegExp(`^${root}[^ ]* cannot be the home: .*below ${root} .*--home`));
        }
      }
      assertMatch(await refusal(), /^\/dev\/shm\/me\/\.hotboot cannot .*\/dev\/shm is memory/);
      const linked = await refusal(`${directory}/link/not/there`);
      assertMatch(linked, /link\/not\/there cannot be the home, because it leads to \/dev\/not\/there: /);
      assertFalse(linked.includes("/dev/shm"));
      Deno.env.set("HOTBOOT_HOME", "/sys/x");
      assertMatch(await refusal(), /^\/sys\/x cannot be the home/);
      for (const home of ["/device", `${directory}/dev`, `${directory}/not/there`]) {
        assertEquals((await openEmulator({ profile: "demo", home })).home.root, home);
      }
    })));

Deno.test("home: the option comes first, then HOTBOOT_HOME, then the profile", () =>
  withEnvironment({ ...UNSET, HOME: "/users/me" }, async () => {
    const homeOf = async (profile: string, home?: string) => {
      const emulator = await openEmulator({ profile, home });
      return [emulator.home.root, emulator.home.instance("vm").slice(emulator.home.root.length)];
    };
    assertEquals(await homeOf("demo"), ["/users/me/.hotboot", "/instances/vm"]);
    assertEquals(await homeOf("stack"), ["/users/me/.stack/emulator", "/run/vm"]);
    assertEquals(await homeOf("stack", "/given"), ["/given", "/run/vm"]);
    Deno.env.set("STACK_EMULATOR_HOME", "/of/stack/");
    assertEquals(await homeOf("stack"), ["/of/stack", "/run/vm"]);
    assertEquals(await homeOf("demo"), ["/users/me/.hotboot", "/instances/vm"]);
    Deno.env.set("STACK_EMULATOR_HOME", "here");
    assertEquals(await homeOf("stack"), [`${Deno.cwd()}/here`, "/run/vm"]);
    Deno.env.set("HOTBOOT_HOME", "/of/hotboot");
    assertEquals(await homeOf("stack"), ["/of/hotboot", "/run/vm"]);
    assertEquals(await homeOf("demo"), ["/of/hotboot", "/instances/vm"]);
    assertEquals(await homeOf("demo", "/given"), ["/given", "/instances/vm"]);
    Deno.env.set("HOTBOOT_HOME", "~/mine/");
    assertEquals(await homeOf("demo"), ["/users/me/mine", "/instances/vm"]);
    Deno.env.set("HOTBOOT_HOME", "~");
    assertEquals(await homeOf("demo"), ["/users/me", "/instances/vm"]);
    Deno.env.set("HOTBOOT_HOME", "/of/hotboot");
    Deno.env.set("EMULATOR_RUN_DIR", "/run/dir");
    Deno.env.set("EMULATOR_IMAGE_DIR", "/image/dir");
    const { home } = await openEmulator({ profile: "stack" });
    assertEquals([home.root, home.instance("vm"), home.images], ["/of/hotboot", "/run/dir/vm", "/image/dir"]);
    assertEquals(home.places, ["/of/hotboot", "/run/dir", "/image/dir"]);
  }));

Deno.test("options: a variable replaces a missing option; empty and 0 mean no", async () => {
  const names = ["EMULATOR_ARCH", "EMULATOR_NO_SNAPSHOT", "EMULATOR_NO_ROTATION"];
  const read = (args: string[], ...values: string[]) =>
    withEnvironment(Object.fromEntries(names.map((name, index) => [name, values[index]])), async () => {
      const all = withVariables(start, readArguments("start", start, args));
      return await Promise.resolve([all.values.arch, [...all.switches].join()]);
    });
  assertEquals(await read([]), [undefined, ""]);
  assertEquals(await read([], "", "0", ""), [undefined, ""]);
  assertEquals(await read([], "arm64", "1", "yes"), ["arm64", "cold,no-rotation"]);
  assertEquals(await read(["--arch", "amd64", "--cold"], "vax", "0", "0"), ["amd64", "cold"]);
  const { message } = await assertRejects(async () => await read([], "vax"), HotbootError);
  assertMatch(message, /^EMULATOR_ARCH: Invalid architecture 'vax': use amd64 or arm64$/);
});

Deno.test("default profile: the nearest hotboot.json of the same owner, else stack", () =>
  withDirectory(async (temporary) => {
    const directory = await Deno.realPath(temporary);
    const below = `${directory}/a/b`;
    await ensureDir(below);
    const write = (at: string) => Deno.writeTextFile(`${at}/hotboot.json`, JSON.stringify(micro));
    assertEquals(await findProfile(below), "stack");
    await write(directory);
    assertEquals(await findProfile(below), `${directory}/hotboot.json`);
    assertEquals(await findProfile(directory), `${directory}/hotboot.json`);
    await write(below);
    assertEquals(await findProfile(below), `${below}/hotboot.json`);
    assertEquals(await findProfile(`${directory}/a`), `${directory}/hotboot.json`);
    if (!await Deno.chown(`${below}/hotboot.json`, 12345, null).then(() => true, () => false)) return; // only for root
    await assertRejects(() => findProfile(below), HotbootError, "belongs to another user: type --profile");
    await Deno.remove(`${below}/hotboot.json`);
    await Deno.chown(`${directory}/a`, 12345, null); // the search does not reach it
    assertEquals(await findProfile(below), "stack");
  }));
