/** Completions for Bash, with or without the package bash-completion. */

import type { Completion } from "../commands/command.ts";
import type { Offer, OfferedName } from "./offer.ts";

/** The script that Bash is to read. */
export function bashScript({ verbs, subcommands, commands, flags }: Offer): string {
  const names = (list: OfferedName[]) => list.map(({ name }) => name).join(" ");
  const values = flags.filter(({ flag }) => flag.value).flatMap(({ flag, offer, commands }) => {
    const options = [`--${flag.name}`, ...flag.short ? [`-${flag.short}`] : []];
    const patterns = options.flatMap((option) => commands.map((name) => `'${name} ${option}'`));
    return [`    ${patterns.join("|")})`, ...indented(offer), "      return ;;"];
  });
  return `# hotboot's completions for Bash. Source: hotboot completions bash

# Names that hotboot knows, for the emulator that the line names.
_hotboot_list() {
  local at word emulator=()
  for ((at = 1; at < COMP_CWORD; at++)); do
    case \${COMP_WORDS[at]} in
      --profile|--home|--arch)
        word=\${COMP_WORDS[at + 1]}
        [[ $word == = ]] && word=\${COMP_WORDS[at + 2]}
        emulator+=("\${COMP_WORDS[at]}" "\${word/#\\~\\//$HOME/}") ;;
    esac
  done
  hotboot completions list "$1" "\${emulator[@]}" 2>/dev/null </dev/null
}

# Offers those of the lines that fit. Nothing in them is expanded.
_hotboot_words() {
  local each
  while IFS= read -r each; do
    [[ $each && $each == "$current"* ]] && COMPREPLY+=("$each")
  done <<<"$1"
}

_hotboot_files() {
  local IFS=$'\\n'
  compopt -o filenames 2>/dev/null
  COMPREPLY+=($(compgen "$1" -- "$current"))
}

_hotboot() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]}
  if [[ $current == = ]]; then
    current=
  elif [[ $previous == = ]]; then
    previous=\${COMP_WORDS[COMP_CWORD - 2]}
  fi
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    _hotboot_words $'${names(verbs).replaceAll(" ", "\\n")}'
    return
  fi
  local command=\${COMP_WORDS[1]} first=2
  case $command in
${
    [...subcommands].map(([verb, list]) =>
      `    ${verb})
      if ((COMP_CWORD == 2)); then
        _hotboot_words $'${names(list).replaceAll(" ", "\\n")}'
        return
      fi
      command+=" \${COMP_WORDS[2]}"
      first=3 ;;`
    ).join("\n")
  }
  esac
  local at isProgram=
  for ((at = first; at < COMP_CWORD; at++)); do
    [[ \${COMP_WORDS[at]} == -- ]] && isProgram=yes
  done
  [[ $isProgram ]] || case "$command $previous" in
${values.join("\n")}
  esac
  if [[ ! $isProgram && $current == -* ]]; then
    case $command in
${
    commands.map(({ name, flags }) =>
      `      '${name}') _hotboot_words $'${flags.map(({ flag }) => `--${flag.name}`).join("\\n")}' ;;`
    ).join("\n")
  }
    esac
    return
  fi
  case $command in
${
    commands.filter(({ operands }) => operands.length > 0).map(({ name, operands }) =>
      [`    '${name}')`, ...indented(operands), "      ;;"].join("\n")
    ).join("\n")
  }
  esac
}

complete -F _hotboot hotboot
`;
}

function indented(offer: Completion[]): string[] {
  return offer.map((each) => `      ${command(each)}`);
}

function command(offer: Completion): string {
  if (typeof offer !== "string") return `_hotboot_words $'${offer.join("\\n")}'`;
  if (offer === "files") return "_hotboot_files -f";
  if (offer === "directories") return "_hotboot_files -d";
  if (offer === "programs") return "_hotboot_files -c; _hotboot_files -f";
  return `_hotboot_words "$(_hotboot_list ${offer})"`;
}
