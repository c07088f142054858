/** How long a program in the guest takes to run, and how fast its output arrives. */

import { assertEquals } from "@std/assert";
import { GuestHome } from "../e2e/guest_home.ts";
import { type Bench, type Figure, median, type Scale, seconds } from "./figure.ts";

const BYTES_PER_SECOND = 100e6;

export const bench: Bench<Scale & { mebibytes: number; runs: number }> = {
  about: "exec: a program's start and end, and its output",
  full: { seconds: 60, mebibytes: 1024, runs: 3 },
  smoke: { seconds: 20, mebibytes: 16, runs: 1 },

  async measure({ mebibytes, runs }) {
    await using micro = await GuestHome.started();
    const [alone, output]: number[][] = [[], []];
    for (let run = 0; run < runs; run++) {
      alone.push(await seconds(() => micro.succeed("exec", ["--", "true"])));
      output.push(await seconds(() => read(micro, mebibytes)));
    }
    const what = `${mebibytes} MiB of 'exec -- dd'`;
    const atMost = (mebibytes * 2 ** 20) / BYTES_PER_SECOND;
    const figures: Figure[] = [
      { name: "exec -- true", unit: "s", value: median(alone), samples: { alone } },
      {
        name: `${what}, at 100 MB/s or more`,
        unit: "s",
        value: median(output),
        target: { atMost },
        samples: { output },
      },
    ];
    return figures;
  },
};

async function read(micro: GuestHome, mebibytes: number): Promise<void> {
  const child = micro.spawn("exec", "--", "dd", "if=/dev/zero", "bs=1M", `count=${mebibytes}`);
  const ended = child.stderr.pipeTo(new WritableStream());
  let bytes = 0;
  for await (const piece of child.stdout) bytes += piece.length;
  await ended;
  assertEquals([(await child.status).code, bytes], [0, mebibytes * 2 ** 20]);
}
