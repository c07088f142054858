/**
 * `deno task test`: everything that must hold. Prints what it does, and at last how many tests passed and failed; a
 * check (formatting, types …) counts as one test.
 *
 *     deno task test [--unit] [DENO TEST ARGUMENTS…]
 */

import { importArguments, ROOT } from "./deno.ts";
import { install, TESTS } from "./packages.ts";

/** Modules whose examples need QEMU or the network: those are checked, and not run. */
const NOT_RUN = ["emulator", "release/download.ts", "release/github.ts", "vm/guest_agent.ts", "vm/qmp.ts"];

const unitOnly = Deno.args.includes("--unit");
const rest = Deno.args.filter((arg) => arg !== "--unit");

interface Outcome {
  passed: number;
  failed: number;
}

/** Runs this Deno, in the checkout unless told, showing its output, and gives what it printed. */
async function deno(args: string[], options: Deno.CommandOptions = {}): Promise<{ success: boolean; output: string }> {
  console.log(`\n$ deno ${args.join(" ")}`);
  const child = new Deno.Command(Deno.execPath(), {
    cwd: ROOT,
    ...options,
    args,
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  let output = "";
  const decoder = new TextDecoder();
  for await (const chunk of child.stdout) {
    Deno.stdout.writeSync(chunk);
    output += decoder.decode(chunk, { stream: true });
  }
  return { success: (await child.status).success, output };
}

async function check(args: string[]): Promise<Outcome> {
  const { success } = await deno(args);
  return { passed: Number(success), failed: Number(!success) };
}

/** A run that fails without counting a failure (a module that does not load) is one failure. */
async function test(args: string[], options?: Deno.CommandOptions): Promise<Outcome> {
  const { success, output } = await deno(["test", ...imports, ...args, ...rest], options);
  // deno-lint-ignore no-control-regex -- the colours of Deno's summary
  const summary = output.replaceAll(/\x1b\[\d+m/g, "").match(/(\d+) passed[^|]*\| (\d+) failed/);
  const [passed, failed] = summary ? [Number(summary[1]), Number(summary[2])] : [0, 0];
  return { passed, failed: success ? failed : Math.max(failed, 1) };
}

/** Runs the examples in the documentation, with nothing but what their functions say to need, and where they may write. */
async function examples(): Promise<Outcome> {
  const directory = await Deno.makeTempDir({ prefix: "hotboot-examples-" });
  try {
    return await test([
      "--doc",
      "--no-prompt",
      "--allow-read",
      "--allow-write",
      "--allow-env=DASHBOARD_PORT",
      `--config=${ROOT}deno.json`,
      `--ignore=${NOT_RUN.map((path) => `${ROOT}lib/${path}`).join()}`,
      `${ROOT}lib`,
    ], { cwd: directory, env: { TMPDIR: directory, DASHBOARD_PORT: "" } });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const imports = await importArguments();
const outcomes: Outcome[] = [];
outcomes.push(await check(["fmt", "--check"]));
outcomes.push(await check(["lint"]));
outcomes.push(await check(["check", "--doc", ...imports, "."])); // the examples in the documentation too
outcomes.push(await check(["doc", "--lint", ...imports, "mod.ts"]));
outcomes.push(await examples());
outcomes.push(await test(["-A", "tests/unit"]));
if (!unitOnly) {
  await install(TESTS);
  if (Deno.env.has("DENORT_BIN")) { // then a binary can be made without the network, and it is what users have
    outcomes.push(await check(["task", "build"]));
    Deno.env.set("HOTBOOT_TEST_BINARY", `${ROOT}dist/hotboot`);
  }
  outcomes.push(await test(["-A", "tests/e2e"]));
}

const sum = (key: keyof Outcome) => outcomes.reduce((total, outcome) => total + outcome[key], 0);
console.log(`\n${sum("passed")} passed, ${sum("failed")} failed`);
Deno.exit(sum("failed") === 0 ? 0 : 1);
