/** What the CLI adds to a resume of the micro guest with 1 GiB. */

import { GuestHome } from "../e2e/harness.ts";
import { type Bench, ratio, seconds } from "./figure.ts";
import { type Floor, resumeBarely } from "./floor.ts";

const RUNS = 11;

export const bench: Bench = async () => {
  await using micro = await GuestHome.make({ memory: 1024 });
  await micro.start();
  const floor = await floorOf(micro);
  await micro.succeed("stop", ["--discard"]);

  const samples: Record<string, number[]> = { "hotboot start": [], floor: [] };
  const pristine = await Deno.readFile(floor.disk);
  for (let run = 0; run < RUNS; run++) {
    samples["hotboot start"].push(await seconds(() => micro.start("--no-fallback")));
    await micro.succeed("stop", ["--discard"]);
    await Deno.writeFile(floor.disk, pristine);
    samples.floor.push(await resumeBarely(floor));
  }
  return [ratio("micro, 1 GiB: resume ÷ bare QEMU", samples, ["hotboot start", "floor"], { atMost: 1.5 })];
};

/** The running instance's QEMU, on a disk of its own. */
async function floorOf(micro: GuestHome): Promise<Floor & { disk: string }> {
  const record = await micro.record();
  const [program, ...args] = (await Deno.readTextFile(`/proc/${record.pid}/cmdline`)).split("\0").slice(0, -1);
  const snapshot = await micro.snapshot();
  const disk = `${micro.home}/instances/vm/floor.qcow2`;
  const { success } = await new Deno.Command("qemu-img", {
    args: ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", `${snapshot}/disk.qcow2`, disk],
  }).output();
  if (!success) throw new Error("qemu-img cannot make an overlay");
  return {
    program,
    args: args.map((arg) => arg.replace("/vm/disk.qcow2", "/vm/floor.qcow2")),
    monitor: micro.socket("monitor"),
    migration: micro.socket("migration"),
    state: await Deno.readFile(`${snapshot}/device.state`),
    healthUrl: `http://127.0.0.1:${micro.port}${micro.original.health[0].path}`,
    disk,
  };
}
