import type { Emulator } from "../../instance/emulator.ts";
import type { SnapshotUser } from "../../instance/users.ts";
import type { SnapshotInfo } from "../../emulator/snapshots.ts";
import { formatBytes, formatDuration } from "../../base/format.ts";
import { leaveOutput, print, printError, printJson } from "../ui/console.ts";
import { age, type Cell, printTable } from "../ui/table.ts";
import { type CommandContext, type CommandGroup, UsageError } from "./command.ts";
import { emulatorOf } from "./context.ts";

export const command: CommandGroup = {
  about: "List, save, rename, remove, verify, export and import snapshots and checkpoints.",
  commands: {
    ls: {
      trust: "looks",
      about:
        "List the emulator's snapshots, newest first. 'start' resumes the newest that fits this machine and the profile.\n" +
        "The list shows each snapshot's space on disk and full size, the instances that use it, and why it cannot be resumed.",
      activity: "looking at the snapshots",
      examples: [
        "hotboot snapshot ls",
        "hotboot snapshot ls --all --json",
      ],
      flags: [{ name: "all", short: "a", summary: "list those of all profiles and architectures" }],
      run: list,
    },
    save: {
      operands: "NAME",
      about:
        "Save the instance as it is now as a checkpoint: memory, devices, disk and secrets. A running instance stands still\n" +
        "for a moment and runs on; a suspended one stays so. 'hotboot start --from NAME' starts an instance from it.",
      activity: "saving",
      examples: [
        "hotboot snapshot save with-data",
      ],
      flags: [],
      run: save,
    },
    rename: {
      trust: "ends",
      operands: "OLD NEW",
      about:
        "Give a checkpoint another name. OLD is its name or the beginning of its ID. A checkpoint that was made for a fork, and\n" +
        "has no name, goes with the last instance that uses it; with a name it stays.",
      examples: [
        "hotboot snapshot rename with-data before-migration",
      ],
      flags: [],
      run: rename,
    },
    rm: {
      trust: "ends",
      operands: "ID…",
      about:
        "Remove snapshots by the beginning of their IDs, and checkpoints also by their names. What an instance or a checkpoint\n" +
        "uses is not removed.",
      activity: "removing",
      examples: [
        "hotboot snapshot rm with-data",
        "hotboot snapshot rm --all",
      ],
      flags: [{ name: "all", short: "a", summary: "remove all of the emulator's" }],
      run: remove,
    },
    prune: {
      trust: "ends",
      about:
        "Remove what is no longer needed. That is each snapshot that cannot be resumed here or is older than the newest that\n" +
        "can, each checkpoint whose manifest is damaged, and leftovers of killed commands, which may be as large as a guest's\n" +
        "memory. What an instance uses stays.",
      activity: "looking for what is not needed",
      examples: [
        "hotboot snapshot prune --dry-run",
        "hotboot snapshot prune",
      ],
      flags: [{ name: "dry-run", short: "n", summary: "only print what would be removed" }],
      run: prune,
    },
    export: {
      operands: "[ID] FILE",
      about:
        "Write a snapshot or a checkpoint to one compact file. The default is the newest snapshot. ID is a checkpoint's name, or\n" +
        "the beginning of an ID. The file is a tar archive, compressed with zstd; - is standard output. It contains everything\n" +
        "that was in the guest's memory. A checkpoint's file has its disks, too, down to the image.",
      activity: "exporting",
      examples: [
        "hotboot snapshot export shop.hotboot",
        "hotboot snapshot export with-data -o with-data.hotboot --with-secrets",
        "hotboot snapshot export - | ssh ci hotboot snapshot import -",
      ],
      flags: [
        { name: "output", short: "o", value: "PATH", summary: "the file, in place of FILE" },
        {
          name: "since",
          value: "ID",
          completes: "snapshots",
          summary: "leave out what is also in this snapshot or checkpoint: the receiver must have it",
        },
        { name: "with-secrets", summary: "include the secrets of the checkpoint's session, to keep them" },
      ],
      implied: ({ values: { output, ...values }, switches, operands }) => ({
        values,
        switches,
        operands: output === undefined ? operands : [...operands, output],
      }),
      run: exportOne,
    },
    import: {
      operands: "FILE",
      about:
        "Add what 'export' wrote: a snapshot as the newest one, a checkpoint by its name. FILE may be - for standard input.\n" +
        "The next start runs the machine of whoever exported it: import only from people you trust.",
      activity: "importing",
      examples: [
        "hotboot snapshot import shop.hotboot",
        "hotboot snapshot import with-data.hotboot --name theirs",
      ],
      flags: [
        { name: "force", short: "f", summary: "import it even if it cannot be resumed here" },
        { name: "name", value: "NAME", summary: "what to call a checkpoint (default: as it was called)" },
      ],
      run: importOne,
    },
    verify: {
      trust: "looks",
      operands: "[ID]",
      about: "Read a whole snapshot and compare it with what was captured. The default is the newest.",
      activity: "reading the snapshot",
      examples: [
        "hotboot snapshot verify",
        "hotboot snapshot verify 20261124",
      ],
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
  await printTable(titles, snapshots.map(row));
}

function row(
  { id, kind, name, profile, arch, engine, created, bytes, apparentBytes, usedBy, spares, state, why }: SnapshotInfo,
): Cell[] {
  const names = usedBy.map((user: SnapshotUser) =>
    "checkpoint" in user ? user.checkpoint : `${user.instance} (${user.state})`
  );
  const users = [...names, ...spares ? [`${spares} spare${spares === 1 ? "" : "s"}`] : []].join(", ") || "-";
  const usable =
    { usable: "yes", unusable: `no: ${why}`, unknown: `unknown: ${why}`, damaged: `no, damaged: ${why}` }[state];
  const sizes = [formatBytes(bytes), formatBytes(apparentBytes)];
  return [
    name ? `${name} (${id})` : id,
    `${profile} ${arch}`,
    kind === "checkpoint" ? kind : engine ?? "?",
    age(created),
    ...sizes,
    users,
    { text: usable, style: state === "usable" ? "green" : state === "unknown" ? "yellow" : "red" },
  ];
}

async function save(context: CommandContext): Promise<void> {
  const { saveCheckpoint } = await import("../../emulator/checkpoint.ts");
  const { operands, switches } = context.args;
  const [name, ...more] = operands;
  if (name === undefined || more.length > 0) {
    throw new UsageError("snapshot save takes a NAME: see 'hotboot snapshot save --help'");
  }
  const result = await saveCheckpoint(await emulatorOf(context), name);
  if (switches.has("json")) return await printJson(result);
  await print(
    `saved ${name} (${result.id}): the instance stood still for ${formatDuration(result.stoodStillMs / 1000)}`,
  );
}

async function rename(context: CommandContext): Promise<void> {
  const { renameCheckpoint } = await import("../../emulator/rename.ts");
  const { operands, switches } = context.args;
  const [old, name, ...more] = operands;
  if (name === undefined || more.length > 0) {
    throw new UsageError("snapshot rename takes OLD NEW: see 'hotboot snapshot rename --help'");
  }
  const result = await renameCheckpoint(await emulatorOf(context), old, name);
  if (switches.has("json")) return await printJson(result);
  await print(`${result.id} is '${name}' now${result.was === undefined ? "" : `, and was '${result.was}'`}`);
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
  const compared = result.recorded ? "sizes and samples are right; recorded the digests for the next time" : "sound";
  await print(`${result.snapshot}: ${compared} (${Object.keys(result.files).join(", ")}; ${formatBytes(bytes)})`);
}

async function exportOne(context: CommandContext): Promise<void> {
  const { exportSnapshot } = await import("../../emulator/export.ts");
  const { operands, switches, values } = context.args;
  const { since } = values;
  const [file, id, ...more] = operands.toReversed();
  if (file === undefined || more.length > 0) {
    throw new UsageError("snapshot export takes [ID] FILE, or [ID] -o FILE: see 'hotboot snapshot export --help'");
  }
  const isStream = file === "-";
  if (isStream && Deno.stdout.isTerminal()) {
    throw new UsageError("a snapshot cannot be written to a terminal: name a FILE, or redirect standard output");
  }
  const emulator = await emulatorOf(context);
  if (id === undefined) await requireNoName(emulator, file);
  if (isStream) leaveOutput();
  const target = isStream ? Deno.stdout.writable : file;
  const withSecrets = switches.has("with-secrets");
  const result = await exportSnapshot(emulator, target, id, { ...(since !== undefined && { since }), withSecrets });
  if (switches.has("json") && !isStream) return await printJson({ ...result, file });
  emulator.report.step(`exported ${result.snapshot}: ${formatBytes(result.bytes)}`);
}

/** A checkpoint's name alone would be the file, with the newest snapshot in it. */
async function requireNoName(emulator: Emulator, file: string): Promise<void> {
  const { checkpointsOf } = await import("../../instance/checkpoints.ts");
  const all = await checkpointsOf(emulator);
  if (!all.some(({ manifest: { id, checkpoint: { name } } }) => file === name || file === id)) return;
  throw new UsageError(
    `'${file}' is a checkpoint: say where to write it, too ('hotboot snapshot export ${file} FILE')`,
  );
}

async function importOne(context: CommandContext): Promise<void> {
  const { importSnapshot } = await import("../../emulator/import.ts");
  const { operands, switches, values } = context.args;
  const [file, ...more] = operands;
  if (file === undefined || more.length > 0) {
    throw new UsageError("snapshot import takes a FILE: see 'hotboot snapshot import --help'");
  }
  const emulator = await emulatorOf(context);
  const source = file === "-" ? Deno.stdin.readable : file;
  const result = await importSnapshot(emulator, source, {
    force: switches.has("force"),
    ...(values.name !== undefined && { name: values.name }),
  });
  if (switches.has("json")) return await printJson(result);
  const { snapshot, exported, name, wasThere, why } = result;
  if (why) emulator.report.warn(`it cannot be resumed here: ${why}; 'hotboot snapshot rm ${snapshot}' removes it`);
  if (wasThere) emulator.report.step("it is here already");
  const own = name === undefined ? snapshot : `${name} (${snapshot})`;
  await print(snapshot === exported ? own : `${own}, exported as ${exported}`);
}
