/**
 * `deno task npm [--target TARGET]… [--from DIR] [--to DIR]`: the packages for npm, `hotboot` and one for each platform. They
 * are made of the binaries `hotboot-TARGET` in `dist/`, and go to `dist/npm/`. The version is that of `deno.json`.
 *
 * With --target only those platforms' packages are made, beside `hotboot`, which names all of them in any case.
 */

import { ensureDir } from "@std/fs/ensure-dir";
import { parseArgs } from "@std/cli/parse-args";
import ts from "typescript";
import { PLATFORMS } from "../npm/binary.ts";
import config from "../deno.json" with { type: "json" };
import { DIST, fail } from "./bundle.ts";
import { ROOT } from "./deno.ts";

const SOURCES = `${ROOT}npm`;
const REPOSITORY = "https://github.com/hotboot/hotboot";
const OPTIONS: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2022,
  lib: ["lib.esnext.d.ts"],
  module: ts.ModuleKind.ES2022,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
  types: [],
  declaration: true,
};

/** What all packages say. */
const COMMON = {
  version: config.version,
  license: config.license,
  homepage: `${REPOSITORY}#readme`,
  repository: { type: "git", url: `git+${REPOSITORY}.git` },
  publishConfig: { access: "public" },
};

/** The package of a platform: its binary, for npm to install where `os` and `cpu` fit. */
async function makePlatform(platform: string, binary: string, directory: string): Promise<void> {
  const [os, cpu] = platform.split("-");
  await start(directory, {
    name: `@hotboot/${platform}`,
    description: `hotboot's binary for ${os} on ${cpu}`,
    ...COMMON,
    os: [os],
    cpu: [cpu],
    ...(os === "linux" && { libc: ["glibc"] }),
    preferUnplugged: true, // Yarn: keep it as a file, which can be run
    files: ["bin"],
  });
  await Deno.writeTextFile(
    `${directory}/README.md`,
    `The binary of [hotboot](${REPOSITORY}) for ${os} on ${cpu}. The package \`hotboot\` installs it.\n`,
  );
  await Deno.mkdir(`${directory}/bin`);
  await Deno.copyFile(binary, `${directory}/bin/hotboot`);
  await Deno.chmod(`${directory}/bin/hotboot`, 0o755);
}

/** The package that people install. */
async function makeMain(directory: string): Promise<void> {
  const entry = (name: string) => ({ types: `./${name}.d.ts`, default: `./${name}.js` });
  await start(directory, {
    name: "hotboot",
    description:
      "Local emulators that resume a warm snapshot in well under a second: the program, and a client for tests",
    keywords: ["emulator", "qemu", "snapshot", "testing", "virtual-machine"],
    ...COMMON,
    type: "module",
    engines: { node: ">=20" },
    bin: { hotboot: "bin.js" },
    exports: { ".": entry("index"), "./testing": entry("testing"), "./package.json": "./package.json" },
    files: ["*.js", "*.d.ts"],
    optionalDependencies: Object.fromEntries(
      Object.keys(PLATFORMS).map((platform) => [`@hotboot/${platform}`, config.version]),
    ),
  });
  await Deno.copyFile(`${SOURCES}/README.md`, `${directory}/README.md`);
  const sources = Array.from(Deno.readDirSync(SOURCES), ({ name }) => `${SOURCES}/${name}`);
  const program = ts.createProgram(sources.filter((path) => path.endsWith(".ts")), { ...OPTIONS, outDir: directory });
  // `deno check` has judged the types, and knows Node's.
  program.emit(undefined, (path, text) => {
    if (path.endsWith("/bin.d.ts")) return; // nobody imports it
    Deno.writeTextFileSync(path, text.replaceAll(/(from "\.\/\w+)\.ts"/g, '$1.js"'));
  });
}

async function start(directory: string, description: Record<string, unknown>): Promise<void> {
  await Deno.remove(directory, { recursive: true }).catch(() => {});
  await ensureDir(directory);
  await Deno.writeTextFile(`${directory}/package.json`, JSON.stringify(description, null, 2) + "\n");
  await Deno.copyFile(`${ROOT}LICENSE`, `${directory}/LICENSE`);
}

async function make(targets: string[], from: string, to: string): Promise<void> {
  for (const [platform, target] of Object.entries(PLATFORMS)) {
    if (!targets.includes(target)) continue;
    const binary = `${from}/hotboot-${target}`;
    await Deno.stat(binary).catch(() => {
      throw new Error(`there is no ${binary}: make it with 'deno task build --target ${target}'`);
    });
    await makePlatform(platform, binary, `${to}/${platform}`);
    console.log(`${to}/${platform}`);
  }
  await makeMain(`${to}/hotboot`);
  console.log(`${to}/hotboot`);
}

if (import.meta.main) {
  const all = Object.values(PLATFORMS);
  const { target, from, to, _: [rest] } = parseArgs(Deno.args, {
    string: ["target", "from", "to"],
    collect: ["target"],
    default: { from: DIST.slice(0, -1), to: `${DIST}npm` },
  });
  const targets = target as string[];
  if (rest !== undefined || targets.some((each) => !all.includes(each))) {
    console.error(`hotboot: npm takes --target, one of ${all.join(", ")}, --from and --to`);
    Deno.exit(2);
  }
  await make(targets.length > 0 ? targets : all, from, to).catch(fail);
}
