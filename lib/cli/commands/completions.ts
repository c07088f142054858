import { print, printJson } from "../ui/console.ts";
import { type Command, type CommandContext, type CommandGroup, UsageError } from "./command.ts";
import type { Offer } from "../completions/offer.ts";

export const command: CommandGroup = {
  about: "Print what makes a shell complete hotboot's commands, options, profiles, instances and snapshots.",
  commands: {
    bash: script("bash", "Put the example's line into ~/.bashrc.", [
      'eval "$(hotboot completions bash)"',
    ], async (offer) => (await import("../completions/bash.ts")).bashScript(offer)),
    zsh: script("zsh", "Put the example's line into ~/.zshrc, below 'compinit'.", [
      'eval "$(hotboot completions zsh)"',
    ], async (offer) => (await import("../completions/zsh.ts")).zshScript(offer)),
    fish: script("fish", "Type the example's line once.", [
      "hotboot completions fish > ~/.config/fish/completions/hotboot.fish",
    ], async (offer) => (await import("../completions/fish.ts")).fishScript(offer)),
    list: {
      hidden: true,
      trust: "looks",
      operands: "KIND",
      about: "Print names for the shells' completions, one a line: instances, snapshots, checkpoints or sources.",
      examples: ["hotboot completions list instances"],
      flags: [],
      run: list,
    },
  },
};

/** The command that prints a shell's script, which is the same wherever it is called. */
function script(
  shell: string,
  how: string,
  examples: string[],
  write: (offer: Offer) => Promise<string>,
): Command {
  return {
    standalone: true,
    about: `Print the completions for ${shell}. ${how} They ask hotboot for the names of instances and snapshots.`,
    examples,
    flags: [],
    async run({ args, allCommands }) {
      const { offerAll } = await import("../completions/offer.ts");
      const text = await write(offerAll(await allCommands()));
      if (args.switches.has("json")) return await printJson({ shell, script: text });
      await print(text.trimEnd());
    },
  };
}

/** All valid names are such. A shell puts them into a line, where it would expand others. */
const SAFE = /^[\w.-]+$/;

async function list(context: CommandContext): Promise<void> {
  const { NAMED } = await import("../completions/offer.ts");
  const { args: { operands: [text, ...more], switches } } = context;
  if (text === undefined || more.length > 0) {
    throw new UsageError("completions list takes one KIND: see 'hotboot completions list --help'");
  }
  const kind = NAMED.find((each) => each === text);
  if (kind === undefined) throw new UsageError(`completions list takes one of ${NAMED.join(", ")}, not '${text}'`);
  const names = (await namesOf(kind, context)).filter((name) => SAFE.test(name));
  if (switches.has("json")) return await printJson(names);
  if (names.length > 0) await print(names.join("\n"));
}

async function namesOf(kind: string, context: CommandContext): Promise<string[]> {
  const { emulatorOf } = await import("./context.ts");
  const emulator = await emulatorOf(context);
  const names: string[] = [];
  if (kind === "instances" || kind === "sources") {
    names.push(...await (await import("../../instance/users.ts")).instanceNames(emulator));
  }
  if (kind !== "instances") {
    const { checkpointsOf } = await import("../../instance/checkpoints.ts");
    names.push(...(await checkpointsOf(emulator)).map(({ manifest: { id, checkpoint: { name } } }) => name ?? id));
  }
  if (kind === "snapshots") {
    const [{ snapshotIds }, { imageKey }] = await Promise.all([
      import("../../snapshot/store.ts"),
      import("../../instance/emulator.ts"),
    ]);
    names.push(...(await snapshotIds(emulator.home.snapshots(imageKey(emulator)))).toReversed());
  }
  return names;
}
