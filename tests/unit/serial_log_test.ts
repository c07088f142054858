import { assertEquals } from "@std/assert";
import { ensureDir } from "@std/fs/ensure-dir";
import { trimSerialLog } from "../../lib/instance/serial_log.ts";
import { instancePath } from "../../lib/instance/channels.ts";
import { testEmulator } from "./emulators.ts";
import { withDirectory } from "./temporary.ts";

const MIB = 2 ** 20;

Deno.test("console: an overlong log is cut to its last part, which QEMU appends to; a short log stays", () =>
  withDirectory(async (directory) => {
    const emulator = await testEmulator(directory);
    const path = instancePath(emulator, "serial");
    await trimSerialLog(emulator); // there is none
    await ensureDir(emulator.home.instance(emulator.instance));
    using qemu = await Deno.open(path, { append: true, create: true });

    await qemu.write(new TextEncoder().encode("begun\n"));
    await trimSerialLog(emulator);
    assertEquals(await Deno.readTextFile(path), "begun\n");

    await qemu.truncate(80 * MIB);
    await qemu.write(new TextEncoder().encode("last words\n"));
    await trimSerialLog(emulator);
    await qemu.write(new TextEncoder().encode("and more\n"));
    const bytes = await Deno.readFile(path);
    assertEquals(bytes.length, 16 * MIB + "and more\n".length);
    assertEquals(new TextDecoder().decode(bytes.subarray(-20)), "last words\nand more\n");
  }));
