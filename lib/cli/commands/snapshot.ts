import type { SnapshotUser } from "../../instance/users.ts";
import type { SnapshotInfo } from "../../emulator/snapshots.ts";
import { formatBytes } from "../../base/format.ts";
import { print, printError, printJson } from "../ui/console.ts";
import { age, renderTable } from "../ui/table.ts";
import { type CommandContext, type CommandGroup, UsageError } from "./command.ts";
import { emulatorOf } from "./context.ts";

export const command: CommandGroup = {
  about: "List, remove, verify, export and import snapshots.",
  commands: {
    ls: {
      about:
        "List the emulator's snapshots, the newest first. 'start' resumes the newest that fits this machine and the profile.\n" +
        "The list shows what each takes on the disk and its full size, which instances use it, and why it cannot be resumed.",
      flags: [{ name: "all", short: "a", summary: "list those of all profiles and architectures" }],
      run: list,
    },
    rm: {
      operands: "ID…",
      about: "Remove snapshots. The beginning of an ID is enough. A snapshot that an instance uses is not removed.",
      flags: [{ name: "all", short: "a", summary: "remove all of the emulator's" }],
      run: remove,
    },
    prune: {
      about:
        "Remove what is no longer needed. That is each snapshot that cannot be resumed here or is older than the newest that\n" +
        "can, and what killed commands have left, which may be as large as a guest's memory. What an instance uses stays.",
      flags: [{ name: "dry-run", short: "n", summary: "only print what would be removed" }],
      run: prune,
    },
    export: {
      operands: "[ID] FILE",
      about:
        "Write a snapshot to one compact file. Without an ID it is the newest. The file is a tar archive, compressed with\n" +
        "zstd; - is standard output. It contains everything that was in the guest's memory.",
      flags: [],
      run: exportOne,
    },
    import: {
      operands: "FILE",
      about:
        "Add a snapshot that 'export' has written, as the newest one. FILE may be - for standard input. The next start runs\n" +
        "the machine of whoever exported it: import only from people you trust.",
      flags: [{ name: "force", short: "f", summary: "import it even if it cannot be resumed here" }],
      run: importOne,
    },
    verify: {
      operands: "[ID]",
      about: "Read a whole snapshot and compare it with what was captured. Without an ID it is the newest.",
      flags: [],
      run: verify,
    },
  },
};

async function list(context: CommandContext): Promise<void> {
  const { listSnapshots } = await import("../../emulator/snapshots.ts");
  const { switches } = context.args;
  const snapshots = await listSnapshots(await emulatorOf(context), { all: switches.has("all") });
  if (switches.has("json")) return await printJson(snapshots);
  if (snapshots.length === 0) return await printError("hotboot: there are no snapshots: 'hotboot capture' makes one");
  const titles = ["id", "profile", "engine", "age", "on disk", "size", "used by", "resumes here"];
  await print(renderTable(titles, snapshots.map(row)));
}

function row({ id, profile, arch, engine, created, bytes, apparentBytes, usedBy, state, why }: SnapshotInfo): string[] {
  const users = usedBy.map(({ instance, state }: SnapshotUser) => `${instance} (${state})`).join(", ") || "-";
  const usable = { usable: "yes", unusable: `no: ${why}`, unknown: `unknown: ${why}` }[state];
  const sizes = [formatBytes(bytes), formatBytes(apparentBytes)];
  return [id, `${profile} ${arch}`, engine ?? "?", age(created), ...sizes, users, usable];
}

async function remove(context: CommandContext): Promise<void> {
  const { removeSnapshots } = await import("../../emulator/snapshots.ts");
  const { operands, switches } = context.args;
  const all = switches.has("all");
  if (all === operands.length > 0) {
    throw new UsageError("snapshot rm needs either IDs or --all: see 'hotboot snapshot rm --help'");
  }
  const emulator = await emulatorOf(context);
  const { removed, bytes } = await removeSnapshots(emulator, all ? { all } : { ids: operands });
  if (switches.has("json")) return await printJson({ removed, bytes });
  await print(`removed ${removed.join(", ") || "nothing"}: ${formatBytes(bytes)}`);
}

async function prune(context: CommandContext): Promise<void> {
  const { pruneSnapshots } = await import("../../emulator/prune.ts");
  const { switches } = context.args;
  const emulator = await emulatorOf(context);
  const dryRun = switches.has("dry-run");
  const result = await pruneSnapshots(emulator, { dryRun });
  if (switches.has("json")) return await printJson(result);
  const verb = dryRun ? "would remove" : "removed";
  for (const { path, why, bytes } of result.removed) await print(`${verb} ${path}, ${formatBytes(bytes)}: ${why}`);
  await print(`${dryRun ? "would free" : "freed"} ${formatBytes(result.bytes)}`);
}

async function verify(context: CommandContext): Promise<void> {
  const { verifySnapshot } = await import("../../emulator/snapshots.ts");
  const { operands, switches } = context.args;
  if (operands.length > 1) throw new UsageError("snapshot verify takes one ID: see 'hotboot snapshot verify --help'");
  const emulator = await emulatorOf(context);
  const result = await verifySnapshot(emulator, operands[0]);
  if (switches.has("json")) return await printJson(result);
  const bytes = Object.values(result.files).reduce((sum, { size }) => sum + size, 0);
  const compared = result.recorded
    ? "sizes and samples are right; the digests are recorded for the next time"
    : "sound";
  await print(`${result.snapshot}: ${compared} (${Object.keys(result.files).join(", ")}; ${formatBytes(bytes)})`);
}

async function exportOne(context: CommandContext): Promise<void> {
  const { exportSnapshot } = await import("../../emulator/export.ts");
  const { operands, switches } = context.args;
  const [file, id, ...more] = operands.toReversed();
  if (file === undefined || more.length > 0) {
    throw new UsageError("snapshot export takes [ID] FILE: see 'hotboot snapshot export --help'");
  }
  const isStream = file === "-";
  if (isStream && Deno.stdout.isTerminal()) {
    throw new UsageError("a snapshot cannot be written to a terminal: name a FILE, or redirect standard output");
  }
  const emulator = await emulatorOf(context);
  const result = await exportSnapshot(emulator, isStream ? Deno.stdout.writable : file, id);
  if (switches.has("json") && !isStream) return await printJson({ ...result, file });
  emulator.report.step(`exported ${result.snapshot}: ${formatBytes(result.bytes)}`);
}

async function importOne(context: CommandContext): Promise<void> {
  const { importSnapshot } = await import("../../emulator/import.ts");
  const { operands, switches } = context.args;
  const [file, ...more] = operands;
  if (file === undefined || more.length > 0) {
    throw new UsageError("snapshot import takes a FILE: see 'hotboot snapshot import --help'");
  }
  const emulator = await emulatorOf(context);
  const source = file === "-" ? Deno.stdin.readable : file;
  const result = await importSnapshot(emulator, source, { force: switches.has("force") });
  if (switches.has("json")) return await printJson(result);
  const { snapshot, exported, why } = result;
  if (why) emulator.report.warn(`it cannot be resumed here: ${why}`);
  await print(snapshot === exported ? snapshot : `${snapshot} (exported as ${exported})`);
}
