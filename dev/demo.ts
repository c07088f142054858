/** `deno task demo`: from nothing to a warm emulator; shows where the time of a cold boot and of a resume goes. */

import { capture, openEmulator, start, stop } from "@hotboot/hotboot";
import { build } from "../lib/image/build.ts";
import { consoleReporter } from "../lib/cli/ui/console.ts";
import { lookOf, renderTimelines } from "../lib/cli/ui/timeline.ts";
import { DEMO, install } from "./packages.ts";

await install(DEMO);

const interrupt = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, () => interrupt.abort());
const report = consoleReporter("normal");
const emulator = await openEmulator({ profile: "demo", report, signal: interrupt.signal });

try {
  await build(emulator);
  await stop(emulator);
  const { timeline } = await capture(emulator, { force: true });
  const { timeline: resumed, urls } = await start(emulator);
  console.log();
  console.log(renderTimelines([
    { title: "cold boot and capture", phases: timeline },
    { title: "resume", phases: resumed },
  ], lookOf(Deno.stdout)));
  console.log();
  for (const [name, url] of Object.entries(urls)) console.log(`${name.padEnd(10)} ${url}`);
  const [ending, resuming] = ["stop", "start"].map((verb) => `'deno task hotboot ${verb} --profile demo'`);
  console.log(`\nIt keeps running; ${ending} ends it, ${resuming} resumes it.`);
} catch (error) {
  console.error(`hotboot: ${interrupt.signal.aborted ? "interrupted" : (error as Error).message}`);
  Deno.exit(interrupt.signal.aborted ? 130 : 1);
}
Deno.exit(0);
