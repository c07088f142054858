import { quoted } from "../../base/printable.ts";
import { ask, canAsk } from "../ui/ask.ts";
import { print, printError, printJson } from "../ui/console.ts";
import { type Arguments, type Command, repository, UsageError, wholeNumber } from "./command.ts";

const HINT = "see 'hotboot init --help'";

export const command: Command = {
  standalone: true,
  about:
    "Write a commented hotboot.json for the project in this directory, and what its image is built with beside it, in\n" +
    "hotboot/. Asks on a terminal for what the options do not say. Replaces no file without --force.\n\n" +
    "The template postgres is PostgreSQL and one service, which a script installs; the script needs Debian or Ubuntu.\n\n" +
    "compose is docker compose in the guest, set up by cloud-init: this directory's compose.yaml, or an example.\n\n" +
    "release is an image that a GitHub repository publishes.",
  examples: [
    "hotboot init  # asks",
    "hotboot init --template compose",
    "hotboot init --template release --repo acme/shop --port 3000",
  ],
  flags: [
    {
      name: "template",
      value: "NAME",
      completes: ["postgres", "compose", "release"],
      summary: "postgres, compose or release",
    },
    { name: "name", value: "NAME", summary: "the profile's name (default: the directory's)" },
    { name: "force", summary: "replace files that are there" },
    { name: "base", value: "FILE", summary: "compose: the disk to build from, in this directory (default: Debian's)" },
    { name: "repo", value: "OWNER/NAME", summary: "release: the GitHub repository" },
    {
      name: "tag",
      value: "TAG",
      summary: "release: the release's tag; {branch} stands for a branch (default: latest)",
    },
    { name: "asset", value: "FILE", summary: "release: the disk's file name (default: NAME-{arch}.qcow2)" },
    { name: "port", value: "PORT", summary: "release: where the service listens in the guest (default: 8080)" },
  ],
  prepare: () => Promise.resolve(Deno.cwd()),
  async run({ args, signal, prepared }) {
    check(args);
    const { TEMPLATES } = await import("../init/templates.ts");
    const { writeFiles } = await import("../init/write.ts");
    const own = await composeFile();
    const { values, switches } = args;
    const template = values.template ?? await chooseTemplate(Object.keys(TEMPLATES), own !== undefined, signal);
    const isKnown = Object.hasOwn(TEMPLATES, template);
    if (!isKnown) throw new UsageError(`there is no template '${template}': use ${Object.keys(TEMPLATES).join(", ")}`);
    const name = values.name ?? await chooseName(usualName(prepared as string), values, signal);
    requireName(name);
    if (template === "release") values.repo ??= await chooseRepository(signal);
    const { files, notes } = await TEMPLATES[template].draft({ name, values, compose: own });
    await writeFiles(files, switches.has("force"));

    const next = ["hotboot profile validate", "hotboot start --trust", "hotboot run -- env"];
    if (switches.has("json")) return await printJson({ template, name, files: Object.keys(files), notes, next });
    await print(Object.keys(files).join("\n"));
    if (switches.has("quiet")) return;
    const said = notes.map((note) => `  - ${note}`);
    await printError([
      ...["", "To know:", ...said],
      "",
      "Next, when you have read them:",
      "  hotboot profile validate   # checks hotboot.json; do it after each change",
      `  hotboot start --trust      # ${
        template === "release" ? "pulls" : "builds"
      } the image, boots it once, captures it and resumes that`,
      "  hotboot run -- env         # runs your program with the addresses and secrets as variables",
    ].join("\n"));
  },
};

/** Checks what was given before anything is asked. */
function check(args: Arguments): void {
  const { values } = args;
  repository(args);
  const port = wholeNumber(args, "port");
  if (port !== undefined && (port < 1 || port > 65535)) {
    throw new UsageError(`--port takes a number from 1 to 65535, not ${values.port}`);
  }
  if (values.name !== undefined) requireName(values.name);
  const { base } = values;
  if (base !== undefined && (base.startsWith("/") || base.split("/").includes(".."))) {
    throw new UsageError(
      `--base takes a file in this directory, not '${base}': a trusted project has its files inside`,
    );
  }
}

function requireName(name: string): void {
  if (/^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$/.test(name)) return;
  throw new UsageError(`--name takes lower-case letters, digits and dashes, not ${quoted(`'${name}'`)}`);
}

/** The directory's name, as a profile may be called. */
function usualName(directory: string): string {
  const name = directory.split("/").at(-1)!.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-").slice(0, 40);
  return name.replaceAll(/^-+|-+$/g, "") || "app";
}

async function chooseTemplate(names: string[], hasCompose: boolean, signal: AbortSignal): Promise<string> {
  if (!canAsk()) throw new UsageError(`init needs --template (${names.join(", ")}) without a terminal: ${HINT}`);
  const usual = hasCompose ? "compose" : "postgres";
  return await ask(`Template, one of ${names.join(", ")} [${usual}]: `, signal) || usual;
}

async function chooseName(usual: string, { template }: Record<string, string>, signal: AbortSignal): Promise<string> {
  if (template !== undefined || !canAsk()) return usual;
  return await ask(`Name [${usual}]: `, signal) || usual;
}

async function chooseRepository(signal: AbortSignal): Promise<string> {
  if (!canAsk()) throw new UsageError(`the template release needs --repo OWNER/NAME: ${HINT}`);
  const repo = await ask("GitHub repository, as OWNER/NAME: ", signal);
  return repository({ values: { repo }, switches: new Set(), operands: [] })!;
}

/** The project's compose file, if it has one. */
async function composeFile(): Promise<{ path: string; text: string } | undefined> {
  const { COMPOSE_FILES } = await import("../init/places.ts");
  for (const path of COMPOSE_FILES) {
    try {
      if ((await Deno.stat(path)).isFile) return { path, text: await Deno.readTextFile(path) };
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}
