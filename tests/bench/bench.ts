/**
 * `deno task bench [SUBJECT…]`: how fast it is. Figures are ratios within one run, or times that have a limit; medians
 * of several runs. A table goes to standard error, JSON to standard output. Exit code 1: a target was missed.
 */

import { BENCHES, install } from "../../dev/packages.ts";
import { type Bench, type Figure, isMet, table } from "./figure.ts";

const SUBJECTS: Record<string, () => Promise<{ bench: Bench }>> = {
  resume: () => import("./resume.ts"),
  memory: () => import("./memory.ts"),
  engines: () => import("./engines.ts"),
  iso: () => import("./iso.ts"),
  zstd: () => import("./zstd.ts"),
  release: () => import("./release.ts"),
  demo: () => import("./demo.ts"),
  binary: () => import("./binary.ts"),
  "cold-cache": () => import("./cold_cache.ts"),
};

const wanted = Deno.args.length > 0 ? Deno.args : Object.keys(SUBJECTS);
const unknown = wanted.find((name) => !Object.hasOwn(SUBJECTS, name));
if (unknown) {
  console.error(`there is no subject '${unknown}': there are ${Object.keys(SUBJECTS).join(", ")}`);
  Deno.exit(2);
}

await install(BENCHES);
const figures: Figure[] = [];
for (const name of wanted) {
  console.error(`measuring ${name} …`);
  const { bench } = await SUBJECTS[name]();
  figures.push(...await bench());
}
console.error(table(figures));
console.log(JSON.stringify({ host: { arch: Deno.build.arch, cpus: navigator.hardwareConcurrency }, figures }, null, 2));
Deno.exit(figures.every(isMet) ? 0 : 1);
