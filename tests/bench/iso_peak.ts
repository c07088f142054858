/** iso_peak.ts [SOURCE IMAGE]: makes an image of one file, or of none, and prints the peak of this process's memory. */

import { writeIso } from "../../lib/iso/write.ts";

const [source, image] = Deno.args;
if (source) await writeIso(image, [{ kind: "file", path: "file", content: { path: source } }]);
const status = await Deno.readTextFile("/proc/self/status");
console.log(Number(status.match(/VmHWM:\s+(\d+) kB/)![1]) / 1024);
