/** zstd_once.ts compress|decompress FROM TO: does it, and prints the peak of this process's memory in MiB. */

import { compressFile, decompressFile } from "../../lib/zstd/file.ts";

const [what, from, to] = Deno.args;
await (what === "compress" ? compressFile : decompressFile)(from, to);
const status = await Deno.readTextFile("/proc/self/status");
console.log(Number(status.match(/VmHWM:\s+(\d+) kB/)![1]) / 1024);
