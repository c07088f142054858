import { print } from "../ui/console.ts";
import { type Command, wholeNumber } from "./command.ts";
import { emulatorOf } from "./context.ts";

export const command: Command = {
  about: "Print the guest's serial console since the last start.",
  flags: [
    { name: "follow", short: "f", summary: "keep printing what the guest writes" },
    { name: "lines", short: "n", value: "N", summary: "print only the last N lines" },
  ],
  async run(context) {
    const { logs } = await import("../../emulator/logs.ts");
    const { args, signal } = context;
    const lines = wholeNumber(args, "lines");
    const follow = args.switches.has("follow");
    try {
      for await (const bytes of logs(await emulatorOf(context), { lines, follow })) await print(bytes);
    } catch (error) {
      if (!(follow && signal.aborted)) throw error; // an interrupt is the normal end of following
    }
  },
};
