/** Completions for fish. */

import type { Completion } from "../commands/command.ts";
import type { Offer } from "./offer.ts";

/** The script that fish is to read. */
export function fishScript({ verbs, subcommands, commands, flags }: Offer): string {
  const lines = [
    ...verbs.map(({ name, summary }) =>
      `complete -c hotboot -n '__hotboot_is_at ""' -xa ${word(name)} -d ${word(summary)}`
    ),
    ...[...subcommands].flatMap(([verb, list]) =>
      list.map(({ name, summary }) =>
        `complete -c hotboot -n '__hotboot_is_at ${verb}' -xa ${word(name)} -d ${word(summary)}`
      )
    ),
    ...flags.map(({ flag, offer, commands }) => {
      const short = flag.short ? ` -s ${flag.short}` : "";
      const value = flag.value ? ` -r${action(offer)}` : "";
      return `complete -c hotboot -n ${at(commands)} -l ${flag.name}${short}${value} -d ${word(flag.summary)}`;
    }),
    ...commands.flatMap(({ name, operands }) =>
      operands.length > 0 ? [`complete -c hotboot -n ${at([name])}${action(operands)}`] : []
    ),
  ];
  return `# hotboot's completions for fish. Source: hotboot completions fish

# Whether the line so far is one of these commands; an empty one stands for a line without a command.
function __hotboot_is_at
    set -l words (commandline -opc)
    set -e words[1]
    set -l command
    set -q words[1]; and set command $words[1]
    if contains -- "$command" ${[...subcommands.keys()].join(" ")}; and set -q words[2]
        set command "$command $words[2]"
    end
    contains -- "$command" $argv
end

# Names that hotboot knows, for the emulator that the line names.
function __hotboot_names
    set -l words (commandline -opc)
    set -l emulator
    for at in (seq 2 (count $words))
        switch $words[$at]
            case --profile --home --arch
                set -q words[(math $at + 1)]; and set -a emulator $words[$at] (string replace -r '^~/' "$HOME/" -- $words[(math $at + 1)])
            case '--profile=*' '--home=*' '--arch=*'
                set -a emulator $words[$at]
        end
    end
    hotboot completions list $argv[1] $emulator 2>/dev/null </dev/null
end

# What fish offers for a program's own line, behind a --.
function __hotboot_program
    set -l words (commandline -opc)
    set -l at (contains -i -- -- $words); or return
    set -e words[1..$at]
    complete -C (string join ' ' -- (string escape -- $words) (commandline -ct))
end

complete -c hotboot -f
${lines.join("\n")}
`;
}

/** The condition that the line has one of these commands. */
function at(commands: string[]): string {
  return word(`__hotboot_is_at ${commands.map((name) => name.includes(" ") ? `"${name}"` : name).join(" ")}`);
}

/** The options of `complete` for what is offered. */
function action(offer: Completion[]): string {
  const isFile = (one: Completion) => one === "files" || one === "programs";
  const words = offer.flatMap((one) => {
    if (typeof one !== "string") return one;
    if (one === "directories") return "(__fish_complete_directories)";
    if (one === "programs") return "(__hotboot_program)";
    return one === "files" ? [] : `(__hotboot_names ${one})`;
  });
  const files = offer.some(isFile) ? " -F" : " -f";
  return files + (words.length > 0 ? ` -a ${word(words.join(" "))}` : "");
}

/** fish knows two escapes in single quotes. */
function word(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
