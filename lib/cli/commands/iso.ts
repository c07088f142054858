import { quoted } from "../../base/printable.ts";
import type { IsoNode, IsoViewName } from "../../iso/read.ts";
import { print, printJson } from "../ui/console.ts";
import { type CommandContext, type CommandGroup, type Flag, oneOf, UsageError } from "./command.ts";
import { reporterOf } from "./reporter.ts";

const VIEWS: readonly IsoViewName[] = ["rock-ridge", "joliet", "iso9660"];

const VIEW: Flag = {
  name: "view",
  value: "VIEW",
  completes: VIEWS,
  summary: "rock-ridge, joliet or iso9660 (default: the richest in the image)",
};

export const command: CommandGroup = {
  about: "Make, list and unpack ISO 9660 images.",
  commands: {
    create: {
      operands: "PATH…",
      standalone: true,
      about:
        "Make an image with Joliet and Rock Ridge. Files, and the contents of directories, go to its root. An earlier\n" +
        "IMAGE in one of the directories is left out. Extended attributes are not kept.",
      activity: "writing the image",
      examples: [
        "hotboot iso create -o seed.iso --label CIDATA user-data meta-data",
        "hotboot iso create -o tree.iso --no-joliet tree",
      ],
      flags: [
        { name: "output", short: "o", value: "IMAGE", summary: "the path of the image" },
        {
          name: "label",
          value: "TEXT",
          summary: "the volume label, for the guest to find the disk; at most 32 bytes",
        },
        {
          name: "date",
          value: "DATE",
          summary: "the date of the volume, ISO 8601 (default: SOURCE_DATE_EPOCH or now)",
        },
        { name: "no-joliet", summary: "leave Joliet out; then names may differ in case only" },
        { name: "no-rock-ridge", summary: "leave Rock Ridge out, and with it modes, owners and symbolic links" },
      ],
      run: create,
    },
    ls: {
      operands: "IMAGE",
      standalone: true,
      about: "List the contents of an image.",
      examples: [
        "hotboot iso ls seed.iso",
        "hotboot iso ls seed.iso --view joliet --json",
      ],
      flags: [VIEW],
      run: list,
    },
    extract: {
      operands: "IMAGE DIR",
      standalone: true,
      about: "Unpack an image into a directory. Nothing is written outside it.",
      activity: "unpacking",
      examples: [
        "hotboot iso extract seed.iso seed",
      ],
      flags: [VIEW],
      run: extract,
    },
  },
};

async function create(context: CommandContext): Promise<void> {
  const { args, signal } = context;
  const { output, label = "", date } = args.values;
  if (!output) throw new UsageError("iso create needs -o IMAGE: see 'hotboot iso create --help'");
  if (args.operands.length === 0) throw new UsageError("iso create needs a PATH: see 'hotboot iso create --help'");
  const latest = date === undefined ? sourceDate() : undefined;
  const time = latest ?? (date === undefined ? new Date() : new Date(date));
  if (Number.isNaN(time.getTime())) throw new UsageError(`--date takes an ISO 8601 date, not '${date}'`);
  const [{ scan }, { writeIso }] = await Promise.all([import("../../iso/scan.ts"), import("../../iso/write.ts")]);
  const report = reporterOf(context);
  let count = 0;
  const entries = async function* () {
    for await (const entry of scan(args.operands, output)) {
      if (latest && entry.mtime && entry.mtime > latest) entry.mtime = latest;
      count++;
      yield entry;
    }
  };
  const size = await writeIso(output, entries(), {
    label,
    date: time,
    joliet: !args.switches.has("no-joliet"),
    rockRidge: !args.switches.has("no-rock-ridge"),
    signal,
    onWarning: report.warn,
  });
  if (args.switches.has("json")) await printJson({ image: output, label, size, entries: count });
  else report.step(`${output}: ${count} entries, ${size} bytes`);
}

/**
 * The time that the environment gives for reproducible builds: the volume's, and no file's is later.
 *
 * Source: reproducible-builds.org, "SOURCE_DATE_EPOCH" 1.1.
 */
function sourceDate(): Date | undefined {
  const seconds = Deno.env.get("SOURCE_DATE_EPOCH");
  if (!seconds) return undefined;
  const date = new Date(Number(seconds) * 1000);
  if (/^\d+$/.test(seconds) && !Number.isNaN(date.getTime())) return date;
  throw new UsageError(`SOURCE_DATE_EPOCH takes seconds since 1970, not '${seconds}': correct it or unset it`);
}

async function list(context: CommandContext): Promise<void> {
  const { args } = context;
  const [path, ...more] = args.operands;
  if (path === undefined || more.length > 0) {
    throw new UsageError("iso ls takes one IMAGE: see 'hotboot iso ls --help'");
  }
  const view = oneOf("view", args.values.view, VIEWS);
  const { readIso } = await import("../../iso/read.ts");
  using image = await readIso(path, { onWarning: reporterOf(context).warn });
  const nodes = image.entries(view);
  if (args.switches.has("json")) {
    const entries = [];
    for await (const { sections: _, ...node } of nodes) entries.push(node);
    return await printJson({ label: image.label, views: image.views, entries });
  }
  for await (const node of nodes) await print(row(node));
}

async function extract(context: CommandContext): Promise<void> {
  const { args, signal, symlink } = context;
  const [path, directory, ...more] = args.operands;
  if (directory === undefined || more.length > 0) {
    throw new UsageError("iso extract takes an IMAGE and a DIR: see 'hotboot iso extract --help'");
  }
  const [{ readIso }, { extractIso }] = await Promise.all([
    import("../../iso/read.ts"),
    import("../../iso/extract.ts"),
  ]);
  const report = reporterOf(context);
  const view = oneOf("view", args.values.view, VIEWS);
  using image = await readIso(path, { onWarning: report.warn });
  const count = await extractIso(image, directory, { view, signal, symlink, onWarning: report.warn });
  if (args.switches.has("json")) await printJson({ directory, entries: count });
  else report.step(`${count} entries written to ${directory}`);
}

const LETTERS = { file: "-", directory: "d", symlink: "l", other: "?" };

/** A line in the format of `ls -l`. */
function row({ path, kind, size, mode, uid = 0, gid = 0, mtime, target }: IsoNode): string {
  const bits = mode === undefined ? "---------" : Array.from("rwxrwxrwx", (letter, at) => (
    mode & (1 << (8 - at)) ? letter : "-"
  )).join("");
  const time = mtime ? mtime.toISOString().slice(0, 19).replace("T", " ") : "-".padEnd(19);
  const link = target === undefined ? "" : ` -> ${quoted(target)}`;
  return `${LETTERS[kind]}${bits} ${uid} ${gid} ${String(size).padStart(12)} ${time} ${quoted(path)}${link}`;
}
