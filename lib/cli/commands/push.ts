import { print, printJson } from "../ui/console.ts";
import type { Command } from "./command.ts";
import { emulatorOf } from "./context.ts";

export const command: Command = {
  operands: "[REF]",
  about: "Push the image that is there to an OCI registry, from which 'pull' gets it: by default to the profile's\n" +
    "image.oci, else to REF, such as oci://registry.example.com/team/shop:main. Sends only what the registry does not have.",
  activity: "pushing the image",
  examples: [
    "hotboot push",
    "hotboot push oci://registry.example.com/team/shop:main",
  ],
  flags: [
    { name: "container-disk", summary: "also push it as KubeVirt takes it, under the same tag" },
    { name: "force", short: "f", summary: "replace what the tag names, even if hotboot did not push it" },
  ],
  async run(context) {
    const { push } = await import("../../image/push.ts");
    const { operands, switches } = context.args;
    const pushed = await push(await emulatorOf(context), {
      reference: operands[0],
      containerDisk: switches.has("container-disk"),
      force: switches.has("force"),
    });
    await (switches.has("json") ? printJson(pushed) : print(`${pushed.reference}@${pushed.digest}`));
  },
};
