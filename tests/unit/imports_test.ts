/** The project's imports from elsewhere are the same for everybody, at any time, with either import map. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { walk } from "@std/fs/walk";
import config from "../../deno.json" with { type: "json" };
import npm from "../../dev/imports_npm.json" with { type: "json" };
import { importArguments, ROOT } from "../../dev/deno.ts";
import { withDirectory } from "./temporary.ts";

/** The parts of `deno.lock` that the tests read. */
interface Lock {
  specifiers: Record<string, string>;
  jsr: Record<string, { integrity: string; dependencies?: string[] }>;
  npm: Record<string, { integrity: string; dependencies?: string[] }>;
  workspace: { dependencies: string[] };
}

const MAPS: Record<string, Record<string, string>> = { "deno.json": config.imports, "imports_npm.json": npm.imports };
const lock: Lock = JSON.parse(await Deno.readTextFile(`${ROOT}deno.lock`));

/** The packages of a map, such as `npm:name@1.2.3`. The other targets are the project's own. */
function packagesOf(map: Record<string, string>): string[] {
  const targets = Object.values(map).filter((target) => !/^\.\.?\//.test(target));
  return [...new Set(targets.map((target) => target.replace(/^(npm|jsr):\/?((?:@[^/]+\/)?[^/]+).*/, "$1:$2")))].sort();
}

Deno.test("imports: each has an exact version", () => {
  for (const [name, map] of Object.entries(MAPS)) {
    const packages = packagesOf(map);
    assert(packages.length > 3, name);
    for (const each of packages) assertMatch(each, /^(npm|jsr):(@[\w.-]+\/)?[\w.-]+@\d+\.\d+\.\d+$/, name);
  }
});

Deno.test("imports: both maps have the same versions, and all that the sources import", async () => {
  const fromNpm = (map: Record<string, string>) => packagesOf(map).filter((each) => each.startsWith("npm:"));
  assertEquals(fromNpm(npm.imports).filter((each) => !each.startsWith("npm:deno-std@")), fromNpm(config.imports));

  const imported = new Set<string>();
  for (const room of ["lib", "dev", "tests"]) {
    for await (const { path } of walk(ROOT + room, { includeDirs: false })) {
      if (!/\.tsx?$/.test(path)) continue;
      const code = await Deno.readTextFile(path);
      const found = code.matchAll(/(?:^(?:import|export|\}).* from |^import |\bimport\()"([^"]+)"/gm);
      for (const [, name] of found) imported.add(name);
    }
  }
  const foreign = [...imported].filter((name) =>
    !/^(\.\.?\/|node:)/.test(name) && !`${name}/`.startsWith(`${config.name}/`)
  );
  assert(foreign.includes("@std/fs/walk") && foreign.includes("@hpcc-js/wasm-zstd"), foreign.join());
  for (const [map, entries] of Object.entries(MAPS)) {
    // As in an import map: the name itself is there, or a prefix of it that ends with a slash.
    const has = (name: string) =>
      Object.keys(entries).some((key) => key.endsWith("/") ? name.startsWith(key) : name === key);
    assertEquals(foreign.filter((name) => !has(name)), [], map);
  }
});

Deno.test("imports: the lock has a digest for everything that either map can load", () => {
  assertEquals(lock.workspace.dependencies, packagesOf(config.imports));
  const reached = new Set<string>();
  const reach = (specifier: string) => {
    const [, kind, name] = specifier.match(/^(npm|jsr):(.+?)(?:@[^@/]+)?$/)!;
    // If there is only one version of a package, its dependents do not say which.
    const asked = Object.keys(lock.specifiers).filter((each) => each === specifier || each.startsWith(`${specifier}@`));
    assertEquals(asked.length, 1, specifier);
    const version = lock.specifiers[asked[0]];
    assertMatch(version, /^\d+\.\d+\.\d+$/, specifier);
    reachKey(kind as "npm" | "jsr", `${name}@${version}`);
  };
  const reachKey = (kind: "npm" | "jsr", key: string) => {
    if (reached.has(`${kind}:${key}`)) return;
    const { integrity, dependencies = [] } = lock[kind][key];
    assertMatch(integrity, kind === "npm" ? /^sha512-[A-Za-z0-9+/]{86}==$/ : /^[0-9a-f]{64}$/, key);
    reached.add(`${kind}:${key}`);
    for (const dependency of dependencies) {
      if (kind === "jsr") reach(dependency);
      else reachKey(kind, keyOf(dependency)); // which lacks "npm:", and is in no map
    }
  };
  /** The key of what a package of npm's depends on. If there is only one version of that, it is named without. */
  const keyOf = (dependency: string) => {
    if (Object.hasOwn(lock.npm, dependency)) return dependency;
    const keys = Object.keys(lock.npm).filter((key) => key.startsWith(`${dependency}@`));
    assertEquals(keys.length, 1, dependency);
    return keys[0];
  };
  for (const map of Object.values(MAPS)) packagesOf(map).forEach(reach);
  const all = (["npm", "jsr"] as const).flatMap((kind) => Object.keys(lock[kind]).map((key) => `${kind}:${key}`));
  assertEquals([...reached].sort(), all.sort());
});

Deno.test("imports: a package that is not in the lock is refused", () =>
  withDirectory(async (directory) => {
    const without = <T>(entries: Record<string, T>) =>
      Object.fromEntries(Object.entries(entries).filter(([name]) => !name.includes("@cfworker/json-schema@")));
    const less = { ...lock, specifiers: without(lock.specifiers), npm: without(lock.npm) };
    await Deno.writeTextFile(`${directory}/less.lock`, JSON.stringify(less));
    const cache = async (...args: string[]) => {
      const { code, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["cache", ...await importArguments(), ...args, "lib/profile/parse.ts"],
        cwd: ROOT,
      }).output();
      return { code, said: new TextDecoder().decode(stderr) };
    };
    assertEquals(await cache("--quiet"), { code: 0, said: "" });
    const { code, said } = await cache(`--lock=${directory}/less.lock`);
    assertMatch(said, /lockfile is out of date/);
    assertEquals(code, 1);
  }));
