/** The compiled program: what it adds to the runtime, in time and in size, and what the inner ring adds to a resume. */

import { compile } from "../../dev/build.ts";
import { ROOT } from "../../dev/deno.ts";
import { GuestHome } from "../e2e/harness.ts";
import { type Bench, median, ratio, seconds } from "./figure.ts";

const RUNS = 21;

export const bench: Bench = async () => {
  const directory = await Deno.makeTempDir({ prefix: "hotboot-bench-" });
  try {
    const [hotboot, noRing, trivial] = ["hotboot", "no-ring", "trivial"].map((name) => `${directory}/${name}`);
    await compile(`${ROOT}cli.ts`, hotboot);
    await compile(`${ROOT}tests/bench/no_ring.ts`, noRing);
    await Deno.writeTextFile(`${directory}/trivial.ts`, `console.log("hotboot 0.0.0");\n`);
    await compile(`${directory}/trivial.ts`, trivial);

    const samples: Record<string, number[]> = { version: [], trivial: [], "with the ring": [], "without": [] };
    for (let run = 0; run < 3 * RUNS; run++) {
      samples.version.push(await seconds(() => succeed(hotboot, ["--version"])));
      samples.trivial.push(await seconds(() => succeed(trivial, [])));
    }
    await using micro = await GuestHome.make();
    const start = micro.arguments("start", "--no-fallback", "--quiet");
    const stop = micro.arguments("stop", "--discard");
    await succeed(hotboot, micro.arguments("capture"));
    for (let run = 0; run < RUNS; run++) {
      for (const [name, program] of [["with the ring", hotboot], ["without", noRing]]) {
        samples[name].push(await seconds(() => succeed(program, start)));
        await succeed(hotboot, stop);
      }
    }
    const [size, least] = await Promise.all(
      [hotboot, trivial].map(async (path) => (await Deno.stat(path)).size / 2 ** 20),
    );
    const { "with the ring": withRing, without } = samples;
    return [
      ratio("binary: --version ÷ a compiled console.log", samples, ["version", "trivial"], { atMost: 1.3 }),
      {
        name: "binary: size above that of a compiled console.log",
        unit: "MiB",
        value: size - least,
        target: { atMost: 6 },
        samples: { size: [size], least: [least] },
      },
      {
        name: "micro: what the inner ring adds to a resume",
        unit: "s",
        value: median(withRing) - median(without),
        target: { atMost: 0.06 },
        samples: { withRing, without },
      },
    ];
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
};

async function succeed(program: string, args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(program, { args, stdout: "null" }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
}
