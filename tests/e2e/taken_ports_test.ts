/** No new secret reaches a program that has taken the port of a service. */
// needs: micro, qemu

import { assert, assertEquals, assertMatch } from "@std/assert";
import { exists } from "@std/fs/exists";
import type { GuestHome } from "./guest_home.ts";
import { assertCode } from "./program.ts";
import { until } from "./pace.ts";
import { sleep } from "../../lib/base/wait.ts";
import { ROTATE, secretMicro } from "./secret_micro.ts";

/** In Perl, which every Debian has: binds a port, and listens on it at the first line of input. Prints how either went. */
const BIND = `
  use Socket;
  $| = 1;
  socket(my $s, PF_INET, SOCK_STREAM, 0);
  setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1) if $ARGV[1];
  print bind($s, pack_sockaddr_in($ARGV[0], INADDR_LOOPBACK)) ? "bound\\n" : "bind: $!\\n";
  <STDIN>;
  print listen($s, 5) ? "listens\\n" : "listen: $!\\n";
`;

/** A program that has bound the port and does not listen on it, until it is told to. */
class Bound implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #output: ReadableStreamDefaultReader<Uint8Array>;

  constructor(port: number, shares: boolean) {
    this.#child = new Deno.Command("perl", {
      args: ["-e", BIND, String(port), shares ? "1" : ""],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    this.#output = this.#child.stdout.getReader();
  }

  /** Its next line, which it writes at once. */
  async says(): Promise<string> {
    return new TextDecoder().decode((await this.#output.read()).value).trim();
  }

  /** How it goes. */
  async listen(): Promise<string> {
    const input = this.#child.stdin.getWriter();
    await input.write(new TextEncoder().encode("\n"));
    await input.close();
    return await this.says();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#output.cancel();
    await this.#child.stdin.close().catch(() => {}); // it may be closed already
    await this.#child.status;
  }
}

/** Binds it for itself alone, which Linux allows a minute after the last connection of the capture's (tcp(7), TIME_WAIT). */
async function boundAlone(port: number): Promise<Bound> {
  for (let left = 120; left > 0; left--) {
    const other = new Bound(port, false);
    if (await other.says() === "bound") return other;
    await other[Symbol.asyncDispose]();
    await sleep(1000);
  }
  throw new Error(`port ${port} stays in use`);
}

async function tokenOf(micro: GuestHome): Promise<string> {
  return JSON.parse(await micro.succeed("credentials", ["--json"])).TOKEN;
}

Deno.test("a port that another program has bound, and does not listen on, is not used", async () => {
  await using micro = await secretMicro(ROTATE, undefined, { captured: true });
  await using _other = await boundAlone(micro.port);
  const run = await micro.run("start", ["--no-fallback"]);
  assertCode(run, 1);
  assertMatch(run.stderr, /port \d+ \('web'\) is taken by another program/);
});

Deno.test("a program that has bound a port, and would share it, cannot listen on it while QEMU does", async () => {
  await using micro = await secretMicro(ROTATE, undefined, { captured: true });
  await using other = new Bound(micro.port, true);
  assertEquals(await other.says(), "bound");
  const run = await micro.run("start", ["--no-fallback", "--verbose"]);
  assertCode(run, 0);
  assertMatch(run.stderr, /proven: the token is served/);
  assertEquals(await other.listen(), "listen: Address already in use");
  const answer = await fetch(`http://127.0.0.1:${micro.port}/token`);
  assertEquals((await answer.text()).trim(), await tokenOf(micro)); // the guest's own
});

Deno.test("a program that takes a port between the check and QEMU's start gets no request", async () => {
  await using micro = await secretMicro(ROTATE, undefined, { captured: true });
  const [begins, goesOn] = [`${micro.directory}/begins`, `${micro.directory}/goes-on`];
  const env = await micro.wrappedQemu((qemu) =>
    `case "$*" in *hostfwd*) : >${begins}; until [ -e ${goesOn} ]; do sleep 0.05; done;; esac\nexec ${qemu} "$@"`
  );
  const starting = micro.run("start", [], { env });
  await until(() => exists(begins), "QEMU's start");
  const seen: string[] = [];
  await using _other = Deno.serve({ hostname: "127.0.0.1", port: micro.port, onListen: () => {} }, async (request) => {
    seen.push(`${request.method} ${request.url} ${JSON.stringify([...request.headers])} ${await request.text()}`);
    return new Response("[]");
  });
  await Deno.writeTextFile(goesOn, "");
  const run = await starting;
  assertCode(run, 1);
  assertMatch(run.stderr, /Could not set up host forwarding rule|is taken by another program/);
  assertEquals(seen, []);
  assert(!await exists(`${micro.instance}/credentials.json`));
});
