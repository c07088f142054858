/** Completions for zsh. */

import { shellCommand } from "../../base/shell.ts";
import type { Completion } from "../commands/command.ts";
import type { Offer, OfferedCommand, OfferedName } from "./offer.ts";

/** The script that zsh is to read: from a directory of `fpath` as `_hotboot`, or by `source`. */
export function zshScript({ verbs, subcommands, commands }: Offer): string {
  const list = (names: OfferedName[]) =>
    names.map(({ name, summary }) => word(`${name}:${summary.replaceAll(":", "\\:")}`)).join(" ");
  return `#compdef hotboot
# hotboot's completions for zsh. Source: hotboot completions zsh

# Names that hotboot knows, for the emulator that the line names.
_hotboot_names() {
  local at
  local -a emulator names
  for ((at = 2; at < $#all; at++)); do
    case $all[at] in
      (--profile|--home|--arch) emulator+=($all[at] \${\${(Q)all[at+1]}/#\\~\\//$HOME/}) ;;
      (--profile=*|--home=*|--arch=*) emulator+=(\${(Q)all[at]}) ;;
    esac
  done
  names=(\${(f)"$(hotboot completions list $@[-1] $emulator 2>/dev/null </dev/null)"})
  compadd "\${@[1,-2]}" -a names
}

# The words of a program, behind a --.
_hotboot_program() {
  [[ $words[1] == -- ]] && shift words && ((CURRENT--))
  _normal
}

_hotboot() {
  local curcontext=$curcontext context state line command=$words[2]
  local -a names all=($words)
  local -A opt_args
  if ((CURRENT == 2)); then
    names=(${list(verbs)})
    _describe -t commands 'hotboot command' names
    return
  fi
  shift words
  ((CURRENT--))
  case $command in
${
    [...subcommands].map(([verb, seconds]) =>
      `    (${verb})
      if ((CURRENT == 2)); then
        names=(${list(seconds)})
        _describe -t commands 'hotboot ${verb} command' names
        return
      fi
      command+=" $words[2]"
      shift words
      ((CURRENT--)) ;;`
    ).join("\n")
  }
  esac
  case $command in
${commands.map(argumentsOf).join("\n")}
  esac
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _hotboot "$@"
else
  compdef _hotboot hotboot
fi
`;
}

/** The options and operands, as zsh's \`_arguments\` takes them (zshcompsys(1)). */
function argumentsOf({ name, flags, operands }: OfferedCommand): string {
  const specs = flags.flatMap(({ flag, offer }) => {
    const text = `[${escaped(flag.summary)}]`;
    const value = flag.value ? `:${escaped(flag.value)}:${action(offer)}` : "";
    const many = flag.repeats ? "*" : "";
    const equals = flag.value ? "=" : "";
    return [
      word(`${many}--${flag.name}${equals}${text}${value}`),
      ...flag.short ? [word(`${many}-${flag.short}${text}${value}`)] : [],
    ];
  });
  if (operands.includes("programs")) specs.push("'(-)*::program:_hotboot_program'");
  else if (operands.length > 0) specs.push(word(`*: :${action(operands)}`));
  return `    ('${name}')\n      _arguments -s -S : \\\n${specs.map((spec) => `        ${spec}`).join(" \\\n")} ;;`;
}

/** What completes a word; a space stands for nothing. */
function action(offer: Completion[]): string {
  if (offer.length === 0) return " ";
  const each = offer.map((one) => {
    if (typeof one !== "string") return `(${one.join(" ")})`;
    if (one === "files") return "_files";
    if (one === "directories") return "_files -/";
    return `_hotboot_names ${one}`;
  });
  if (each.length === 1) return each[0];
  return `{ ${each.map((one) => one.replace(/^\((.*)\)$/, "compadd -- $1")).join("; ")} }`;
}

function escaped(text: string): string {
  return text.replaceAll(/[\\[\]:]/g, "\\$&");
}

function word(text: string): string {
  return shellCommand([text]);
}
