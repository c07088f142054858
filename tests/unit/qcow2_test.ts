import { assertEquals, assertRejects } from "@std/assert";
import { HotbootError } from "../../lib/base/error.ts";
import { createOverlay, readQcow2Header, setBackingFile } from "../../lib/vm/qcow2.ts";
import { withDirectory } from "./temporary.ts";

Deno.test("qcow2: an overlay's header has the values that it was made with", async () => {
  await withDirectory(async (directory) => {
    const path = `${directory}/overlay`;
    for (const virtualSize of [1 << 20, 64 << 20, 4 * 2 ** 30, 5 * 2 ** 40]) {
      await createOverlay(path, "../größer, base.qcow2", virtualSize);
      assertEquals(await readQcow2Header(path), {
        virtualSize,
        backingFile: "../größer, base.qcow2",
        needsOthers: true,
        hasExternalData: false,
        isEncrypted: false,
      });
      assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);
    }
    await assertRejects(() => createOverlay(path, "x".repeat(1024), 1 << 20), HotbootError, "too long");
    await Deno.writeTextFile(path, "no disk");
    await assertRejects(() => readQcow2Header(path), HotbootError, "not a qcow2 disk");
    await assertRejects(() => readQcow2Header(`${path}.none`), HotbootError, "no disk at");
  });
});

Deno.test("qcow2: an overlay's backing file can be changed; a file that is no overlay stays as it was", async () => {
  await withDirectory(async (directory) => {
    const path = `${directory}/overlay`;
    await createOverlay(path, "/home/somebody/else/base.qcow2", 1 << 30);
    const original = await Deno.readFile(path);
    for (const name of ["short", "../größer, base.qcow2", `/${"x".repeat(1022)}`, "/home/somebody/else/base.qcow2"]) {
      assertEquals(await setBackingFile(path, name), true);
      assertEquals((await readQcow2Header(path)).backingFile, name);
      assertEquals(await setBackingFile(path, name), false);
    }
    assertEquals(await Deno.readFile(path), original);
    await assertRejects(() => setBackingFile(path, "x".repeat(1024)), HotbootError, "too long");

    const refuses = async (change: (view: DataView, bytes: Uint8Array) => void, why: string) => {
      const bytes = original.slice();
      change(new DataView(bytes.buffer), bytes);
      await Deno.writeFile(path, bytes);
      await assertRejects(() => setBackingFile(path, "base"), HotbootError, why);
      assertEquals(await Deno.readFile(path), bytes);
    };
    await refuses((view) => view.setUint32(0, 0), "not a qcow2 disk");
    await refuses((view) => view.setUint32(4, 4), "not a qcow2 disk");
    await refuses((view) => view.setUint32(76, 4), "its data is in another file");
    await refuses((view) => view.setUint32(20, 63), "an impossible cluster size");
    await refuses((view) => view.setBigUint64(8, 0n), "has no backing file");
    await refuses((view) => view.setBigUint64(8, 8n), "its header is damaged"); // in the header itself
    await refuses((view) => view.setBigUint64(8, 1n << 62n), "its header is damaged");
    await refuses((view) => view.setUint32(16, 0xffffffff), "its header is damaged");
    await refuses((view) => view.setUint32(100, 0xfffffff0), "its header is damaged");
    await refuses((view) => view.setUint32(108, 0xfffffff0), "its header is damaged"); // an endless extension
    await refuses((_, bytes) => bytes.set(new TextEncoder().encode("raw\0\0"), 112), "has the format 'raw");
    await Deno.writeTextFile(path, "no disk");
    await assertRejects(() => setBackingFile(path, "base"), HotbootError, "not a qcow2 disk");
  });
});
