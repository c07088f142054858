// needs: demo

import { assert, assertEquals, assertMatch } from "@std/assert";
import { shellCommand } from "../../lib/base/shell.ts";
import { GuestHome } from "./guest_home.ts";
import { HOTBOOT } from "./program.ts";
import { qemuEnv } from "./qemu.ts";
import { until } from "./pace.ts";

/** A host's terminal of 31 rows and 91 columns, on which hotboot runs between two looks at the terminal's settings. */
class Terminal {
  /** All that is on the screen. */
  screen = "";
  readonly child: Deno.ChildProcess;
  #writer: WritableStreamDefaultWriter<Uint8Array>;
  #shown: Promise<void>;

  constructor(home: GuestHome, verb: string, ...args: string[]) {
    const line = [
      "stty rows 31 cols 91; tty; stty -g; echo $$",
      shellCommand([...HOTBOOT, ...home.arguments(verb, ...args)]),
      'echo "code $?"; stty -g',
    ].join("; ");
    this.child = new Deno.Command("script", {
      args: ["--quiet", "--return", "--echo", "never", "--command", line, "/dev/null"],
      env: {
        ...home.qemu.includes("/") && qemuEnv(home.qemu),
        TERM: "xterm-256color",
        NO_COLOR: "1",
        SHELL: "/bin/sh",
      },
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    this.#writer = this.child.stdin.getWriter();
    this.#shown = this.child.stdout.pipeThrough(new TextDecoderStream()).pipeTo(
      new WritableStream({ write: (text) => void (this.screen += text) }),
    );
  }

  async type(text: string): Promise<void> {
    await this.#writer.write(new TextEncoder().encode(text));
  }

  async shows(what: RegExp): Promise<void> {
    await until(() => Promise.resolve(what.test(this.screen)), `${what} on the screen`);
  }

  /** Waits for the end of it all; hotboot has left the terminal as it was. */
  async ended(): Promise<void> {
    await this.shows(/code \d+\r\n\S+\r\n/);
    await this.#writer.close();
    await this.#shown;
    await this.child.status;
    const [, before] = this.screen.match(/^\S+\r\n(\S+)\r\n/)!;
    const [, after] = this.screen.match(/code \d+\r\n(\S+)\r\n$/)!;
    assertEquals(after, before);
  }
}

Deno.test("a terminal in the guest", async (t) => {
  await using demo = await GuestHome.started({ guest: "demo" });
  /** Whether a program with these arguments runs in the guest: not a shell whose script names it. */
  const runs = async (args: string) =>
    (await demo.exec("sh", "-c", "for each in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$each; echo; done"))
      .split("\n").includes(`${args} `);

  await t.step("shell: the login shell, sizes, Ctrl-C, the exit code", async () => {
    const terminal = new Terminal(demo, "shell");
    await terminal.shows(/root@demo:~# /);
    await terminal.type("stty size; echo $TERM $HOME $SHELL; tty; shopt login_shell\r");
    await terminal.shows(/31 91\r+\nxterm-256color \/root \/bin\/bash\r+\n\/dev\/pts\/\d+\r+\nlogin_shell\s+on/);
    const [host] = terminal.screen.match(/^\/dev\/pts\/\d+/)!;
    await new Deno.Command("stty", { args: ["-F", host, "rows", "44", "cols", "123"] }).output();
    await terminal.type(
      "trap 'echo is $(stty size)' WINCH; while [ \"$(stty size)\" != '44 123' ]; do sleep 0.1; done; stty size\r",
    );
    await terminal.shows(/\n[^\n]*44 123\r+\n/);
    await terminal.type("trap 'echo caught' INT; sleep 1000\r");
    await until(() => runs("sleep 1000"), "the program"); // before that, Ctrl-C would be for the shell itself
    await terminal.type("\x03");
    await terminal.shows(/\^C/);
    await terminal.type("echo be''gun\r");
    await terminal.shows(/begun/);
    assert(!await runs("sleep 1000"));
    await terminal.type("exit 5\r");
    await terminal.ended();
    assertMatch(terminal.screen, /code 5\r\n/);
  });

  await t.step("exec -it: a line feed of a program in raw mode stays in its column", async () => {
    const terminal = new Terminal(
      demo,
      "exec",
      "-it",
      "--",
      "sh",
      "-c",
      "stty raw; printf 'ab\\ncd\\r\\n'; stty sane; echo now; cat",
    );
    await terminal.shows(/ab\vcd\r+\nnow/);
    await terminal.type("typed\r");
    await terminal.shows(/typed\r+\ntyped\r+\n/); // the echo, and the answer
    await terminal.type("\x04");
    await terminal.ended();
    assertMatch(terminal.screen, /code 0\r\n/);
  });

  await t.step("an interrupted hotboot leaves the terminal as it was, and ends the program", async () => {
    const terminal = new Terminal(demo, "exec", "-it", "--", "sh", "-c", "echo begun; sleep 1001");
    await terminal.shows(/begun/);
    const [, shell] = terminal.screen.match(/\n(\d+)\r\n/)!;
    const children = await Deno.readTextFile(`/proc/${shell}/task/${shell}/children`);
    Deno.kill(Number(children.trim().split(" ").at(-1)), "SIGTERM");
    await terminal.ended();
    assertMatch(terminal.screen, /hotboot: interrupted\r+\ncode 130\r\n/);
    await until(async () => !await runs("sleep 1001"), "the program's end");
  });

  await t.step("'stop' ends it, and the terminal is as it was", async () => {
    const terminal = new Terminal(demo, "shell");
    await terminal.shows(/root@demo:~# /);
    await demo.succeed("stop");
    await terminal.ended();
    assertMatch(terminal.screen, /hotboot: [^\n]*(is being stopped|it is suspended)[^\n]*\ncode 1\r\n/);
    assertEquals((await demo.start("--no-fallback")).origin, "continue");
  });

  await t.step("-u runs it as another user, in that user's home's variables", async () => {
    const script = "id -un; id -gn; echo $HOME";
    assertEquals(
      await demo.succeed("exec", ["-u", "postgres", "--", "sh", "-c", script]),
      "postgres\npostgres\n/var/lib/postgresql\n",
    );
  });
});
