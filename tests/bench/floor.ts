/**
 * The floor for a resume: QEMU, its device state, `cont` and the first healthy answer, without any of hotboot's
 * code in between.
 */

import { sleep } from "../../lib/base/wait.ts";

/** A resume to repeat: how hotboot ran QEMU, and what it fed to it. */
export interface Floor {
  program: string;
  args: string[];
  monitor: string;
  /** A free path for the device state's socket. */
  migration: string;
  state: Uint8Array;
  healthUrl: string;
}

/** A QEMU that is not healthy after this time is ended. */
const LIMIT_MS = 60_000;

/** Resumes, and returns the seconds until the first healthy answer. QEMU has ended by then. */
export async function resumeBarely(floor: Floor): Promise<number> {
  const begin = performance.now();
  const qemu = new Deno.Command(floor.program, { args: floor.args, stdout: "null", stderr: "inherit" }).spawn();
  const kill = () => {
    try {
      qemu.kill("SIGKILL");
    } catch {
      // it has ended already
    }
  };
  const limit = setTimeout(kill, LIMIT_MS);
  const over = new AbortController();
  const { signal } = over;
  const ended = qemu.status.then(({ code }) => over.abort(new Error(`bare QEMU ended too soon, with code ${code}`)));
  try {
    using monitor = await connect(floor.monitor, signal);
    const messages = read(monitor);
    await monitor.write(new TextEncoder().encode(
      [
        { execute: "qmp_capabilities" },
        {
          execute: "migrate-set-capabilities",
          arguments: { capabilities: ["x-ignore-shared", "events"].map((capability) => ({ capability, state: true })) },
        },
        { execute: "migrate-incoming", arguments: { uri: `unix:${floor.migration}` } },
      ].map((command) => JSON.stringify(command)).join("\n"),
    ));
    {
      using incoming = await connect(floor.migration, signal);
      for (let at = 0; at < floor.state.length;) at += await incoming.write(floor.state.subarray(at));
    }
    for await (const line of messages) {
      if (/"status": "failed"/.test(line)) throw new Error(line);
      if (/"status": "completed"/.test(line)) break;
    }
    await monitor.write(new TextEncoder().encode('{"execute":"cont"}'));
    while (!await isHealthy(floor.healthUrl)) await sleep(5, signal);
    return (performance.now() - begin) / 1000;
  } catch (error) {
    throw signal.reason ?? error;
  } finally {
    kill();
    await ended;
    clearTimeout(limit);
    for (const path of [floor.monitor, floor.migration]) await Deno.remove(path).catch(() => {});
  }
}

/** Connects as soon as something listens there. */
async function connect(path: string, signal: AbortSignal): Promise<Deno.UnixConn> {
  for (;;) {
    try {
      return await Deno.connect({ transport: "unix", path });
    } catch {
      await sleep(1, signal);
    }
  }
}

async function* read(connection: Deno.UnixConn): AsyncGenerator<string> {
  const buffer = new Uint8Array(65536);
  let text = "";
  for (let got; (got = await connection.read(buffer)) !== null;) {
    const lines = (text + new TextDecoder().decode(buffer.subarray(0, got))).split("\n");
    text = lines.pop()!;
    yield* lines;
  }
}

async function isHealthy(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(3000) });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false;
  }
}
