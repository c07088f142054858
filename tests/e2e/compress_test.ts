// needs: qemu

import { assert, assertEquals, assertRejects } from "@std/assert";
import { HotbootError } from "../../lib/base/error.ts";
import { copyCompressed } from "../../lib/vm/compress.ts";
import { QemuProcess } from "../../lib/vm/process.ts";
import { createOverlay } from "../../lib/vm/qcow2.ts";
import { ARCH, newerQemu, QEMU } from "./qemu.ts";
import { tool } from "./tool.ts";

for (const [title, findQemu] of [["the system's QEMU", () => QEMU[ARCH]], ["a newer QEMU", newerQemu]] as const) {
  Deno.test(`${title} turns a disk and its backing files into one compressed file`, async () => {
    const program = await findQemu();
    const directory = await Deno.makeTempDir({ prefix: "hotboot, test-" });
    const [base, disk, copy] = ["base", "disk", "copy"].map((name) => `${directory}/${name}.qcow2`);
    const write = (path: string, ...commands: string[]) =>
      tool("qemu-io", "-f", "qcow2", "-d", "unmap", ...commands.flatMap((command) => ["-c", command]), path);
    try {
      await tool("qemu-img", "create", "-q", "-f", "qcow2", base, "64M");
      await write(base, "write -P 1 0 8M", "write -P 2 16M 8M", "write -P 3 40M 1M");
      await createOverlay(disk, base, 96 * 2 ** 20);
      await write(disk, "write -P 4 4M 8M", "discard 16M 8M", "write -P 5 80M 64k");

      const monitor = `${directory}/monitor`;
      const machine = ["-machine", "none", "-nodefaults", "-display", "none"];
      const drive = `id=disk,if=none,format=qcow2,discard=unmap,file=${disk.replaceAll(",", ",,")}`;
      const socket = `socket,id=monitor,server=on,wait=off,path=${monitor.replaceAll(",", ",,")}`;
      const args = [...machine, "-drive", drive, "-chardev", socket, "-mon", "chardev=monitor,mode=control"];
      {
        await using qemu = await QemuProcess.launch(program, args, { monitor, launcher: `${directory}/launcher` });
        await copyCompressed(qemu.qmp, "disk", copy);
        await assertRejects(() => copyCompressed(qemu.qmp, "other", `${copy}.2`), HotbootError, "no disk 'other'");
        await qemu.quit();
      }
      assertEquals(await tool("qemu-img", "compare", copy, disk), "Images are identical.");
      const info = JSON.parse(await tool("qemu-img", "info", "--output=json", copy));
      assertEquals([info["backing-filename"], info["virtual-size"]], [undefined, 96 * 2 ** 20]);
      assertEquals(info["format-specific"].data["compression-type"], "zstd");
      const check = JSON.parse(await tool("qemu-img", "check", "--output=json", copy));
      assertEquals([check["check-errors"], check.corruptions, check.leaks], [0, undefined, undefined]);
      // 13 MiB and 64 KiB are written, in clusters of 64 KiB; discarded ones take none.
      assertEquals([check["allocated-clusters"], check["compressed-clusters"]], [209, 209]);
      const { size, mode } = await Deno.stat(copy);
      assert(size < 2 ** 20, `${size}`);
      assertEquals(mode! & 0o777, 0o600);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
}
