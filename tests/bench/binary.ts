/** What the compiled program adds to the runtime, in time and size, and what the sandbox adds to a resume. */

import { compile, COMPILER } from "../../dev/build.ts";
import { ROOT } from "../../dev/deno.ts";
import { GuestHome } from "../e2e/guest_home.ts";
import { type Bench, median, ratio, type Scale, seconds, Skipped } from "./figure.ts";
import { MIB, output } from "./programs.ts";

export const bench: Bench<Scale & { versions: number; resumes: number }> = {
  about: "what the compiled program adds to the runtime, and the sandbox to a resume",
  full: { seconds: 150, versions: 63, resumes: 21 },
  smoke: { seconds: 35, versions: 1, resumes: 1 },

  async measure({ versions, resumes }) {
    const directory = await Deno.makeTempDir({ prefix: "hotboot-bench-" });
    try {
      const [hotboot, noSandbox, trivial] = ["hotboot", "no-sandbox", "trivial"].map((name) => `${directory}/${name}`);
      await Deno.writeTextFile(`${trivial}.ts`, `console.log("hotboot 0.0.0");\n`);
      await requireRuntime(`${trivial}.ts`, trivial);
      await compile(`${trivial}.ts`, trivial);
      await compile(`${ROOT}cli.ts`, hotboot);
      await compile(`${ROOT}tests/bench/no_sandbox.ts`, noSandbox);

      const samples: Record<string, number[]> = { version: [], trivial: [], "with the sandbox": [], without: [] };
      for (let run = 0; run < versions; run++) {
        samples.version.push(await seconds(() => output(hotboot, "--version")));
        samples.trivial.push(await seconds(() => output(trivial)));
      }
      await using micro = await GuestHome.make();
      const start = micro.arguments("start", "--no-fallback", "--quiet");
      await output(hotboot, ...micro.arguments("capture", "--quiet"));
      for (let run = 0; run < resumes; run++) {
        for (const [name, program] of [["with the sandbox", hotboot], ["without", noSandbox]]) {
          samples[name].push(await seconds(() => output(program, ...start)));
          await output(hotboot, ...micro.arguments("stop", "--discard"));
        }
      }
      const [size, least] = await Promise.all(
        [hotboot, trivial].map(async (path) => (await Deno.stat(path)).size / MIB),
      );
      const { "with the sandbox": withSandbox, without } = samples;
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
          name: "micro: what the sandbox adds to a resume",
          unit: "s",
          value: median(withSandbox) - median(without),
          target: { atMost: 0.06 },
          samples: { withSandbox, without },
        },
      ];
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  },
};

/** @throws {Skipped} if Deno cannot get a runtime to put a program into. A runtime that DENORT_BIN names must work. */
export async function requireRuntime(entry: string, path: string): Promise<void> {
  if (Deno.env.get("DENORT_BIN")) return;
  await output(COMPILER, "compile", "-q", "--no-check", "--no-config", `--output=${path}`, entry).catch((error) => {
    const why = error.message.match(/^ +\d+: (error sending request .*)$/m)?.[1];
    if (!why) throw error;
    throw new Skipped(
      `no binary can be compiled, since Deno's runtime cannot be downloaded (${why}): name one in DENORT_BIN`,
    );
  });
}
