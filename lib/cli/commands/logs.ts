import { printableOutput } from "../../base/printable.ts";
import { print } from "../ui/console.ts";
import { type Command, wholeNumber } from "./command.ts";
import { emulatorOf } from "./context.ts";

export const command: Command = {
  trust: "looks",
  about:
    "Print the guest's serial console since the last start. On a terminal, only its text and colours: a guest may write what\n" +
    "makes a terminal do things.",
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
      const bytes = ReadableStream.from(logs(await emulatorOf(context), { lines, follow }));
      const shown = Deno.stdout.isTerminal() ? bytes.pipeThrough(printableOutput()) : bytes;
      for await (const each of shown) await print(each);
    } catch (error) {
      if (!(follow && signal.aborted)) throw error; // an interrupt is the normal end of following
    }
  },
};
