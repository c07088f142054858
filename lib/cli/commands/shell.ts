import { type Command, UsageError } from "./command.ts";
import { execOnTerminal, RUN_FLAGS } from "./exec.ts";

/** Becomes the user's login shell, as the guest's list of users has it. */
const LOGIN = `entry=$(id -un 2>/dev/null || echo root)
entry=$(grep "^$entry:" /etc/passwd 2>/dev/null)
SHELL=\${entry##*:}
export SHELL="\${SHELL:-/bin/sh}"
$1 && cd 2>/dev/null
exec "$SHELL" -l`;

export const command: Command = {
  about:
    "Open a login shell in the guest, on a terminal, as root: 'hotboot exec -it' with the user's own shell. It ends with\n" +
    "'exit' or Ctrl-D, and hotboot exits with its exit code.",
  examples: [
    "hotboot shell",
    "hotboot shell -u postgres",
  ],
  flags: RUN_FLAGS,
  async run(context) {
    const { switches, values } = context.args;
    if (switches.has("json")) throw new UsageError("a shell has no result as JSON: leave out --json");
    const goesHome = values.workdir === undefined ? "true" : "false";
    return await execOnTerminal(context, ["/bin/sh", "-c", LOGIN, "sh", goesHome], true);
  },
};
