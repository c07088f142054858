import { print, printJson } from "../ui/console.ts";
import { type Command, UsageError } from "./command.ts";
import { emulatorOf } from "./context.ts";

export const command: Command = {
  operands: "[REF]",
  about: "Push the image that is there to an OCI registry, from which 'pull' gets it: by default to the profile's\n" +
    "image.oci, else to REF, such as oci://registry.example.com/team/shop:main. Sends only what the registry does not have.",
  activity: "pushing the image",
  examples: [
    "hotboot push",
    "hotboot push oci://registry.example.com/team/shop:main",
    "hotboot push --assets published",
  ],
  flags: [
    {
      name: "assets",
      value: "DIR",
      summary: "write it to DIR instead, as the files of a GitHub release, of which 'pull' gets only what has changed",
    },
    { name: "container-disk", summary: "also push it as KubeVirt takes it, under the same tag" },
    { name: "force", short: "f", summary: "replace what the tag names, even if hotboot did not push it" },
  ],
  async run(context) {
    const { operands, switches, values: { assets } } = context.args;
    if (assets !== undefined) {
      const other = operands[0] ?? ["--container-disk", "--force"].find((name) => switches.has(name.slice(2)));
      if (other) {
        throw new UsageError(`--assets writes files, for which ${other} has no meaning: leave it out`);
      }
      const { writeAssets } = await import("../../image/assets.ts");
      const written = await writeAssets(await emulatorOf(context), assets);
      return await (switches.has("json")
        ? printJson(written)
        : print(written.files.map((name) => `${assets}/${name}`).join("\n")));
    }
    const { push } = await import("../../image/push.ts");
    const pushed = await push(await emulatorOf(context), {
      reference: operands[0],
      containerDisk: switches.has("container-disk"),
      force: switches.has("force"),
    });
    await (switches.has("json") ? printJson(pushed) : print(`${pushed.reference}@${pushed.digest}`));
  },
};
