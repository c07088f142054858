import { printable } from "../../base/printable.ts";
import type { Diagnosis } from "../../doctor/doctor.ts";
import type { Finding } from "../../doctor/finding.ts";
import { advised, print, printJson } from "../ui/console.ts";
import type { Command } from "./command.ts";
import { emulatorOf } from "./context.ts";
import { FAILURE, OK } from "./outcome.ts";

export const command: Command = {
  showsNetwork: true,
  about:
    "Look at all that a start needs: QEMU and its accelerators, memory, disks, ports, the home with its instances and\n" +
    "snapshots, what killed programs have left, and the way to GitHub. Each line has a mark, what was found, and what to\n" +
    "type. The exit code is 0 if a start would work, and 1 if it would fail. Asks no server without --online.",
  examples: [
    "hotboot doctor",
    "hotboot doctor --fix  # end and remove what killed programs have left",
    "hotboot doctor --json",
  ],
  activity: "looking at this machine",
  flags: [
    { name: "fix", summary: "end QEMUs that belong to no instance, and remove files that no command uses" },
    { name: "online", summary: "also ask GitHub for the profile's release" },
  ],
  async run(context) {
    const { examine } = await import("../../doctor/doctor.ts");
    const { switches } = context.args;
    const emulator = await emulatorOf(context);
    const diagnosis = await examine(emulator, { fix: switches.has("fix"), online: switches.has("online") });
    if (switches.has("json")) await printJson(diagnosis);
    else {
      const lines = describe(diagnosis, switches.has("quiet"));
      if (lines.length > 0) await print(advised(lines.join("\n")));
    }
    return diagnosis.starts ? OK : FAILURE;
  },
};

const MARKS: Record<Finding["mark"], string> = { ok: "ok", info: "info", warn: "WARN", fail: "FAIL" };
const MARK_WIDTH = 4;
const TITLE_WIDTH = "GitHub token".length;

/** One finding in a line, what to do about it in the next, and the result at the end. */
function describe({ starts, findings }: Diagnosis, isQuiet: boolean): string[] {
  const shown = findings.filter(({ mark }) => !isQuiet || mark === "warn" || mark === "fail");
  const lines = shown.flatMap(({ mark, title, reason, fix }) => [
    `${MARKS[mark].padEnd(MARK_WIDTH)}  ${title.padEnd(TITLE_WIDTH)}  ${printable(reason)}`,
    ...fix === undefined ? [] : [`${" ".repeat(MARK_WIDTH + TITLE_WIDTH + 4)}-> ${printable(fix)}`],
  ]);
  const failures = findings.filter(({ mark }) => mark === "fail").length;
  const result = starts
    ? "A start would work."
    : `A start would fail: see ${failures === 1 ? "the line" : `the ${failures} lines`} with FAIL.`;
  return [...lines, ...isQuiet ? [] : ["", result]];
}
