/** What users of the library can rely on: it is documented, and importing it has no side effects. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { importArguments, ROOT } from "../../dev/deno.ts";
import { HotbootError } from "../../lib/base/error.ts";
import * as library from "../../mod.ts";
import * as testing from "../../testing.ts";
import { withDirectory } from "./temporary.ts";

/** What `deno doc` says about an export. */
interface Documented {
  kind: string;
  jsDoc?: { doc?: string; tags?: { kind: string; name?: string; doc?: string }[] };
  /** A function's definition, as Deno 2.8 and 2.6 name it. */
  def?: Callable;
  functionDef?: Callable;
}

interface Callable {
  params?: { name?: string; left?: { name?: string } }[];
  returnType?: { repr: string };
}

async function deno(args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: ROOT }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

const imports = await importArguments();

type Exported = [string, { prototype?: unknown }][];

/** The exports that exist at run time: functions and classes. */
const exported = Object.entries(library) as Exported;
const ENTRIES: Record<string, Exported> = { "mod.ts": exported, "testing.ts": Object.entries(testing) as Exported };

async function documentation(module: string): Promise<Map<string, Documented>> {
  const { version, nodes } = JSON.parse(await deno(["doc", "--json", ...imports, module]));
  if (version === 1) return new Map(nodes.map((node: Documented & { name: string }) => [node.name, node]));
  const [{ symbols }] = Object.values(nodes) as { symbols: { name: string; declarations: Documented[] }[] }[];
  return new Map(symbols.map(({ name, declarations }) => [name, declarations[0]]));
}

Deno.test("library: each function and class documents what it takes, returns, throws and needs, with an example", async () => {
  assert(exported.length > 30, `there are only ${exported.length} exports`);
  const missing: string[] = [];
  for (const [module, exported] of Object.entries(ENTRIES)) {
    const documented = await documentation(module);
    for (const [name, value] of exported) {
      const { jsDoc, kind, def, functionDef } = documented.get(name)!;
      const { doc = "", tags = [] } = jsDoc ?? {};
      const has = (kind: string) => tags.some((tag) => tag.kind === kind && (tag.doc ?? "") !== "");
      const demand = (what: string, isThere: boolean) => void (isThere || missing.push(`${name}: ${what}`));
      demand("a description", doc !== "");
      if (value.prototype instanceof Error) continue;
      demand("an @example", has("example"));
      demand("its permissions", /Needs .*permission/s.test(doc));
      if (kind !== "function") continue;
      const { params, returnType } = (def ?? functionDef)!;
      for (const { name = undefined, left } of params ?? []) {
        const parameter = name ?? left?.name;
        demand(`@param ${parameter}`, tags.some((tag) => tag.kind === "param" && tag.name === parameter && !!tag.doc));
      }
      demand("@returns", returnType?.repr === "void" || isPromiseOfVoid(returnType) || has("return"));
      // A function that needs permissions depends on the outside world, so it can fail.
      demand("@throws", /Needs no permissions/.test(doc) || has("throws"));
    }
  }
  assertEquals(missing, []);
});

function isPromiseOfVoid(type: unknown): boolean {
  return /"Promise"/.test(JSON.stringify(type)) && /"void"/.test(JSON.stringify(type));
}

Deno.test("library: for tests, it prints warnings in one place, and nothing else", async () => {
  const printing: string[] = [];
  for await (const { name } of Deno.readDir(`${ROOT}lib/testing`)) {
    const text = (await Deno.readTextFile(`${ROOT}lib/testing/${name}`)).replaceAll(/\/\*.*?\*\//gs, "");
    for (const [use] of text.matchAll(/\bconsole\.\w+|\bDeno\.(?:exit|args|std\w+)\b/g)) {
      printing.push(`${name}: ${use}`);
    }
  }
  assertEquals(printing, ["fork.ts: console.warn"]);
});

Deno.test("library: no module belongs to the command line, prints, ends the program or reads its arguments", async () => {
  const graph: { modules: { local?: string }[] } = JSON.parse(await deno(["info", "--json", ...imports, "mod.ts"]));
  const own = graph.modules.flatMap(({ local }) => local?.startsWith(ROOT) ? [local.slice(ROOT.length)] : [])
    .filter((path) => !path.startsWith("node_modules/"));
  assert(own.includes("lib/emulator/continue.ts") && own.includes("lib/zstd/worker.ts"), own.join(" "));
  assertEquals(own.filter((path) => /^lib\/(?:commands|permissions|ui)\/|^cli\.ts$/.test(path)), []);
  const found: string[] = [];
  for (const path of own.filter((path) => path.endsWith(".ts"))) {
    const code = (await Deno.readTextFile(ROOT + path)).replaceAll(/\/\*.*?\*\//gs, ""); // the examples print
    const uses = code.match(
      /\bDeno\.(?:exit|exitCode|args|stdin|stdout|stderr|mainModule)\b|\bconsole\.|\b(?:alert|confirm|prompt)\(/g,
    );
    found.push(...(uses ?? []).map((use) => `${path}: ${use}`));
  }
  assertEquals(found, []);
});

Deno.test("library: importing it needs no permissions and does nothing", () =>
  withDirectory(async (directory) => {
    const main = `${directory}/main.ts`;
    const urls = Object.keys(ENTRIES).map((module) => JSON.stringify(new URL(`../../${module}`, import.meta.url).href));
    await Deno.writeTextFile(main, urls.map((url) => `import ${url};`).join("\n"));
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-prompt", "--no-check", `--config=${ROOT}deno.json`, ...imports, main],
    }).output();
    assertEquals([code, new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr)], [0, ""]);
  }));

Deno.test("library: its errors are HotbootErrors with their own names", () => {
  const errors = exported.filter(([, { prototype }]) => prototype instanceof Error);
  assert(errors.length >= 4);
  for (const [name, { prototype }] of errors) {
    assert(prototype === HotbootError.prototype || prototype instanceof HotbootError, name);
    assertMatch(name, /Error$/);
  }
});
