/**
 * A directory of another machine (sshfs) whose server dies while an archive is written or read there. One that hangs is left
 * out: the kernel then lets nobody end a program that waits for it.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { sleep } from "../../lib/base/wait.ts";
import type { GuestHome } from "../e2e/guest_home.ts";
import { ROTATE, secretMicro } from "../e2e/secret_micro.ts";
import { tool } from "../e2e/tool.ts";
import { agreedStates, assertAllKnown, assertSnapshots } from "./invariants.ts";
import { SshServer } from "./ssh_server.ts";
import { lastMessage } from "./subject.ts";

const SAVED = "saved";

async function childrenOf(pid: number): Promise<number[]> {
  const printed = await tool("pgrep", "-P", String(pid)).catch(() => "");
  const children = printed.split("\n").filter((line) => line !== "").map(Number);
  return [...children, ...(await Promise.all(children.map(childrenOf))).flat()];
}

async function onDyingServer(verb: "export" | "import", seed: number): Promise<string> {
  const directory = await Deno.makeTempDir({ prefix: "hb-" });
  const [remote, path, local] = ["remote", "m", "local"].map((name) => `${directory}/${name}`);
  for (const each of [remote, path]) await Deno.mkdir(each);
  try {
    await using guest = await secretMicro(ROTATE, undefined, { captured: true });
    await guest.start();
    await guest.succeed("snapshot save", [SAVED]);
    await guest.succeed("snapshot export", [SAVED, local]);
    await Deno.copyFile(local, `${remote}/archive`);
    if (verb === "import") await guest.succeed("snapshot rm", [SAVED]);
    const args = verb === "import" ? [`${path}/archive`] : [SAVED, `${path}/new`];

    await using server = await SshServer.start(directory);
    await server.mount(remote, path);
    const processes = await childrenOf(server.process.pid);
    const running = guest.run(`snapshot ${verb}`, args);
    await sleep(200 + 137 * seed % 1500);
    for (const pid of processes) Deno.kill(pid, "SIGKILL");
    const { code, stderr } = await running;
    await tool("umount", "--lazy", path).catch(() => {}); // sshfs may have done so

    assert([0, 1].includes(code), `exit code ${code}: ${stderr}`);
    if (code === 1) {
      assertMatch(stderr, /cannot be (written|read) .*: (free|name)|was not imported: .*(: try again|; get all of it)/);
    }
    await assertWhole(guest, verb, code, local);
    return code === 0 ? "it was done before" : lastMessage(stderr);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** Nothing was lost, nothing half-made is taken for whole, and the same works with a disk of this machine. */
async function assertWhole(guest: GuestHome, verb: string, code: number, local: string): Promise<void> {
  await assertAllKnown(guest);
  await agreedStates(guest);
  if (verb === "export") await guest.succeed("snapshot export", [SAVED, `${local}-2`]);
  else if (code !== 0) await guest.succeed("snapshot import", [local]);
  await assertSnapshots(guest, SAVED);
  await guest.succeed("snapshot verify", [SAVED]);
  assertEquals((await guest.status()).state, "running");
}

/** Each by what it is. */
export const REMOTE: Record<string, (seed: number) => Promise<string>> = {
  "the server of a directory dies while an archive is written there": (seed) => onDyingServer("export", seed),
  "the server of a directory dies while an archive is read there": (seed) => onDyingServer("import", seed),
};
