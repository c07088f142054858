import { assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { makeConfigDisk } from "../../lib/instance/config_disk.ts";
import { type Emulator, openEmulator } from "../../lib/instance/emulator.ts";
import { HotbootError } from "../../lib/base/error.ts";
import { readIso } from "../../lib/iso/read.ts";
import { loadProfile } from "../../lib/profile/load.ts";
import { withDirectory } from "./temporary.ts";

/** The demo with other lines on its config disk. */
async function emulator(lines: string[], instance = "vm"): Promise<Emulator> {
  const demo = await openEmulator({ profile: "demo", home: "/the/home", instance });
  return { ...demo, profile: { ...demo.profile, config: { label: "DEMOCFG", files: { "runtime.env": lines } } } };
}

Deno.test("config disk: values are filled in, and $$ gives a dollar sign", async () => {
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

Deno.test("config disk: the same values give the same disk, and other values another", async () => {
  const digest = async (lines: string[], instance?: string) =>
    (await makeConfigDisk(await emulator(lines, instance)))!.sha256;
  assertEquals(await digest(["A=1"]), await digest(["A=1"], "other"));
  assertNotEquals(await digest(["A=1"]), await digest(["A=2"]));
  assertNotEquals(await digest(["${instance.name}"]), await digest(["${instance.name}"], "other"));
});

Deno.test("config disk: an undefined name is reported", async () => {
  for (const name of ["ports.nope.host", "ports.backend", "ports.backend.other", "constructor", ""]) {
    await assertRejects(
      async () => await makeConfigDisk(await emulator([`\${${name}}`])),
      HotbootError,
      `config.files["runtime.env"]: \${${name}} is not defined`,
    );
  }
});

Deno.test("config disk: a named file replaces the lines", () =>
  withDirectory(async (directory) => {
    const contents = async (file: string) => {
      const { profile, ...demo } = await emulator([]);
      const config = { label: "DEMOCFG", files: { "base.env": { file, lines: ["A=${ports.backend.host}"] } } };
      using read = await readIso((await makeConfigDisk({ ...demo, profile: { ...profile, config } }))!.image);
      const [entry] = await Array.fromAsync(read.entries());
      return new TextDecoder().decode(await read.bytes(entry));
    };
    assertEquals(await contents(""), "A=26801\n");
    await Deno.writeTextFile(`${directory}/other.env`, "B=$${x} without an end");
    assertEquals(await contents(`${directory}/other.env`), "B=$${x} without an end");
    await assertRejects(() => contents(`${directory}/none`), HotbootError, `${directory}/none does not exist`);
  }));

Deno.test("config disk: paths in a profile are relative to the profile's file", () =>
  withDirectory(async (directory) => {
    const profile = JSON.parse(await Deno.readTextFile(new URL("../../qemu/demo/profile.json", import.meta.url)));
    profile.config.files["base.env"] = { file: "sub/base.env" };
    await Deno.writeTextFile(`${directory}/profile.json`, JSON.stringify(profile));
    const loaded = await loadProfile(`${directory}/profile.json`);
    const real = await Deno.realPath(directory);
    assertEquals(loaded.profile.config!.files["base.env"], { file: `${real}/sub/base.env` });
  }));
