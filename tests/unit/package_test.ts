/** The package that `deno publish` would give to JSR: complete, with nothing superfluous, and with explicit types. */

import { assert, assertEquals } from "@std/assert";
import { copy } from "@std/fs/copy";
import { ensureDir } from "@std/fs/ensure-dir";
import { walk } from "@std/fs/walk";
import { importArguments, ROOT } from "../../dev/deno.ts";
import { withDirectory } from "./temporary.ts";

/** Files that a checkout has beside the sources. */
const NOT_SOURCES = new Set([".git", ".cache", "dist", "node_modules"]);

/** Publishes a copy of this checkout as a dry run, with imports that can be loaded here. Checks the types first. */
async function publish(checkout: string): Promise<{ code: number; output: string }> {
  await ensureDir(checkout);
  for await (const { name } of Deno.readDir(ROOT)) {
    if (!NOT_SOURCES.has(name)) await copy(`${ROOT}${name}`, `${checkout}/${name}`);
  }
  const [importMap] = await importArguments();
  if (importMap) {
    const { imports } = JSON.parse(await Deno.readTextFile(importMap.replace(/^--import-map=/, "")));
    for (const name of ["@hotboot/hotboot", "@hotboot/hotboot/testing"]) delete imports[name]; // the copy itself
    // Published files may import nothing from dev/, which is not published.
    await Deno.rename(`${checkout}/dev/std_fs.ts`, `${checkout}/lib/std_fs.ts`);
    for (const name of Object.keys(imports)) if (imports[name] === "./std_fs.ts") imports[name] = "./lib/std_fs.ts";
    const config = JSON.parse(await Deno.readTextFile(`${checkout}/deno.json`));
    await Deno.writeTextFile(`${checkout}/deno.json`, JSON.stringify({ ...config, imports, lock: false }));
  }
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["publish", "--dry-run", "--allow-dirty", "--no-check"],
    cwd: checkout,
    env: { NO_COLOR: "1" },
  }).output();
  return { code, output: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
}

Deno.test("package: publishing would succeed, with everything that the package needs and nothing else", () =>
  withDirectory(async (directory) => {
    const checkout = `${await Deno.realPath(directory)}/package`;
    const { code, output } = await publish(checkout); // this also refuses public types that must be inferred
    assertEquals(code, 0, output);
    const published = Array.from(output.matchAll(/file:\/\/(\S+) \(/g), ([, path]) => path.slice(checkout.length + 1));
    assert(published.length > 100, output);

    const isMeant = /^(?:lib|qemu|docs)\/|^(?:cli|mod|testing)\.ts$|^deno\.json$|^README\.md$|^LICENSE$/;
    assertEquals(published.filter((path) => !isMeant.test(path)), []);
    for (
      const path of [
        "README.md",
        "LICENSE",
        "cli.ts",
        "mod.ts",
        "testing.ts",
        "lib/profile/schema.json",
        "lib/zstd/worker.ts",
      ]
    ) {
      assert(published.includes(path), `${path} is missing`);
    }
    const sources: string[] = [];
    for (const room of ["lib", "qemu", "docs"]) sources.push(...await filesBelow(room));
    assertEquals(sources.filter((path) => !published.includes(path)), []); // the recipes too

    // A link to a file that is not published leads nowhere on JSR.
    const linked: string[] = [];
    for (const page of published.filter((path) => path.endsWith(".md"))) linked.push(...await linksOf(page));
    assert(linked.length > 200, `there are only ${linked.length} links`);
    assertEquals(linked.filter((path) => !published.includes(path)), []);
  }));

/** The files of the checkout that a page links to by relative addresses. */
async function linksOf(page: string): Promise<string[]> {
  const text = await Deno.readTextFile(ROOT + page);
  const targets = Array.from(text.matchAll(/\]\(([^)\s]+)\)/g), ([, target]) => target);
  const relative = targets.filter((target) => !/^(?:https?:|#)/.test(target));
  const base = new URL(page, "file:///");
  return relative.map((target) => new URL(target, base).pathname.slice(1));
}

function filesBelow(directory: string): Promise<string[]> {
  return Array.fromAsync(walk(ROOT + directory, { includeDirs: false }), ({ path }) => path.slice(ROOT.length));
}
