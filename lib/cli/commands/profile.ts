import type { Finding } from "../../profile/validate.ts";
import { print, printJson } from "../ui/console.ts";
import { resolveArch } from "../../vm/arch.ts";
import { type Command, type CommandContext, type CommandGroup, UsageError } from "./command.ts";

/** What `show` prints with `--json`. */
interface Shown {
  file: string;
  home: string;
  image: string;
  instance: string;
  profile: Record<string, unknown>;
}

/** What `validate` prints with `--json`. */
interface Validation {
  file: string;
  isValid: boolean;
  findings: Finding[];
}

const show: Command = {
  trust: "looks",
  about:
    "Show the profile as hotboot understands it: with its defaults, the environment's variables filled in, and absolute paths;\n" +
    "and where the image and the instance are. Secrets are in no profile. In place of a variable's value there is its name if\n" +
    "that looks like a secret's.",
  examples: ["hotboot profile show", "hotboot profile show --profile demo --json"],
  flags: [],
  async prepare({ values }) {
    const { findProfile } = await import("../../profile/find.ts");
    const { loadProfile } = await import("../../profile/load.ts");
    const { shownProfile } = await import("../../profile/shown.ts");
    const { readVariable } = await import("../../profile/variables.ts");
    const variables: Record<string, string> = {};
    const read = (name: string) => {
      const value = readVariable(name);
      if (value) variables[name] = value;
      return value;
    };
    const loaded = await loadProfile(values.profile ?? await findProfile(), read);
    const { openEmulator } = await import("../../instance/emulator.ts");
    const { imagePath } = await import("../../image/image.ts");
    const { home, instance, arch } = values;
    const emulator = await openEmulator({ profile: loaded, home, instance, arch: resolveArch(arch) });
    return {
      file: decodeURIComponent(loaded.url.pathname),
      home: emulator.home.root,
      image: imagePath(emulator, "disk"),
      instance: emulator.home.instance(emulator.instance),
      profile: shownProfile(loaded, decodeURIComponent(new URL(".", loaded.url).pathname), variables),
    } satisfies Shown;
  },
  async run({ prepared, args: { switches } }) {
    if (switches.has("json")) return await printJson(prepared);
    const { profile, ...where } = prepared as Shown;
    await print(Object.entries(where).map(([name, path]) => `${name.padEnd(9)} ${path}`).join("\n"));
    await printJson(profile);
  },
};

const validate: Command = {
  operands: "[FILE]",
  standalone: true,
  about:
    "Check a profile: FILE, or the nearest hotboot.json. Prints everything that is wrong with it, and warns of what is allowed\n" +
    "and unwise, as FILE:LINE:COLUMN: TEXT. The exit code is 1 if something is wrong; with --strict, also after a warning.",
  examples: ["hotboot profile validate", "hotboot profile validate --strict hotboot.json  # for CI"],
  flags: [{ name: "strict", summary: "treat warnings as mistakes" }],
  async prepare({ operands: [given, more] }): Promise<Validation> {
    if (more !== undefined) {
      throw new UsageError("profile validate takes one FILE: see 'hotboot profile validate --help'");
    }
    const { findProfile } = await import("../../profile/find.ts");
    const { readProfile } = await import("../../profile/load.ts");
    const { validateProfile } = await import("../../profile/validate.ts");
    const name = given ?? await findProfile();
    if (given === undefined && !name.endsWith(".json")) {
      const { HotbootError } = await import("../../base/error.ts");
      throw new HotbootError("there is no hotboot.json here or above: 'hotboot init' writes one, or name a FILE");
    }
    const { path, text } = await readProfile(name);
    const findings = await validateProfile(text, path);
    return { file: name, isValid: findings.every(({ isWarning }) => isWarning), findings };
  },
  async run({ prepared, args: { switches } }: CommandContext) {
    const { file, isValid, findings } = prepared as Validation;
    const isFine = switches.has("strict") ? findings.length === 0 : isValid;
    if (switches.has("json")) await printJson(prepared);
    else {
      for (const { line, column, isWarning, text } of findings) {
        await print(`${file}:${line}:${column}: ${isWarning ? "warning: " : ""}${text}`);
      }
      if (isFine && !switches.has("quiet")) {
        await print(`${file}: ${findings.length > 0 ? "valid, with warnings" : "valid"}`);
      }
    }
    return isFine ? 0 : 1;
  },
};

/** The verb. */
export const command: CommandGroup = {
  about: "Show or check a profile: what 'hotboot start' uses.",
  commands: { show, validate },
};
