import { assertEquals, assertMatch } from "@std/assert";
import { assertCode, hotboot } from "./program.ts";
import { ARCH } from "./qemu.ts";

const modeOf = async (path: string) => ((await Deno.stat(path)).mode! & 0o777).toString(8);

Deno.test("hotboot's new files are private; those in an image and the user's ISOs follow the umask", async (t) => {
  const directory = await Deno.makeTempDir({ prefix: "hotboot-test-" });
  const before = Deno.umask(0o022);
  try {
    await t.step("a recipe runs with the usual umask, and its output is private", async () => {
      const script = `${directory}/recipe.sh`;
      const profile = `${directory}/profile.json`;
      const home = `${directory}/home`;
      await Deno.writeTextFile(script, `umask >"$1/kernel"; echo "$2" >"$1/disk.qcow2"; chmod 666 "$1/disk.qcow2"\n`);
      await Deno.writeTextFile(
        profile,
        JSON.stringify({
          name: "masked",
          image: { build: { script: "recipe.sh", inputs: ["recipe.sh"] } },
          machine: { memory: 64, cpus: 1 },
          ports: { web: { guest: 80, host: 26899 } },
          health: [{ name: "web", port: "web", path: "/" }],
        }),
      );
      for (const mask of [0o022, 0o077]) {
        Deno.umask(mask);
        assertCode(await hotboot(["build", "--force", "--home", home, "--profile", profile]), 0);
        const image = `${home}/images/masked-${ARCH}`;
        assertMatch(await Deno.readTextFile(`${image}.kernel`), /^0?022\n$/);
        assertEquals(await Deno.readTextFile(`${image}.qcow2`), `${ARCH}\n`);
        for (const file of [".qcow2", ".kernel", ".json"]) assertEquals(await modeOf(image + file), "600");
        for (const path of [home, `${home}/images`, `${home}/locks`]) assertEquals(await modeOf(path), "700");
      }
    });

    await t.step("an ISO image follows the user's umask", async () => {
      await Deno.mkdir(`${directory}/tree`);
      for (const [mask, mode] of [[0o022, "644"], [0o077, "600"]] as const) {
        Deno.umask(mask);
        assertCode(await hotboot(["iso", "create", "-o", `${directory}/${mode}.iso`, `${directory}/tree`]), 0);
        assertEquals(await modeOf(`${directory}/${mode}.iso`), mode);
      }
    });
  } finally {
    Deno.umask(before);
    await Deno.remove(directory, { recursive: true });
  }
});
