import { print, printJson } from "../ui/console.ts";
import { type Command, repository, UsageError, wholeNumber } from "./command.ts";
import { emulatorOf } from "./context.ts";

export const command: Command = {
  about:
    "Download the profile's image, unless it is up to date, and capture a snapshot of it. From a registry, download\n" +
    "only what is not on this machine. A download that broke off continues where it stopped.",
  activity: "downloading the image",
  examples: [
    "hotboot pull",
    "hotboot pull --tag v1.2.3 --skip-snapshot",
    "hotboot pull --pr 42",
  ],
  flags: [
    { name: "repo", value: "OWNER/NAME", summary: "the GitHub repository (default: the profile's)" },
    { name: "branch", value: "NAME", summary: "pull the release of this branch (default: the profile's)" },
    { name: "tag", value: "TAG", summary: "pull the release, or the registry's image, with this tag" },
    { name: "pr", value: "N", summary: "pull the latest successful build of this pull request" },
    { name: "run", value: "ID", summary: "pull what this workflow run built" },
    { name: "skip-snapshot", variable: "EMULATOR_NO_SNAPSHOT", summary: "do not capture; the next start does" },
    {
      name: "force-capture",
      variable: "EMULATOR_FORCE_CAPTURE",
      summary: "capture even if there is a snapshot to resume",
    },
    { name: "force", short: "f", summary: "download even if the image is up to date" },
  ],
  usesPorts: true,
  async run(context) {
    const { pull } = await import("../../image/pull.ts");
    const { args } = context;
    const { branch, tag } = args.values;
    const which = ["branch", "tag", "pr", "run"].filter((name) => args.values[name] !== undefined);
    if (which.length > 1) throw new UsageError(`--${which[0]} and --${which[1]} name two images: choose one`);
    const repo = repository(args);
    const emulator = await emulatorOf(context);
    const { image, pulled, size, moved } = await pull(emulator, {
      repository: repo,
      branch,
      tag,
      pullRequest: wholeNumber(args, "pr"),
      run: wholeNumber(args, "run"),
      force: args.switches.has("force"),
    });
    const captured = args.switches.has("skip-snapshot")
      ? undefined
      : await (await import("../../emulator/capture.ts")).capture(emulator, {
        force: args.switches.has("force-capture"),
      });
    if (args.switches.has("json")) {
      await printJson({ pulled, size, moved, paths: image.paths, ...image.record, snapshot: captured?.snapshot });
    } else {
      await print(pulled ? image.paths.disk : `${image.paths.disk} (already up to date)`);
    }
  },
};
