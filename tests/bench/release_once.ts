/** release_once.ts URL PATH SHA256: downloads one file, and prints the peak of this process's memory in MiB. */

import { download } from "../../lib/release/download.ts";

const [url, path, sha256] = Deno.args;
await download(path, { name: "file", request: { url }, sha256 });
const status = await Deno.readTextFile("/proc/self/status");
console.log(Number(status.match(/VmHWM:\s+(\d+) kB/)![1]) / 1024);
