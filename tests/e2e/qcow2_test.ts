import { assertEquals } from "@std/assert";
import { createOverlay, setBackingFile } from "../../lib/vm/qcow2.ts";

async function qemuImg(...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command("qemu-img", { args }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

Deno.test("qemu-img finds our overlays valid, empty, and with the right backing file", async () => {
  const directory = await Deno.makeTempDir({ prefix: "hotboot, test-" });
  try {
    const base = `${directory}/base, größer.qcow2`;
    const overlay = `${directory}/overlay`;
    for (const megabytes of [1, 64, 512, 513, 4096, 3_000_000]) {
      await qemuImg("create", "-q", "-f", "qcow2", base, `${megabytes}M`);
      await createOverlay(overlay, "base, größer.qcow2", megabytes * 2 ** 20);
      const check = JSON.parse(await qemuImg("check", "--output=json", overlay));
      assertEquals([check["check-errors"], check.corruptions, check.leaks], [0, undefined, undefined]);
      const info = JSON.parse(await qemuImg("info", "--output=json", overlay));
      assertEquals(info["virtual-size"], megabytes * 2 ** 20);
      assertEquals([info["full-backing-filename"], info["backing-filename-format"]], [base, "qcow2"]);
      if (megabytes <= 4096) assertEquals(await qemuImg("compare", base, overlay), "Images are identical.\n");
      await Deno.rename(base, `${directory}/elsewhere`);
      await setBackingFile(overlay, `${directory}/elsewhere`);
      const moved = JSON.parse(await qemuImg("info", "--output=json", overlay));
      assertEquals([moved["full-backing-filename"], moved["backing-filename-format"]], [
        `${directory}/elsewhere`,
        "qcow2",
      ]);
      assertEquals(JSON.parse(await qemuImg("check", "--output=json", overlay))["check-errors"], 0);
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
