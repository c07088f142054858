import { formatBytes } from "../../base/format.ts";
import { print, printJson } from "../ui/console.ts";
import { type Arguments, type Command, UsageError } from "./command.ts";
import { emulatorOf } from "./context.ts";

export const command: Command = {
  operands: "[N]",
  about:
    "Keep N spares of the emulator, and make those that are missing. A spare is a guest that was resumed, got new secrets\n" +
    "and has proven them ahead of time. The next new instance uses one, once, and so starts as fast as it would without new\n" +
    "secrets. 'capture' and 'run --fresh -- CMD' make those that are missing when they end. 0 removes all. Without N: print how\n" +
    "many there are.",
  activity: "making spares",
  examples: [
    "hotboot spare 2",
    "hotboot spare  # how many there are",
    "hotboot spare 0",
  ],
  flags: [],
  spares: (args) => countOf(args) ?? 0,
  async run(context) {
    const { countSpares, makeSpares } = await import("../../emulator/spares.ts");
    const count = countOf(context.args);
    const emulator = await emulatorOf(context);
    const result = count === undefined ? await countSpares(emulator) : await makeSpares(emulator, count);
    if (context.args.switches.has("json")) return await printJson(result);
    const { spares, wanted, bytes } = result;
    await print(`spares: ${spares} of ${wanted}, ${formatBytes(bytes)}`);
  },
};

function countOf({ operands: [text, ...more] }: Arguments): number | undefined {
  if (text === undefined) return undefined;
  if (more.length === 0 && /^\d{1,3}$/.test(text)) return Number(text);
  throw new UsageError(`spare takes a whole number up to 999, not '${[text, ...more].join(" ")}'`);
}
