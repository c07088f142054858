import { assertEquals, assertRejects } from "@std/assert";
import { HotbootError } from "../../lib/error.ts";
import { createOverlay, readQcow2Header } from "../../lib/vm/qcow2.ts";

Deno.test("qcow2: an overlay's header says what it was made with", async () => {
  const directory = await Deno.makeTempDir({ prefix: "hotboot-unit-" });
  try {
    const path = `${directory}/overlay`;
    for (const virtualSize of [1 << 20, 64 << 20, 4 * 2 ** 30, 5 * 2 ** 40]) {
      await createOverlay(path, "../größer, base.qcow2", virtualSize);
      assertEquals(await readQcow2Header(path), {
        virtualSize,
        backingFile: "../größer, base.qcow2",
        needsOthers: true,
      });
      assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);
    }
    await assertRejects(() => createOverlay(path, "x".repeat(1024), 1 << 20), HotbootError, "too long");
    await Deno.writeTextFile(path, "no disk");
    await assertRejects(() => readQcow2Header(path), HotbootError, "no qcow2 disk");
    await assertRejects(() => readQcow2Header(`${path}.none`), HotbootError, "no disk at");
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
