import { print, printJson } from "../ui/console.ts";
import { type CommandGroup, UsageError } from "./command.ts";
import { emulatorOf } from "./context.ts";

export const command: CommandGroup = {
  about: "Print what runs the image elsewhere.",
  commands: {
    kubevirt: {
      about:
        "Print a KubeVirt VirtualMachine and its Service, as YAML for 'kubectl apply', from the profile and a pushed image.\n" +
        "--image names the image with its digest, as 'hotboot push --container-disk' prints it; by default it is the profile's\n" +
        "image.oci. --instance names the machine. The machine boots: it resumes no snapshot. It takes its secrets from the\n" +
        "Secret NAME-secrets, which --secrets prints, too, with new values.",
      activity: "looking at the image",
      examples: [
        "hotboot export kubevirt",
        "hotboot export kubevirt --secrets --instance shop-2  # a second machine, and its secrets",
      ],
      flags: [
        {
          name: "image",
          value: "REF",
          summary: "the pushed image: oci://HOST/REPOSITORY@sha256:… (default: image.oci)",
        },
        { name: "secrets", summary: "also print a Secret with new values" },
      ],
      async run(context) {
        const { exportKubeVirt } = await import("../../emulator/kubevirt.ts");
        const { operands, switches, values } = context.args;
        if (operands.length > 0) throw new UsageError("export kubevirt takes no operands: name the image with --image");
        const items = await exportKubeVirt(await emulatorOf(context), {
          image: values.image,
          secrets: switches.has("secrets"),
        });
        if (switches.has("json")) return await printJson({ apiVersion: "v1", kind: "List", items });
        const { stringify } = await import("@std/yaml/stringify");
        await print(items.map((item) => stringify(item, { lineWidth: -1 }).trimEnd()).join("\n---\n"));
      },
    },
  },
};
