/**
 * `deno task build [--target TARGET]`: the binary, `dist/hotboot` for this machine, `dist/hotboot-TARGET` for another.
 *
 * DENO_COMPILE names the Deno that compiles, by default this one. DENORT_BIN names the slim runtime that gets the
 * program, if it cannot be downloaded. The two must be compatible: a runtime 2.6 can read what a Deno 2.8 writes.
 */

import { parseArgs } from "@std/cli/parse-args";
import { fromFileUrl } from "@std/path/from-file-url";
import { programFlags } from "../lib/cli/permissions/program.ts";
import { bundle, DIST, fail, succeed } from "./bundle.ts";
import { ROOT } from "./deno.ts";
import demo from "../qemu/demo/profile.json" with { type: "json" };

const TARGETS = [
  "x86_64-unknown-linux-gnu",
  "aarch64-unknown-linux-gnu",
  "x86_64-apple-darwin",
  "aarch64-apple-darwin",
];
/** The recipe of the only built-in profile that has one. */
const RECIPE = demo.image.build.inputs.map((input) => fromFileUrl(new URL(`../qemu/demo/${input}`, import.meta.url)));

/** The Deno that compiles. */
export const COMPILER = Deno.env.get("DENO_COMPILE") || Deno.execPath();

/** Compiles a program into a binary with the program's permissions. */
export async function compile(entry: string, output: string, target?: string): Promise<void> {
  const bundled = `${DIST}minified.js`;
  await bundle({ deno: COMPILER, entry, output: bundled, minify: true });
  await succeed(COMPILER, [
    "compile",
    // V8 keeps what was allocated last in up to 3 such spaces (MiB) of each thread: 16, its default, only costs memory here.
    "--v8-flags=--max-semi-space-size=4",
    ...["-q", "--no-check", "--no-config", "--no-remote", "--no-npm"],
    ...programFlags(),
    ...RECIPE.map((path) => `--include=${path}`),
    ...(target ? [`--target=${target}`] : []),
    `--output=${output}`,
    bundled,
  ]);
  await Deno.remove(bundled);
}

if (import.meta.main) {
  const { target, _: [rest] } = parseArgs(Deno.args, { string: ["target"] });
  if (rest !== undefined || (target !== undefined && !TARGETS.includes(target))) {
    console.error(`hotboot: build takes --target, one of ${TARGETS.join(", ")}`);
    Deno.exit(2);
  }
  const output = `${DIST}hotboot${target ? `-${target}` : ""}`;
  const runtime = Deno.env.get("DENORT_BIN");
  if (runtime) console.error(`hotboot: using the runtime ${runtime} from DENORT_BIN, downloading nothing`);
  else console.error("hotboot: Deno may download its runtime now; if it cannot, set DENORT_BIN to one");
  await compile(`${ROOT}cli.ts`, output, target).catch(fail);
  console.log(output);
}
