/** What the real shells offer, once they have read what `hotboot completions` prints. */

import { assertEquals } from "@std/assert";
import { shellCommand } from "../../lib/base/shell.ts";
import { HOST_ARCH } from "../../lib/vm/arch.ts";
import { HOTBOOT, hotboot } from "./program.ts";
import { until } from "./pace.ts";

const SNAPSHOTS = ["20260101T000000Z-aaaa", "20260202T000000Z-bbbb"];

/** A user's directory, with `hotboot` on `PATH` and a home in which there is something to name. */
class User implements Disposable {
  readonly directory = Deno.makeTempDirSync({ prefix: "hotboot-shells-" });
  readonly home = `${this.directory}/home`;
  readonly env = {
    HOME: this.directory,
    HOTBOOT_HOME: this.home,
    PATH: `${this.directory}/bin:${Deno.env.get("PATH")}`,
    TERM: "xterm",
    ZDOTDIR: this.directory,
    INPUTRC: "/dev/null",
  };

  constructor() {
    const instances = ["review-1", "review-2", "$(touch expanded)"].map((name) => `home/instances/${name}`);
    const snapshots = SNAPSHOTS.map((id) => `home/snapshots/demo-${HOST_ARCH}/${id}`);
    for (const path of ["bin", "work/images", ...instances, ...snapshots]) {
      Deno.mkdirSync(`${this.directory}/${path}`, { recursive: true });
    }
    Deno.writeTextFileSync(`${this.directory}/bin/hotboot`, `#!/bin/sh\nexec ${shellCommand(HOTBOOT)} "$@"\n`, {
      mode: 0o755,
    });
    for (const name of ["mine.json", "seed.iso"]) Deno.writeTextFileSync(`${this.directory}/work/${name}`, "");
  }

  /** The script for a shell, in a file. */
  async script(shell: string): Promise<string> {
    const { code, stdout, stderr } = await hotboot(["completions", shell]);
    assertEquals([code, stderr], [0, ""]);
    const path = `${this.directory}/completions.${shell}`;
    await Deno.writeTextFile(path, stdout);
    return path;
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.directory, { recursive: true });
  }
}

/** Bash or zsh on a terminal. A key inserts all that the shell offers, and the line's words are written to a file. */
class TypingShell implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #seen: string;
  readonly #key: string;
  #count = 0;

  private constructor(user: User, command: string, key: string) {
    this.#seen = `${user.directory}/seen`;
    this.#key = key;
    this.#child = new Deno.Command("script", {
      args: ["--quiet", "--return", "--command", command, "/dev/null"],
      cwd: `${user.directory}/work`,
      env: { ...user.env, SHELL: "/bin/sh" },
      stdin: "piped",
      stdout: "null",
    }).spawn();
    this.#writer = this.#child.stdin.getWriter();
  }

  /** `words` prints the words after `hotboot`, unless the script itself asks for names. */
  static async open(user: User, shell: "bash" | "zsh", setup: string, key: string): Promise<TypingShell> {
    const words = `hotboot() {
      if [[ $1 == completions && $2 == list ]]; then command hotboot "$@"; return; fi
      printf '%s\\n' "$*" >>${user.directory}/seen
    }`;
    const script = await user.script(shell);
    const lines = [setup, `. ${script}`, words, `echo ready >>${user.directory}/seen`, ""].join("\n");
    await Deno.writeTextFile(`${user.directory}/.${shell}rc`, lines);
    const command = shell === "bash" ? `bash --noprofile --rcfile ${user.directory}/.bashrc -i` : "zsh -d -i";
    const opened = new TypingShell(user, command, key);
    await opened.#next();
    return opened;
  }

  /** The words of the line `hotboot …`, once the shell has put everything there that it offers. */
  async offers(line: string): Promise<string> {
    await this.#writer.write(new TextEncoder().encode(`hotboot ${line}${this.#key}\r`));
    return await this.#next();
  }

  async #next(): Promise<string> {
    const lines = async () => (await Deno.readTextFile(this.#seen).catch(() => "")).split("\n").slice(0, -1);
    await until(async () => (await lines()).length > this.#count, "the shell's words");
    return (await lines())[this.#count++].trimEnd();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer.write(new TextEncoder().encode("\x15exit\r"));
    await this.#writer.close();
    await this.#child.status;
  }
}

/** What each shell must offer for the line `hotboot …`: the words that it adds or completes. */
const OFFERED: [line: string, words: string[]][] = [
  ["sta", ["start", "status"]],
  ["snapshot re", ["rename"]],
  ["completions ", ["bash", "fish", "zsh"]],
  ["stop --sh", ["--shutdown"]],
  ["start --engine ", ["instant", "mapped-ram"]],
  ["status --output=e", ["--output=env"]],
  ["stop --profile demo --instance ", ["review-1", "review-2"]],
  ["status --profile d", ["demo"]],
  ["snapshot rm --profile demo 20260", SNAPSHOTS.toReversed()],
  ["fork --profile demo review-1", ["review-1"]],
  ["iso ls se", ["seed.iso"]],
  ["start --home im", ["images"]],
  ["permissions snapshot exp", ["export"]],
  ["run --fresh -- tou", ["touch"]],
  ["run --instance x -- tou", ["touch"]],
  ["stop --profile nonsense --instance ", []],
];

/** Checks each line, in which the last word is what is completed. */
async function assertOffered(offers: (line: string) => Promise<string>): Promise<void> {
  const seen: [string, string[]][] = [];
  for (const [line, expected] of OFFERED) {
    const before = line.split(" ").slice(0, -1);
    const words = (await offers(line)).split(" ").slice(before.length).filter((word) => word !== "")
      .map((word) => word.replace(/\/$/, "")); // zsh adds it when the user types on
    seen.push([line, expected.length === 1 ? words.slice(0, 1) : words.sort()]);
  }
  assertEquals(seen, OFFERED.map(([line, words]) => [line, words.toSorted()]));
}

Deno.test("completions: Bash", async () => {
  using user = new User();
  await using bash = await TypingShell.open(user, "bash", ". /usr/share/bash-completion/bash_completion", "\x1b*");
  await assertOffered((line) => bash.offers(line));
});

Deno.test("completions: zsh", async () => {
  using user = new User();
  const setup = `autoload -Uz compinit && compinit -D -u
zle -C all-matches complete-word _generic
bindkey '^Xa' all-matches
zstyle ':completion:all-matches:*' completer _all_matches _complete
zstyle ':completion:all-matches:*' insert yes`;
  await using zsh = await TypingShell.open(user, "zsh", setup, "\x18a");
  await assertOffered((line) => zsh.offers(line));
});

Deno.test("completions: fish", async () => {
  using user = new User();
  const script = await user.script("fish");
  await assertOffered(async (line) => {
    const { stdout, stderr } = await new Deno.Command("fish", {
      args: ["--no-config", "-c", `source ${script}; complete -C ${shellCommand([`hotboot ${line}`])}`],
      cwd: `${user.directory}/work`,
      env: user.env,
    }).output();
    assertEquals(new TextDecoder().decode(stderr), "");
    const found = new TextDecoder().decode(stdout).split("\n").map((each) => each.split("\t")[0]);
    return [...line.split(" ").slice(0, -1), ...found].join(" ");
  });
});
