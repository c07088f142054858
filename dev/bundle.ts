/**
 * `deno task bundle`: the program as one file, `dist/hotboot.js`, with all its imports.
 */

import { importArguments, ROOT } from "./deno.ts";

/** The output directory. */
export const DIST = `${ROOT}dist/`;
/** The program as one file. */
export const BUNDLE = `${DIST}hotboot.js`;

/** The replacement for `lib/base/bundle.ts`. */
function replacement(commit: string): string {
  return [
    `export const COMMIT = ${JSON.stringify(commit)};`,
    "export const ZSTD_WORKER = new URL(import.meta.url);",
    "export const CODE = ZSTD_WORKER;",
    `export const GUESTS = new URL("../qemu/", import.meta.url);`,
  ].join("\n");
}

/** How to make one file of a program. */
export interface BundleOptions {
  /** The Deno that does it; by default this one. */
  deno?: string;
  /** The program; by default hotboot. */
  entry?: string;
  /** The output file. */
  output?: string;
  /** Whether to minify it, which makes it load faster. */
  minify?: boolean;
}

/** Makes the file. */
export async function bundle(options: BundleOptions = {}): Promise<void> {
  const { deno = Deno.execPath(), entry = `${ROOT}cli.ts`, output = BUNDLE, minify = false } = options;
  await Deno.mkdir(DIST, { recursive: true });
  await Deno.writeTextFile(`${DIST}bundle.ts`, replacement(await commit()));
  const [map = `${ROOT}deno.json`] = (await importArguments()).map((argument) =>
    argument.replace(/^--import-map=/, "")
  );
  const { imports } = JSON.parse(await Deno.readTextFile(map));
  for (const [name, target] of Object.entries<string>(imports)) {
    if (target.startsWith(".")) imports[name] = new URL(target, `file://${map}`).href;
  }
  imports[`${new URL(`file://${ROOT}lib/base/bundle.ts`)}`] = `${new URL(`file://${DIST}bundle.ts`)}`;
  await Deno.writeTextFile(`${DIST}imports.json`, JSON.stringify({ imports }));
  const how = ["-q", `--import-map=${DIST}imports.json`, "--platform=deno"];
  await succeed(deno, ["bundle", ...how, `--output=${output}`, entry]);
  const code = loadable(await Deno.readTextFile(output));
  await Deno.writeTextFile(output, minify ? await minified(code) : code);
  for (const name of ["bundle.ts", "imports.json"]) await Deno.remove(`${DIST}${name}`);
}

/**
 * CommonJS packages in it `require` what Node.js has. Deno makes that function of the bundle's own address, which
 * `createRequire` takes only if it is a file's; hotboot also runs from a URL.
 */
function loadable(code: string): string {
  return code.replaceAll("createRequire(import.meta.url)", 'createRequire("file:///")');
}

/**
 * Shorter, with the same syntax: `deno bundle --minify` would also put the value of a `using` declaration that is used once in
 * that place, so that nothing is disposed of any more.
 */
export async function minified(code: string): Promise<string> {
  const { transform, stop } = await import("esbuild");
  try {
    const options = { minifyWhitespace: true, minifyIdentifiers: true, format: "esm", target: "esnext" } as const;
    return (await transform(code, options)).code;
  } finally {
    await stop();
  }
}

/** Runs a program in the checkout. @throws if it fails. */
export async function succeed(program: string, args: string[]): Promise<void> {
  const { success } = await new Deno.Command(program, { args, cwd: ROOT, stdin: "null" }).spawn().status;
  if (!success) throw new Error(`${program} ${args[0]} failed: see its output above`);
}

/** Ends this program, after printing the error's message. */
export function fail(error: Error): never {
  console.error(`hotboot: ${error.message}`);
  Deno.exit(1);
}

/** The checkout's commit, marked if there are changes; empty if git does not know. */
async function commit(): Promise<string> {
  try {
    const args = ["describe", "--always", "--exclude=*", "--abbrev=12", "--dirty=+"];
    const { success, stdout } = await new Deno.Command("git", { args, cwd: ROOT, stderr: "null" }).output();
    return success ? new TextDecoder().decode(stdout).trim() : "";
  } catch {
    return "";
  }
}

if (import.meta.main) {
  await bundle().catch(fail);
  console.log(BUNDLE);
}
