/**
 * `deno task test`: everything that must hold. Prints what it does, and at last how many tests passed and failed; a
 * check (formatting, types …) counts as one test.
 *
 *     deno task test [--unit] [DENO TEST ARGUMENTS…]
 */

import { importArguments, ROOT } from "./deno.ts";
import { install, TESTS } from "./packages.ts";

const unitOnly = Deno.args.includes("--unit");
const rest = Deno.args.filter((arg) => arg !== "--unit");

interface Outcome {
  passed: number;
  failed: number;
}

/** Runs this Deno in the checkout, showing its output, and gives what it printed. */
async function deno(args: string[]): Promise<{ success: boolean; output: string }> {
  console.log(`\n$ deno ${args.join(" ")}`);
  const child = new Deno.Command(Deno.execPath(), { args, cwd: ROOT, stdout: "piped", stderr: "inherit" }).spawn();
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
async function test(args: string[]): Promise<Outcome> {
  const { success, output } = await deno(["test", "-A", ...imports, ...args, ...rest]);
  // deno-lint-ignore no-control-regex -- the colours of Deno's summary
  const summary = output.replaceAll(/\x1b\[\d+m/g, "").match(/(\d+) passed[^|]*\| (\d+) failed/);
  const [passed, failed] = summary ? [Number(summary[1]), Number(summary[2])] : [0, 0];
  return { passed, failed: success ? failed : Math.max(failed, 1) };
}

const imports = await importArguments();
const outcomes: Outcome[] = [];
outcomes.push(await check(["fmt", "--check"]));
outcomes.push(await check(["lint"]));
outcomes.push(await check(["check", "--doc", ...imports, "."])); // the examples in the documentation too
outcomes.push(await check(["doc", "--lint", ...imports, "mod.ts"]));
outcomes.push(await test(["tests/unit"]));
if (!unitOnly) {
  await install(TESTS);
  outcomes.push(await test(["tests/e2e"]));
}

const sum = (key: keyof Outcome) => outcomes.reduce((total, outcome) => total + outcome[key], 0);
console.log(`\n${sum("passed")} passed, ${sum("failed")} failed`);
Deno.exit(sum("failed") === 0 ? 0 : 1);
