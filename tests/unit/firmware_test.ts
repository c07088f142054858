import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { HotbootError } from "../../lib/base/error.ts";
import { openEmulator } from "../../lib/instance/emulator.ts";
import { grantsOf } from "../../lib/cli/permissions/grants.ts";
import { findFirmware, firmwarePlaces } from "../../lib/vm/firmware.ts";

const only = (...paths: string[]) => (path: string) => Promise.resolve(paths.includes(path));

Deno.test("firmware: QEMU's own, beside the program, comes before a package's", async () => {
  const cellar = "/opt/homebrew/Cellar/qemu/9.2.0";
  const qemu = `${cellar}/bin/qemu-system-aarch64`;
  const own = `${cellar}/share/qemu/edk2-aarch64-code.fd`;
  const linked = "/opt/homebrew/share/qemu/edk2-aarch64-code.fd";
  const debian = "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd";
  const padded = "/usr/share/AAVMF/AAVMF_CODE.fd";
  assertEquals(await findFirmware(qemu, only(padded, debian, linked, own)), own);
  assertEquals(await findFirmware(qemu, only(padded, debian, linked)), linked);
  assertEquals(await findFirmware(qemu, only(padded, debian)), debian);
  assertEquals(await findFirmware(qemu, only(padded)), padded);
});

Deno.test("firmware: if there is none, the error says why it is needed and what to install", async () => {
  const error = await assertRejects(() => findFirmware("/usr/bin/qemu-system-aarch64", only()), HotbootError);
  assertMatch(error.message, /UEFI firmware to boot.*apt install qemu-efi-aarch64.*brew install qemu/);
  assertEquals(error.message.includes("\n"), false);
});

Deno.test("firmware: only commands that boot an arm64 guest may look for it", async () => {
  const directory = await Deno.makeTempDir();
  const path = Deno.env.get("PATH")!;
  try {
    const qemu = `${directory}/bin/qemu-system-aarch64`;
    await Deno.mkdir(`${directory}/bin`);
    await Deno.writeTextFile(qemu, "", { mode: 0o755 });
    Deno.env.set("PATH", `${directory}/bin`);
    const reads = async (command: string, arch: "amd64" | "arm64") => {
      const emulator = await openEmulator({ home: `${directory}/home`, arch });
      return (await grantsOf(command, { emulator, named: () => [], switches: new Set() })).read;
    };
    const places = firmwarePlaces(qemu);
    assertEquals(places[0], `${directory}/share/qemu/edk2-aarch64-code.fd`);
    const isFirmware = (each: string) => places.includes(each);
    for (const command of ["start", "capture"]) {
      assertEquals((await reads(command, "arm64")).filter(isFirmware), places);
      assertEquals((await reads(command, "amd64")).filter(isFirmware), []);
    }
    assertEquals((await reads("status", "arm64")).filter(isFirmware), []);
  } finally {
    Deno.env.set("PATH", path);
    await Deno.remove(directory, { recursive: true });
  }
});
