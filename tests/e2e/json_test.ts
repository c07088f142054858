// needs: micro

/** What each command prints with `--json` is what its schema in docs/json says. */

import { assert, assertEquals } from "@std/assert";
import { type Schema, Validator } from "@cfworker/json-schema";
import { fromFileUrl } from "@std/path/from-file-url";
import { toText } from "@std/streams/to-text";
import { allCommands } from "../../lib/cli/commands/verbs.ts";
import { GuestHome, PROFILES } from "./guest_home.ts";
import { hotboot, type Run, textReader } from "./program.ts";
import { ARCH, CACHE } from "./qemu.ts";
import { until } from "./pace.ts";
import { disk, MIB, PullHome } from "./pull_home.ts";
import { RegistryServer } from "./registry_server.ts";
import { withDirectory } from "../unit/temporary.ts";
import { ROTATE, secretMicro } from "./secret_micro.ts";

const SCHEMAS = fromFileUrl(new URL("../../docs/json/", import.meta.url));
/** Commands that have no result as JSON, and say so. */
const WITHOUT = ["shell"];

const read = async (name: string): Promise<Schema> =>
  JSON.parse(await Deno.readTextFile(`${SCHEMAS}${name.replace(" ", "-")}.schema.json`));
const common = await read("common");
const checked = new Set<string>();
/** What did not fit: all of it is told at once. */
const faults: string[] = [];

/** The output, which must be one JSON value that fits the schema of `name`. */
// deno-lint-ignore no-explicit-any
async function check(name: string, { code, stdout, stderr }: Run, expectedCode = 0): Promise<any> {
  checked.add(name);
  if (code !== expectedCode) faults.push(`${name}: exit code ${code}\n${stdout}${stderr}`);
  let value: unknown;
  try {
    value = JSON.parse(stdout);
  } catch (error) {
    faults.push(`${name}: ${error}\n${stdout}${stderr}`);
    return undefined;
  }
  const validator = new Validator(await read(name), "2020-12", false);
  validator.addSchema(common);
  const { valid, errors } = validator.validate(value);
  if (!valid) faults.push(`${name}: ${JSON.stringify(errors)}\n${stdout}`);
  return value;
}

const error = async (run: Run, code: number) => await check("error", run, code);

async function ofInstances(micro: GuestHome): Promise<void> {
  const run = async (name: string, ...args: string[]) =>
    await check(name, await micro.run(name, args[0] === "--" ? ["--json", ...args] : [...args, "--json"]));
  await run("capture");
  await run("start", "--no-fallback");
  await run("start"); // it runs already
  await run("doctor");
  await run("timeline", "--all");
  const program = await micro.run("run", ["--json", "--", "sh", "-c", "echo mine; exit 3"]);
  assertEquals([program.code, program.stdout], [3, "mine\n"]);
  const { running } = await run("status");
  assertEquals(
    await micro.succeed("status", ["-o", "env"]),
    ["PROFILE=micro", "INSTANCE=micro", "STATE=running", `URL_WEB=${running?.urls.web}`, `PORT_WEB=${micro.port}`]
      .map((line) => `HOTBOOT_${line}\n`).join(""),
  );
  await run("wait");
  await run("list");
  await run("list", "--details");
  await run("credentials");
  await run("exec", "--", "sh", "-c", "echo out; echo err >&2");
  await micro.exec("sh", "-c", "echo one >/dev/ttyS0; echo two >/dev/ttyS0");
  let lines: string[] = [];
  await until(async () => {
    lines = (await micro.succeed("logs", ["--json"])).trimEnd().split("\n");
    return lines.length >= 2;
  }, "two lines on the console");
  for (const line of lines) await check("logs", { code: 0, stdout: line, stderr: "" });
  await run("spare");
  await run("permissions");
  await run("snapshot save", "moment");
  await run("fork", "moment", "second");
  assertEquals((await run("completions list", "instances"))?.toSorted(), ["micro", "second"]);
  assertEquals(await run("completions list", "checkpoints"), ["moment"]);
  await run("snapshot rename", "moment", "later");
  await run("snapshot ls");
  await run("restart", "--discard");
  await run("stop");
  await run("timeline", "--run", "1", "--run", "2", "--compare");
  await run("stop"); // it does not run
  await run("stop", "--all");
  await check("status", await micro.run("status", ["-o", "json"]), 1);
  await run("list");
  await run("reset", "--instance", "second");
  await run("snapshot verify");
  const archive = `${micro.directory}/exported`;
  await run("snapshot export", archive);
  await run("snapshot import", archive);
  await run("snapshot prune", "--dry-run");
  await run("snapshot rm", "later");
}

/** A page that is served until the command is interrupted. */
async function ofPage(micro: GuestHome): Promise<void> {
  const child = micro.spawn("ui", "--json");
  const reader = textReader(child.stdout);
  let stdout = "";
  while (!stdout.includes("}")) stdout += (await reader.read()).value ?? assert(false, stdout);
  child.kill("SIGINT");
  await reader.cancel();
  const stderr = await toText(child.stderr);
  await child.status;
  await check("ui", { code: 0, stdout, stderr });
}

/** An instance that lives as long as its standard input. */
async function ofFresh(micro: GuestHome): Promise<void> {
  const child = micro.spawnWith({ openStdin: true }, "run", "--fresh", "--json");
  const reader = textReader(child.stdout);
  const errors = toText(child.stderr);
  let stdout = "";
  while (!stdout.includes("\n")) stdout += (await reader.read()).value ?? assert(false, await errors);
  await child.stdin.close();
  const { code } = await child.status;
  await reader.cancel();
  await check("run", { code, stdout, stderr: await errors });
}

async function ofFiles(directory: string): Promise<void> {
  const iso = `${directory}/tree.iso`;
  await Deno.mkdir(`${directory}/tree/below`, { recursive: true });
  await Deno.symlink("below", `${directory}/tree/link`);
  await check("iso create", await hotboot(["iso", "create", "--json", "-o", iso, `${directory}/tree`]));
  await check("iso ls", await hotboot(["iso", "ls", "--json", iso]));
  await check("iso extract", await hotboot(["iso", "extract", "--json", iso, `${directory}/out`]));
  for (const shell of ["bash", "zsh", "fish"]) {
    await check(`completions ${shell}`, await hotboot(["completions", shell, "--json"]));
  }
  const project = `${directory}/project`;
  await Deno.mkdir(project);
  const profile = JSON.parse(await Deno.readTextFile(PROFILES.micro));
  const image = { build: { script: "build.sh", inputs: ["build.sh"] } };
  await Deno.writeTextFile(`${project}/hotboot.json`, JSON.stringify({ ...profile, image }));
  await Deno.writeTextFile(`${project}/build.sh`, "");
  const options = { cwd: project, env: { XDG_CONFIG_HOME: `${directory}/config` } };
  await check("trust", await hotboot(["trust", "--json"], options));
  await check("trust", await hotboot(["trust", "--remove", "--json"], options));
  await check("profile show", await hotboot(["profile", "show", "--json"], options));
  await check("profile validate", await hotboot(["profile", "validate", "--json"], options));
  await Deno.writeTextFile(`${project}/wrong.json`, "{}");
  await check("profile validate", await hotboot(["profile", "validate", "--json", "wrong.json"], options), 1);
  const init = ["init", "--json", "--template", "postgres", "--force"];
  await check("init", await hotboot(init, options));
}

async function ofImages(): Promise<void> {
  const home = ["--home", CACHE, "--profile", PROFILES.micro, "--arch", ARCH];
  await check("build", await hotboot(["build", "--json", ...home]));
  await using pull = await PullHome.make();
  pull.github.release("emulator-dev-latest", [{ name: `emulator-${ARCH}.qcow2`, bytes: disk(MIB, 1) }]);
  await check("list-releases", await pull.run("list-releases", "--json"));
  await check("pull", await pull.pull("--json"));
}

async function ofErrors(micro: GuestHome): Promise<void> {
  assertEquals(await error(await hotboot(["list", "--lsit", "--json"]), 2), {
    error: "list has no option --lsit: see 'hotboot list --help'",
    exitCode: 2,
  });
  await error(await hotboot(["strat", "--json"]), 2);
  await error(await hotboot(["list", "--profile", "dmo", "--json"]), 1);
  await error(await hotboot(["status", "--profile", "dmo", "-o", "json"]), 1);
  const stopped = await error(await micro.run("exec", ["--json", "--instance", "secnd", "--", "true"]), 1);
  assert(stopped.error.includes("does not run"), stopped.error);
  for (const name of WITHOUT) await error(await micro.run(name, ["--json"]), 2);
}

Deno.test("json: commands on files, projects and shells", () => withoutFaults(() => withDirectory(ofFiles)));

async function ofRegistries(): Promise<void> {
  await using registry = await RegistryServer.start();
  const oci = `oci://${registry.host}/team/micro:main`;
  await using guest = await GuestHome.make({ change: (profile) => profile.image = { oci } });
  // Its kernel, which is most of the image, is not needed here.
  const record = `${guest.home}/images/micro-${ARCH}.json`;
  const { files: { kernel: _kernel, ...rest }, ...fields } = JSON.parse(await Deno.readTextFile(record));
  await Deno.writeTextFile(record, JSON.stringify({ ...fields, files: rest }));
  await Deno.remove(record.replace(/json$/, "kernel"));
  const { digest } = await check("push", await guest.run("push", ["--json"]));
  await check("export kubevirt", await guest.run("export kubevirt", ["--json", "--image", `${oci}@${digest}`]));
  const released = `${guest.directory}/released.json`;
  const profile = JSON.parse(await Deno.readTextFile(guest.profile));
  const assets = { disk: "d", initrd: "i" };
  profile.image = { release: { repository: "acme/micro", tag: "v1", assets } };
  await Deno.writeTextFile(released, JSON.stringify(profile));
  const written = ["--assets", `${guest.directory}/assets`, "--home", guest.home, "--profile", released];
  await check("push", await hotboot(["push", "--json", ...written]));
  const other = ["--home", `${guest.directory}/other`, "--profile", guest.profile];
  await check("pull", await hotboot(["pull", "--json", "--skip-snapshot", ...other]));
}

Deno.test("json: commands on images", () => withoutFaults(ofImages));

Deno.test("json: commands on images in registries", () => withoutFaults(ofRegistries));

Deno.test("json: commands on instances and snapshots, and errors", () =>
  withoutFaults(async () => {
    await using micro = await secretMicro(ROTATE, () => {}, { captured: true });
    await ofErrors(micro);
    await ofInstances(micro);
    await ofFresh(micro);
    await ofPage(micro);
  }));

Deno.test("json: the tests above have compared each command with its schema, and there are no others", async () => {
  const names = (await allCommands()).map(({ name }) => name).filter((name) => !WITHOUT.includes(name));
  assertEquals([...checked].sort(), ["error", ...names].sort());
  const files = Array.from(Deno.readDirSync(SCHEMAS), ({ name }) => name.replace(".schema.json", ""));
  assertEquals(files.sort(), ["common", "error", ...names.map((name) => name.replace(" ", "-"))].sort());
});

async function withoutFaults(work: () => Promise<void>): Promise<void> {
  await work().catch((error) => faults.push(error.stack));
  assertEquals(faults.splice(0), []);
}
