/** What the CLI adds to a resume of the micro guest. */

import { GuestHome } from "../e2e/guest_home.ts";
import { type Bench, ratio, type Scale, seconds } from "./figure.ts";
import { type Floor, resumeBarely } from "./floor.ts";
import { output } from "./programs.ts";

export const bench: Bench<Scale & { runs: number; /** MiB. */ memory: number }> = {
  about: "what the command adds to QEMU's own resume",
  full: { seconds: 60, runs: 11, memory: 1024 },
  smoke: { seconds: 15, runs: 1, memory: 256 },

  async measure({ runs, memory }) {
    await using micro = await GuestHome.make({ memory });
    await micro.start();
    const floor = await floorOf(micro);
    await micro.succeed("stop", ["--discard"]);

    const samples: Record<string, number[]> = { "hotboot start": [], floor: [] };
    const pristine = await Deno.readFile(floor.disk);
    for (let run = 0; run < runs; run++) {
      samples["hotboot start"].push(await seconds(() => micro.start("--no-fallback")));
      await micro.succeed("stop", ["--discard"]);
      await Deno.writeFile(floor.disk, pristine);
      samples.floor.push(await resumeBarely(floor));
    }
    const name = `micro, ${memory} MiB: resume ÷ bare QEMU`;
    return [ratio(name, samples, ["hotboot start", "floor"], { atMost: 1.5 })];
  },
};

/** The running instance's QEMU, with copies of its files in another directory, which outlives the instance. */
async function floorOf(micro: GuestHome): Promise<Floor & { disk: string }> {
  const { pid } = await micro.record();
  const [from, to] = [micro.instance, `${micro.directory}/floor`];
  await Deno.mkdir(to);
  for await (const { name, isFile } of Deno.readDir(from)) {
    if (isFile) await Deno.copyFile(`${from}/${name}`, `${to}/${name}`);
  }
  const snapshot = await micro.snapshot();
  const disk = `${to}/disk.qcow2`; // without the instance's writes
  await output("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", `${snapshot}/disk.qcow2`, disk);
  const commandLine = (await Deno.readTextFile(`/proc/${pid}/cmdline`)).replaceAll(from, to);
  const [program, ...args] = commandLine.split("\0").slice(0, -1);
  args.splice(args.findIndex((each) => each.startsWith("socket,id=launcher,")) - 1, 2); // nobody listens there
  return {
    program,
    args,
    monitor: micro.socket("monitor").replace(from, to),
    migration: micro.socket("migration").replace(from, to),
    state: await Deno.readFile(`${snapshot}/device.state`),
    healthUrl: `http://127.0.0.1:${micro.port}${micro.original.health[0].path}`,
    disk,
  };
}
