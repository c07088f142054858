// needs: micro, qemu

/** The layers below a running instance's disk: they become one again, and nothing that anybody has written is lost. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { HotbootError } from "../../lib/base/error.ts";
import { disksUnder, layerName } from "../../lib/instance/layers.ts";
import { commitDisks, diskNodes } from "../../lib/vm/commit.ts";
import { QemuProcess } from "../../lib/vm/process.ts";
import { createOverlay } from "../../lib/vm/qcow2.ts";
import { mapsAll } from "../../lib/vm/qcow2_tables.ts";
import { QmpClient } from "../../lib/vm/qmp.ts";
import type { GuestHome } from "./guest_home.ts";
import { until } from "./pace.ts";
import { ARCH, newerQemu, QEMU } from "./qemu.ts";
import { ROTATE, secretMicro } from "./secret_micro.ts";
import { tool } from "./tool.ts";

/** The layers below an instance's disk, the nearest first. */
async function layersOf(micro: GuestHome, instance = "micro"): Promise<string[]> {
  const directory = `${micro.home}/instances/${instance}`;
  const names = Array.from(Deno.readDirSync(directory), ({ name }) => name).filter((name) => name.endsWith(".qcow2"));
  const number = (name: string) => Number(name.match(/^disk\.(\d+)/)?.[1] ?? 0);
  const top = names.sort((a, b) => number(a) - number(b)).at(-1);
  return (await disksUnder(`${directory}/${top}`))!.flatMap((disk) => layerName(disk) ?? []);
}

/** All that there are. */
function allLayers(micro: GuestHome): string[] {
  const names = Array.from(Deno.readDirSync(`${micro.home}/instances`), ({ name }) => name);
  return names.flatMap((name) => name.match(/^\.layer-(.*)/)?.[1] ?? []).sort();
}

const shell = (micro: GuestHome, instance: string, script: string) =>
  micro.succeed("exec", ["--instance", instance, "--", "sh", "-c", script]);

const write = (micro: GuestHome, instance: string, moment: number) =>
  shell(micro, instance, `echo ${moment} >/data/${moment}; echo ${moment} >/data/last; sync`);

/** What is on the disk, not in the guest's memory. */
const read = (micro: GuestHome, instance = "micro") =>
  shell(micro, instance, "echo 3 >/proc/sys/vm/drop_caches; cat /data/[0-9]* /data/last | tr '\\n' ' '");

/** Begins to merge the layers below the instance's disk, as a command does that is killed before it has ended that. */
async function beginMerge(micro: GuestHome, options: object): Promise<void> {
  const [base] = (await layersOf(micro)).slice(-1);
  await using qmp = await QmpClient.connect(micro.socket("monitor"));
  const nodes = await diskNodes(qmp, "disk");
  await qmp.execute("block-commit", {
    "job-id": "merge-layers",
    device: "disk",
    "top-node": nodes[1],
    "base-node": nodes[(await layersOf(micro)).length],
    "backing-file": `../.layer-${base}/disk.qcow2`,
    ...options,
  });
}

async function forkAndReset(micro: GuestHome): Promise<void> {
  await micro.succeed("fork", ["micro", "passing"]);
  await micro.succeed("reset", ["--instance", "passing"]);
}

const QEMUS = [["the system's QEMU", undefined], ["a newer QEMU", newerQemu]] as const;

for (const [name, qemu] of QEMUS) {
  Deno.test(`layers: where ${name} cannot flush the lower disk, nothing is merged`, async () => {
    const directory = await Deno.makeTempDir({ prefix: "hotboot-test-" });
    const path = (disk: string) => `${directory}/${disk}.qcow2`;
    try {
      for (const [disk, below] of [["base", "image"], ["top", "base"], ["active", "top"]]) {
        await createOverlay(path(disk), path(below), 2 ** 26);
      }
      await tool("qemu-img", "create", "-q", "-f", "qcow2", path("image"), "64M");
      await tool("qemu-io", "-f", "qcow2", "-c", "write -P 3 0 1M", path("top"));
      const disk = (name: string, backing: string | undefined, fault: object = {}) => [
        "-blockdev",
        JSON.stringify({
          ...{ driver: "qcow2", "node-name": name, "read-only": name !== "active", ...(backing && { backing }) },
          file: { driver: "blkdebug", image: { driver: "file", filename: path(name) }, ...fault },
        }),
      ];
      const sockets = { monitor: `${directory}/monitor`, launcher: `${directory}/launcher` };
      const merged = async (fault: object) => {
        await using process = await QemuProcess.launch(await qemu?.() ?? QEMU[ARCH], [
          ...["-machine", "none", "-nodefaults", "-display", "none"],
          ...disk("image", undefined),
          ...disk("base", "image", fault),
          ...disk("top", "base"),
          ...disk("active", "top"),
          ...["-chardev", `socket,id=monitor,server=on,wait=off,path=${sockets.monitor}`],
          ...["-mon", "chardev=monitor,mode=control"],
        ], sockets);
        const isThere = () => mapsAll(path("base"), [path("top")]);
        await commitDisks(process.qmp, "active", { top: "top", base: "base" }, path("base"), isThere, {});
        await process.quit();
      };
      // The table is written when it is made, and again, with its entries, by the flush.
      const fault = {
        "set-state": [{ event: "l2_update", state: 1, new_state: 2 }],
        "inject-error": [{ event: "l2_update", state: 2, errno: 28 }],
      };
      await assertRejects(() => merged(fault), HotbootError, "QEMU could not flush a disk");
      assertEquals((await disksUnder(path("active")))?.[0], path("top"));
      await merged({});
      assertEquals((await disksUnder(path("active")))?.[0], path("base"));
      await tool("qemu-io", "-f", "qcow2", "-c", "read -P 3 0 1M", path("active"));
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
}

for (const [name, qemu] of QEMUS) {
  Deno.test(`layers: ${name} merges those of a running instance that only it has`, async (t) => {
    await using micro = await secretMicro(ROTATE, undefined, { captured: true, ...(qemu && { qemu: await qemu() }) });
    await micro.start("--no-fallback");
    let moments = "";
    let last = 10; // of as many digits as all later ones: their order
    const next = async (instance = "micro") => {
      await write(micro, instance, ++last);
      moments += `${last} `;
    };
    const soFar = () => `${moments}${last} `;

    await t.step("after forks that were dropped again there are no more than two", async () => {
      for (let round = 0; round < 3; round++) {
        await next();
        await forkAndReset(micro);
        const layers = await layersOf(micro);
        assert(layers.length <= 2, `${layers.length} after ${round + 1} forks`);
        assertEquals(allLayers(micro), layers.sort());
      }
      assertEquals(await read(micro), soFar());
    });

    await t.step("a suspension leaves one, and the instance continues on it", async () => {
      await micro.succeed("stop");
      assertEquals((await layersOf(micro)).length, 1);
      const files = Array.from(Deno.readDirSync(micro.instance), ({ name }) => name).filter((name) =>
        /qcow2/.test(name)
      );
      assertEquals(files, ["disk.qcow2"]);
      assertEquals((await micro.start()).origin, "continue");
      assertEquals(await read(micro), soFar());
    });

    await t.step("a layer that a fork or a checkpoint is on top of stays, with its content", async () => {
      await micro.succeed("fork", ["micro", "alive"]);
      const atFork = soFar();
      const [theirs] = await layersOf(micro, "alive");
      await micro.succeed("stop", ["--instance", "alive"]); // QEMU does not hold it
      await next();
      await micro.succeed("snapshot save", ["moment"]);
      const atSave = soFar();
      for (let round = 0; round < 2; round++) {
        await next();
        await forkAndReset(micro);
      }
      const ours = await layersOf(micro);
      assert(ours.includes(theirs));
      assert(ours.length <= 5, `${ours.length} layers`);
      assertEquals(await read(micro), soFar());
      assertEquals((await micro.start("--instance", "alive")).origin, "continue");
      assertEquals(await read(micro, "alive"), atFork);
      await micro.start("--instance", "saved", "--from", "moment");
      assertEquals(await read(micro, "saved"), atSave);
      for (const each of ["alive", "saved"]) await micro.succeed("reset", ["--instance", each]);
      await micro.succeed("snapshot rm", ["moment"]);
      await forkAndReset(micro);
      assert((await layersOf(micro)).length <= 2);
      assertEquals(await read(micro), soFar());
    });

    await t.step("after a kill while it merges, the next command merges again", async () => {
      await next();
      await beginMerge(micro, { "auto-finalize": false });
      await next();
      await forkAndReset(micro);
      assertEquals((await layersOf(micro)).length, 2);
      assertEquals(await read(micro), soFar());
    });

    await t.step("QEMU, killed while it merges, leaves a disk with everything", async () => {
      await next();
      await beginMerge(micro, { speed: 1 });
      const [pid] = await micro.qemuProcesses();
      Deno.kill(pid, "SIGKILL");
      await until(async () => (await micro.qemuProcesses()).length === 0, "QEMU's end");
      assertEquals((await layersOf(micro)).length, 2);
      assertEquals((await micro.start()).origin, "cold boot");
      assertEquals(await read(micro), soFar());
      await forkAndReset(micro);
      assertEquals(await read(micro), soFar());
    });
  });
}
