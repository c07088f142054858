/** Shards of a test run on the nodes of a Slurm cluster, each with a machine of its own. HOTBOOT_TEST_SOAK=full does more. */
// needs: micro

import { assert, assertEquals, assertMatch } from "@std/assert";
import { entriesIn } from "../../lib/base/entries.ts";
import { shellCommand } from "../../lib/base/shell.ts";
import type { PushResult } from "../../lib/image/push.ts";
import { GuestHome } from "./guest_home.ts";
import { HOTBOOT } from "./program.ts";
import { ARCH } from "./qemu.ts";
import { rounds, until } from "./pace.ts";
import { FaultyProxy, RegistryServer } from "./registry_server.ts";
import { Slurm } from "./slurm.ts";

const NODES = 4;
const SHARDS = 32;
/** Asks the shard's own guest for its health. */
const SHARD = `echo "shard $SLURM_ARRAY_TASK_ID of $SLURM_ARRAY_TASK_COUNT on $SLURMD_NODENAME"
exec 3<>"/dev/tcp/127.0.0.1/\${API_URL##*:}"
printf 'GET /cgi-bin/health HTTP/1.0\\r\\n\\r\\n' >&3
grep '"uptime"' <&3`;

/** The cluster, and an image in a registry that counts. */
class Fleet implements AsyncDisposable {
  #stack = new AsyncDisposableStack();
  slurm!: Slurm;
  registry!: FaultyProxy;
  guest!: GuestHome;

  static async make(): Promise<Fleet> {
    const fleet = new Fleet();
    const use = fleet.#stack.use.bind(fleet.#stack);
    const server = use(await RegistryServer.start());
    fleet.registry = use(new FaultyProxy(server.host));
    const oci = `oci://${fleet.registry.host}/team/micro`;
    const change: { oci: string } = { oci: `${oci}:main` };
    fleet.guest = use(
      await GuestHome.make({
        change: (profile) => {
          profile.image = { ...change };
          profile.environment = { API_URL: "http://127.0.0.1:${ports.web.host}" };
        },
      }),
    );
    const { digest }: PushResult = JSON.parse(await fleet.guest.succeed("push", ["--json"]));
    change.oci = `${oci}@${digest}`;
    await fleet.guest.writeProfile();
    // An epilog has next to no environment, and runs as Slurm's user.
    const prune = shellCommand([...HOTBOOT, "snapshot", "prune", "--profile", fleet.guest.profile, "--home"]);
    fleet.slurm = use(
      await Slurm.start(NODES, (directory) =>
        `[ -e ${directory}/prunes ] || exit 0
export PATH=/usr/bin:/bin HOME=${Deno.env.get("HOME")} XDG_CACHE_HOME=${Deno.env.get("XDG_CACHE_HOME") ?? ""}
exec ${prune} "${fleet.guest.directory}/$SLURMD_NODENAME" >${directory}/pruned 2>&1`),
    );
    return fleet;
  }

  /** A batch script whose process becomes hotboot, which runs a line of Bash's beside a new instance. */
  script(line: string): string {
    const command = shellCommand([
      ...HOTBOOT,
      "run",
      "--fresh",
      "--profile",
      this.guest.profile,
      "--",
      "bash",
      "-c",
      line,
    ]);
    return `#!/bin/bash\nexport HOTBOOT_HOME=${this.guest.directory}/$SLURMD_NODENAME\nexec ${command}\n`;
  }

  home(node: string): string {
    return `${this.guest.directory}/${node}`;
  }

  snapshots(node: string): string {
    return `${this.home(node)}/snapshots/micro-${ARCH}`;
  }

  /** The node's instances, owners' locks and snapshots, and the number of this cluster's QEMUs. */
  async left(...nodes: string[]): Promise<{ files: string[]; qemus: number }> {
    const files: string[] = [];
    for (const node of nodes) {
      for (const place of ["instances", "locks"]) {
        for (const { name } of await entriesIn(`${this.home(node)}/${place}`)) {
          if (!/^(image-|snapshots-|ports$|layers$)/.test(name)) files.push(`${node}/${place}/${name}`);
        }
      }
      for (const { name } of await entriesIn(this.snapshots(node))) {
        if (name.startsWith(".")) files.push(`${node}/snapshots/${name}`);
      }
    }
    return { files, qemus: (await this.guest.qemusLeft()).length };
  }

  /** Starts a job on the first node whose program sleeps, and gives hotboot's process once it does. */
  async sleeper(): Promise<{ job: string; hotboot: number }> {
    const job = await this.slurm.submit(this.script("echo pid $PPID; exec sleep 600"), "--nodelist=n1");
    await until(async () => /^pid \d+$/m.test(await this.slurm.printed(job)), "the program");
    return { job, hotboot: Number((await this.slurm.printed(job)).match(/^pid (\d+)$/m)![1]) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

const NOTHING = { files: [], qemus: 0 };

Deno.test("slurm: the shards of a run on several nodes, and what is left when jobs are ended", async (t) => {
  await using fleet = await Fleet.make();
  const { slurm, registry } = fleet;

  await t.step("each shard has a guest; each node fetches the image once, and captures once", async () => {
    const job = await slurm.submit(fleet.script(SHARD), `--array=0-${SHARDS - 1}`);
    await slurm.ended(job);
    const printed = await Promise.all(Array.from({ length: SHARDS }, (_, index) => slurm.printed(`${job}_${index}`)));
    const used = new Set<string>();
    for (const [index, text] of printed.entries()) {
      const [, node] = text.match(new RegExp(`^shard ${index} of ${SHARDS} on (n\\d)\n\\{"uptime"`, "m")) ?? [];
      assert(node, text);
      used.add(node);
    }
    assertEquals([...used].sort(), slurm.nodes);

    const of = (what: RegExp) => printed.filter((text) => what.test(text)).length;
    assertEquals([of(/^hotboot: pull oci:/m), of(/^hotboot: cold boot .* to capture$/m)], [NODES, NODES]);
    const fetched = new Map<string, number>();
    for (const { method, path } of registry.seen) {
      if (method === "GET" && path.includes("/blobs/")) fetched.set(path, (fetched.get(path) ?? 0) + 1);
    }
    assert(fetched.size > 1);
    assertEquals([...new Set(fetched.values())], [NODES]);
    for (const node of slurm.nodes) assertEquals((await entriesIn(fleet.snapshots(node))).length, 1);
    assertEquals(await fleet.left(...slurm.nodes), NOTHING);
  });

  await t.step(
    "a home that comes from a node with another CPU is captured anew, also if the first to do so is cancelled",
    async () => {
      const [{ name }] = await entriesIn(fleet.snapshots("n1"));
      const path = `${fleet.snapshots("n1")}/${name}/manifest.json`;
      const manifest = JSON.parse(await Deno.readTextFile(path));
      manifest.identity["CPU's features"] = "b700b700b700";
      await Deno.writeTextFile(path, JSON.stringify(manifest));
      const first = await slurm.submit(fleet.script("true"), "--nodelist=n1");
      await until(async () => /cold boot .* to capture/.test(await slurm.printed(first)), "the capture");
      const second = await slurm.submit(fleet.script("echo done"), "--nodelist=n1");
      await until(
        async () => /waiting for another hotboot that makes a snapshot/.test(await slurm.printed(second)),
        "the second",
      );
      await slurm.output("scancel", first);
      assertEquals((await slurm.ended(first)).state, "CANCELLED");
      assertEquals(await slurm.ended(second), { state: "COMPLETED", exit: "0:0" });
      const text = await slurm.printed(second);
      assertMatch(text, /does not fit here: .*CPU/);
      assertMatch(text, /cold boot .* to capture(.|\n)*^done$/m);
      assertEquals(await fleet.left("n1"), NOTHING);
    },
  );

  await t.step("a cancelled job leaves nothing", async () => {
    for (let round = 0; round < rounds(3, 20); round++) {
      const { job } = await fleet.sleeper();
      await slurm.output("scancel", ...(round % 2 ? ["--full", "--signal=KILL"] : []), job);
      assertEquals((await slurm.ended(job)).state, "CANCELLED");
      assertEquals(await fleet.left("n1"), NOTHING, await slurm.printed(job));
    }
  });

  await t.step("what a killed hotboot leaves, the node's next job drops", async () => {
    const { job, hotboot } = await fleet.sleeper();
    Deno.kill(hotboot, "SIGKILL"); // as for want of memory
    assertEquals(await slurm.ended(job), { state: "FAILED", exit: "0:9" });
    const { files } = await fleet.left("n1");
    assertMatch(files.join(" "), /n1\/instances\/fresh-/);
    const next = await slurm.submit(fleet.script("true"), "--nodelist=n1");
    assertEquals((await slurm.ended(next)).state, "COMPLETED");
    assertMatch(await slurm.printed(next), /dropped instance 'fresh-\w+', which a program that died had left/);
    assertEquals(await fleet.left("n1"), NOTHING);
  });

  await t.step("or the epilog does, before the node is free", async () => {
    await Deno.writeTextFile(`${slurm.directory}/prunes`, "");
    const { job, hotboot } = await fleet.sleeper();
    Deno.kill(hotboot, "SIGKILL");
    await slurm.ended(job);
    assertEquals(await fleet.left("n1"), NOTHING, await Deno.readTextFile(`${slurm.directory}/pruned`));
    assertEquals((await entriesIn(fleet.snapshots("n1"))).length, 1);
  });

  if (rounds(1, 2) === 1) return;
  await t.step("a job whose time is up leaves nothing", async () => {
    await Deno.remove(`${slurm.directory}/prunes`);
    const job = await slurm.submit(fleet.script("exec sleep 600"), "--nodelist=n1", "--time=1");
    assertEquals((await slurm.ended(job)).state, "TIMEOUT");
    assertEquals(await fleet.left("n1"), NOTHING);
  });
});
