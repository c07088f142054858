import { printableOutput } from "../../base/printable.ts";
import { print, printJson } from "../ui/console.ts";
import { type Command, wholeNumber } from "./command.ts";
import { emulatorOf } from "./context.ts";

export const command: Command = {
  trust: "looks",
  about:
    "Print the guest's serial console since the last start. On a terminal, only its text and colours: a guest may write what\n" +
    "makes a terminal do things. --json prints one object for each line.",
  examples: [
    "hotboot logs",
    "hotboot logs -f",
    "hotboot logs -n 20 --instance other",
  ],
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
      if (args.switches.has("json")) return await printLines(bytes);
      const shown = Deno.stdout.isTerminal() ? bytes.pipeThrough(printableOutput()) : bytes;
      for await (const each of shown) await print(each);
    } catch (error) {
      if (!(follow && signal.aborted)) throw error; // an interrupt is the normal end of following
    }
  },
};

/** Each line as an object of its own, as soon as it is there. */
async function printLines(bytes: ReadableStream<Uint8Array>): Promise<void> {
  const { TextLineStream } = await import("@std/streams/text-line-stream");
  const text = bytes.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>);
  for await (const line of text.pipeThrough(new TextLineStream())) await printJson({ line }, { oneLine: true });
}
