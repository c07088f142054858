/** peak.ts WHAT ARGS…: does WHAT, and prints this process's peak memory in MiB. */

const WORK: Record<string, (...args: string[]) => Promise<unknown>> = {
  async iso(source, image) { // without arguments: the memory that loading it takes
    const { writeIso } = await import("../../lib/iso/write.ts");
    if (source) await writeIso(image, [{ kind: "file", path: "file", content: { path: source } }]);
  },
  async download(url, path, sha256) {
    const { download } = await import("../../lib/release/download.ts");
    await download(path, { name: "file", request: { url }, sha256 });
  },
  async compress(from, to) {
    const { compressFile } = await import("../../lib/zstd/file.ts");
    await compressFile(from, to);
  },
  async decompress(from, to) {
    const { decompressFile } = await import("../../lib/zstd/file.ts");
    await decompressFile(from, to);
  },
};

const [what, ...args] = Deno.args;
await WORK[what](...args);
const status = await Deno.readTextFile("/proc/self/status");
console.log(Number(status.match(/VmHWM:\s+(\d+) kB/)![1]) / 1024);
