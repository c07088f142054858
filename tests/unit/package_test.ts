/** The package that JSR gets, as `deno publish` would make it: complete, with nothing else in it, and of explicit types. */

import { assert, assertEquals } from "@std/assert";
import { cp } from "node:fs/promises";
import { importArguments, ROOT } from "../../dev/deno.ts";
import { withDirectory } from "./temporary.ts";

/** What a checkout has beside the sources. */
const NOT_SOURCES = new Set([".git", ".cache", "dist", "node_modules"]);

/** A dry run of publishing a copy of this checkout, with imports from where they can be had here, and types checked before. */
async function publish(copy: string): Promise<{ code: number; output: string }> {
  await cp(ROOT, copy, { recursive: true, filter: (path) => !NOT_SOURCES.has(path.slice(ROOT.length)) });
  const [importMap] = await importArguments();
  if (importMap) {
    const { imports } = JSON.parse(await Deno.readTextFile(importMap.replace(/^--import-map=/, "")));
    delete imports["@hotboot/hotboot"]; // the copy itself
    const config = JSON.parse(await Deno.readTextFile(`${copy}/deno.json`));
    await Deno.writeTextFile(`${copy}/deno.json`, JSON.stringify({ ...config, imports }));
  }
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["publish", "--dry-run", "--allow-dirty", "--no-check"],
    cwd: copy,
    env: { NO_COLOR: "1" },
  }).output();
  return { code, output: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
}

Deno.test("package: publishing it would succeed, with all that it needs and nothing else", () =>
  withDirectory(async (directory) => {
    const copy = `${await Deno.realPath(directory)}/package`;
    const { code, output } = await publish(copy); // which also refuses public types that have to be inferred
    assertEquals(code, 0, output);
    const published = Array.from(output.matchAll(/file:\/\/(\S+) \(/g), ([, path]) => path.slice(copy.length + 1));
    assert(published.length > 100, output);

    assertEquals(published.filter((path) => !/^(?:lib|qemu)\/|^(?:cli|mod)\.ts$|^deno\.json$|^[A-Z]+/.test(path)), []);
    for (const path of ["README.md", "LICENSE", "cli.ts", "mod.ts", "lib/profile/schema.json", "lib/zstd/worker.ts"]) {
      assert(published.includes(path), `${path} is missing`);
    }
    const sources: string[] = [];
    for (const room of ["lib", "qemu"]) sources.push(...await filesBelow(room));
    assertEquals(sources.filter((path) => !published.includes(path)), []); // the recipes too
  }));

async function filesBelow(directory: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(ROOT + directory)) {
    if (isDirectory) found.push(...await filesBelow(`${directory}/${name}`));
    else found.push(`${directory}/${name}`);
  }
  return found;
}
