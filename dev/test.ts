/**
 * `deno task test`: all checks and tests, in one lane more than there are cores, but at most four. Each task's
 * output is shown in one piece when it ends. A summary shows where the time went, what was skipped, and how many passed
 * and failed. A check (formatting, types …) counts as one test. How long each test took is in `.cache/tests/*.xml`.
 *
 *     deno task test [--unit] [DENO TEST ARGUMENTS…]
 */

import { importArguments, ROOT } from "./deno.ts";
import { inLanes, type Task } from "./lanes.ts";
import { install, TESTS } from "./packages.ts";

/** Modules whose examples need QEMU or the network. These examples are checked but not run. */
const NOT_RUN = [
  "emulator",
  "guest",
  "image",
  "instance",
  "release/download.ts",
  "release/github.ts",
  "testing",
  "vm/guest_agent.ts",
  "vm/qmp.ts",
];
/** The last run's figures. */
const FIGURES = `${ROOT}.cache/tests`;
const SECONDS = `${FIGURES}/seconds.json`;
/** Seconds of the long tasks on two cores without hardware acceleration, until there are figures from this machine. */
const FIRST_SECONDS: Record<string, number> = {
  "packages": 30,
  "stack-standin": 700,
  "demo": 150,
  "micro": 20,
  "micro/arm64": 20,
  "efi/arm64": 25,
  "tests/e2e/demo_rotation_test.ts": 480,
  "tests/e2e/share_test.ts": 320,
  "tests/e2e/cloud_init_test.ts": 350,
  "tests/e2e/demo_test.ts": 400,
  "tests/e2e/docs_test.ts": 200,
  "tests/e2e/stack_test.ts": 800,
  "tests/e2e/accelerator_test.ts": 280,
  "tests/e2e/rotation_test.ts": 150,
  "tests/e2e/faults_test.ts": 350,
  "tests/e2e/init_test.ts": 260,
  "tests/e2e/suspend_test.ts": 140,
  "tests/e2e/arm64_test.ts": 100,
  "tests/e2e/disturbed_test.ts": 100,
  "tests/e2e/slurm_test.ts": 80,
  "tests/e2e/kubevirt_test.ts": 50,
  "tests/e2e/engine_test.ts": 90,
  "tests/e2e/iso_oracles_test.ts": 90,
  "tests/e2e/network_test.ts": 80,
  "tests/e2e/testing_test.ts": 110,
  "tests/e2e/npm_test.ts": 60,
  "tests/e2e/ci_test.ts": 60,
  "tests/e2e/ui_test.ts": 60,
  "tests/e2e/snapshot_archive_test.ts": 80,
  "tests/chaos": 420,
  "tests/unit": 60,
};
/** One lane more than there are cores, because tests sometimes wait for limits, timers and answers. */
const MORE_LANES = 1;
const MOST_LANES = 4; // a guest and its test take up to 2 GiB

const unitOnly = Deno.args.includes("--unit");
const rest = Deno.args.filter((arg) => arg !== "--unit");
const imports = await importArguments();

/** How many tests passed and failed, and which were skipped. */
interface Counts {
  passed: number;
  failed: number;
  ignored: string[];
}

/** A task's outcome. */
interface Outcome extends Counts {
  name: string;
  seconds: number;
}

/** The last output of failed tasks: their errors, if they list them. */
const failures: string[] = [];
/** How much of it the summary repeats: the end of a long output. */
const FAILURE_LINES = 80;

const outcomes: Outcome[] = [];
const children = new Set<Deno.ChildProcess>();
const known: Record<string, number> = await Deno.readTextFile(SECONDS).then(JSON.parse, () => ({}));

/** A task whose outcome is recorded. */
function task(name: string, after: string[], work: () => Promise<Counts>): Task {
  const run = async () => {
    console.log(`begins: ${name}`);
    const begin = performance.now();
    const counts = await work();
    const seconds = (performance.now() - begin) / 1000;
    console.log(`finished after ${seconds.toFixed()} s: ${name}\n`);
    outcomes.push({ name, seconds, ...counts });
  };
  return { name, after, run, seconds: known[name] ?? FIRST_SECONDS[name] ?? 10 };
}

/** Runs this Deno, by default in the checkout, and shows its output in one piece when it has ended. */
async function deno(args: string[], options: Deno.CommandOptions = {}): Promise<{ success: boolean; output: string }> {
  const command = new Deno.Command(Deno.execPath(), {
    cwd: ROOT,
    ...options,
    args,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
  const child = command.spawn();
  children.add(child);
  const pieces: BlobPart[] = [];
  const collect = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>) => {
    for await (const piece of stream) pieces.push(piece);
  };
  const [{ success }] = await Promise.all([child.status, collect(child.stdout), collect(child.stderr)]);
  children.delete(child);
  const output = await new Blob(pieces).text();
  const shown = `$ deno ${args.join(" ")}\n${output.trimEnd()}`;
  console.log(`\n${shown}`);
  if (!success) failures.push(errorsOf(shown));
  return { success, output };
}

/** The command and its errors, which `deno test` lists after its tests; else its last lines. */
function errorsOf(shown: string): string {
  const [command, ...lines] = shown.split("\n");
  // deno-lint-ignore no-control-regex -- the colours of the heading
  const errors = lines.findIndex((line) => /^(\x1b\[[\d;]*m)* ERRORS /.test(line));
  return [command, ...errors < 0 ? lines.slice(-FAILURE_LINES) : lines.slice(errors + 1, errors + 1 + FAILURE_LINES)]
    .join("\n");
}

/** A check, which counts as one test. */
function check(name: string, args: string[], after: string[] = []): Task {
  return task(name, after, async () => {
    const { success } = await deno(args);
    return { passed: Number(success), failed: Number(!success), ignored: [] };
  });
}

/** Tests. If a run fails without counting a failure (a module does not load), that is one failure. */
function tests(name: string, args: string[], after: string[] = [], options?: Deno.CommandOptions): Task {
  const junit = `--junit-path=${FIGURES}/${name.replaceAll("/", "-").replace(/\.ts$/, "")}.xml`;
  return task(name, after, async () => {
    const { success, output } = await deno(["test", "--no-check", ...imports, junit, ...args, ...rest], options);
    // deno-lint-ignore no-control-regex -- the colours of Deno's summary
    const plain = output.replaceAll(/\x1b\[[\d;]*m/g, "");
    const summary = plain.match(/^(?:ok|FAILED) \| (\d+) passed[^|]*\| (\d+) failed/m);
    const [passed, failed] = summary ? [Number(summary[1]), Number(summary[2])] : [0, 0];
    const ignored = Array.from(plain.matchAll(/^ *(.+) \.\.\. ignored/gm), ([, title]) => title);
    return { passed, failed: success ? failed : Math.max(failed, 1), ignored };
  });
}

/** A small part of `deno task chaos`. Each kind of fault counts as one test. */
function chaos(): Task {
  return task("tests/chaos", ["packages", "binary", "micro"], async () => {
    const { success, output } = await deno(["run", "-A", ...imports, "tests/chaos/chaos.ts", "--ci"]);
    const [, survived, others] = output.match(/^kinds of fault: (\d+) survived, (\d+) did not$/m) ?? [];
    return { passed: Number(survived ?? 0), failed: success ? 0 : Math.max(Number(others ?? 1), 1), ignored: [] };
  });
}

/** The documentation's examples, run with only the permissions that their functions state, in a writable directory. */
function examples(directory: string): Task {
  const allowed = ["--no-prompt", "--allow-read", "--allow-write", "--allow-env=DASHBOARD_PORT"];
  const notRun = NOT_RUN.map((path) => `${ROOT}lib/${path}`).join();
  const args = ["--doc", ...allowed, `--config=${ROOT}deno.json`, `--ignore=${notRun}`, `${ROOT}lib`];
  return tests("examples", args, [], { cwd: directory, env: { TMPDIR: directory, DASHBOARD_PORT: "" } });
}

/** The end-to-end tests, a task for each file, and their needs, which each file states in a line `// needs: …`. */
async function endToEnd(): Promise<Task[]> {
  const files: Task[] = [];
  const needed = new Set<string>(["micro"]);
  for await (const { name } of Deno.readDir(`${ROOT}tests/e2e`)) {
    if (!name.endsWith("_test.ts")) continue;
    const path = `tests/e2e/${name}`;
    const needs = (await Deno.readTextFile(ROOT + path)).match(/^\/\/ needs: (.+)$/m)?.[1].split(", ") ?? [];
    for (const each of needs) needed.add(each);
    files.push(tests(path, ["-A", path], ["packages", "binary", ...needs]));
  }
  const prepare = (what: string) =>
    task(what, ["packages", "binary"], async () => {
      const { success } = await deno(["run", "-A", ...imports, "tests/e2e/prepare.ts", what]);
      return { passed: 0, failed: Number(!success), ignored: [] };
    });
  const packages = task("packages", [], async () => {
    await install(TESTS);
    return { passed: 0, failed: 0, ignored: [] };
  });
  const made = [packages, ...[...needed].map(prepare), chaos(), ...files];
  if (!Deno.env.has("DENORT_BIN")) return made; // without it, a binary would need a download, so the sources are tested
  Deno.env.set("HOTBOOT_TEST_BINARY", `${ROOT}dist/hotboot`);
  return [check("binary", ["task", "build"]), ...made];
}

/** Prints where the time went, what was skipped, what failed, and the sum as the last line. */
function summarize(minutes: number, lanes: number): void {
  console.log("\nseconds  passed  failed  skipped");
  for (const { name, seconds, passed, failed, ignored } of outcomes.toSorted((a, b) => b.seconds - a.seconds)) {
    const numbers = [seconds.toFixed(), passed, failed, ignored.length];
    console.log(`${numbers.map((number, at) => `${number}`.padStart([7, 8, 8, 9][at])).join("")}  ${name}`);
  }
  const busy = outcomes.reduce((sum, { seconds }) => sum + seconds, 0) / 60;
  console.log(`\n${minutes.toFixed(1)} min for ${busy.toFixed(1)} min of work, lanes: ${lanes}`);
  const ignored = outcomes.flatMap(({ name, ignored }) => ignored.map((title) => `  ${title} (${name})`));
  console.log(`${ignored.length} skipped${ignored.length > 0 ? ":" : ""}`);
  for (const line of ignored) console.log(line);
  for (const failure of failures) console.log(`\nfailed: ${failure}`);
  const sum = (key: "passed" | "failed") => outcomes.reduce((total, outcome) => total + outcome[key], 0);
  console.log(`\n${sum("passed")} passed, ${sum("failed")} failed`);
}

const begin = performance.now();
const lanes = Math.min(navigator.hardwareConcurrency + MORE_LANES, MOST_LANES);
const directory = await Deno.makeTempDir({ prefix: "hotboot-tests-" });
const removeDirectory = () => Deno.removeSync(directory, { recursive: true });
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(signal, () => {
    for (const child of children) child.kill(signal);
    removeDirectory();
    Deno.exit(130);
  });
}
Deno.env.set("HOTBOOT_TEST_RUN", directory);
try {
  await Deno.mkdir(FIGURES, { recursive: true });
  await Deno.mkdir(`${directory}/examples`);
  await inLanes([
    check("formatting", ["fmt", "--check"]),
    check("lint", ["lint"]),
    check("types", ["check", "--doc", ...imports, "."]), // all of them, including the documentation's examples
    check("documentation", ["doc", "--lint", ...imports, "mod.ts", "testing.ts"]),
    examples(`${directory}/examples`),
    tests("tests/unit", ["-A", "tests/unit"], ["packages"]),
    ...unitOnly ? [] : await endToEnd(),
  ], lanes);
} finally {
  removeDirectory();
}
for (const { name, seconds } of outcomes) known[name] = Math.round(seconds);
await Deno.writeTextFile(SECONDS, JSON.stringify(known, null, 2) + "\n");
summarize((performance.now() - begin) / 60_000, lanes);
Deno.exit(outcomes.some(({ failed }) => failed > 0) ? 1 : 0);
