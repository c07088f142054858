import { assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { makeConfigDisk } from "../../lib/emulator/config_disk.ts";
import { type Emulator, openEmulator } from "../../lib/emulator/emulator.ts";
import { HotbootError } from "../../lib/error.ts";
import { readIso } from "../../lib/iso/read.ts";

/** The demo with other lines on its config disk. */
async function emulator(lines: string[], instance = "vm"): Promise<Emulator> {
  const demo = await openEmulator({ profile: "demo", home: "/the/home", instance });
  return { ...demo, profile: { ...demo.profile, config: { label: "DEMOCFG", files: { "runtime.env": lines } } } };
}

Deno.test("config disk: values are filled in, and a dollar sign can be had", async () => {
  const lines = [
    "A=${ports.backend.host} ${ports.backend.guest}",
    "B=${instance.name} ${instance.directory}",
    "C=$$x $",
  ];
  using read = await readIso((await makeConfigDisk(await emulator(lines)))!.image);
  const [file] = await Array.fromAsync(read.entries());
  assertEquals([read.label, file.path], ["DEMOCFG", "runtime.env"]);
  assertEquals(
    new TextDecoder().decode(await read.bytes(file)),
    "A=26801 8102\nB=vm /the/home/instances/vm\nC=$x $\n",
  );
});

Deno.test("config disk: it is the same for the same values, and another for others", async () => {
  const digest = async (lines: string[], instance?: string) =>
    (await makeConfigDisk(await emulator(lines, instance)))!.sha256;
  assertEquals(await digest(["A=1"]), await digest(["A=1"], "other"));
  assertNotEquals(await digest(["A=1"]), await digest(["A=2"]));
  assertNotEquals(await digest(["${instance.name}"]), await digest(["${instance.name}"], "other"));
});

Deno.test("config disk: what stands for nothing is named", async () => {
  for (const name of ["ports.nope.host", "ports.backend", "ports.backend.other", "constructor", ""]) {
    await assertRejects(
      async () => await makeConfigDisk(await emulator([`\${${name}}`])),
      HotbootError,
      `config.files["runtime.env"]: \${${name}} stands for nothing`,
    );
  }
});
