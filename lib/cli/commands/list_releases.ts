import { HotbootError } from "../../base/error.ts";
import { packedBytes } from "../../oci/asset_index.ts";
import type { Release } from "../../release/github.ts";
import { formatBytes } from "../../base/format.ts";
import { printJson } from "../ui/console.ts";
import { printTable } from "../ui/table.ts";
import { type Command, repository } from "./command.ts";
import { emulatorOf } from "./context.ts";

export const command: Command = {
  about: "List the releases that 'pull' can get the image from, newest first.",
  activity: "asking for the releases",
  examples: [
    "hotboot list-releases",
    "hotboot list-releases --repo acme/shop",
  ],
  flags: [{ name: "repo", value: "OWNER/NAME", summary: "the GitHub repository (default: the profile's)" }],
  async run(context) {
    const { openGitHub } = await import("../../image/pull.ts");
    const named = repository(context.args);
    const emulator = await emulatorOf(context);
    const { release } = emulator.profile.image;
    const from = named ?? release?.repository;
    if (!from) {
      throw new HotbootError(`profile '${emulator.profile.name}' names no repository: name one with --repo`);
    }
    const github = await openGitHub(emulator);
    const disk = release?.assets.disk.replaceAll("{arch}", emulator.arch);
    const isOne = tagMatcher(release?.tag);
    const rows = (await github.releases(from)).filter(({ tag_name }) => isOne(tag_name)).map((each) =>
      describe(each, disk)
    );
    if (context.args.switches.has("json")) return await printJson(rows);
    if (rows.length === 0) return emulator.report.step(`${from} has no releases`);
    const size = (bytes?: number) => bytes === undefined ? "no image" : formatBytes(bytes);
    await printTable(
      ["tag", "status", "date", "size"],
      rows.map(({ tag, status, date, bytes }) => [tag, status, date.slice(0, 10), size(bytes)]),
    );
  },
};

/** Matches the tags of the profile's pattern, for any branch, and not the repository's other releases. */
function tagMatcher(pattern = "{branch}"): (tag: string) => boolean {
  const [before, after] = pattern.split("{branch}");
  if (after === undefined) return (tag) => tag === before;
  return (tag) => tag.startsWith(before) && tag.endsWith(after) && tag.length >= before.length + after.length;
}

/** `bytes` is missing if the release has no image for this architecture. */
function describe({ tag_name, draft, prerelease, published_at, assets }: Release, disk?: string) {
  const asset = assets.find(({ name }) => disk === undefined ? name.endsWith(".qcow2") : name === disk);
  return {
    tag: tag_name,
    status: draft ? "draft" : prerelease ? "pre-release" : "release",
    date: published_at ?? "",
    bytes: asset?.size ?? (disk !== undefined && packedBytes(assets, disk) || undefined),
  };
}
