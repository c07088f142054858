import { print, printError, printJson } from "../ui/console.ts";
import { type Command, UsageError } from "./command.ts";
import { emulatorOf } from "./context.ts";

export const command: Command = {
  operands: "-- CMD [ARG…]",
  stopsEarly: true,
  about: "Run a program in the guest, as root. It reads what you pipe in. Its output appears as it is written,\n" +
    "and hotboot exits with its exit code. --json prints output and exit code at the end, as one object.",
  flags: [{
    name: "no-stdin",
    short: "n",
    summary: "do not read standard input; by default it is read to its end first",
  }],
  async run(context) {
    const { exec } = await import("../../guest/exec.ts");
    const { operands, switches } = context.args;
    if (operands.length === 0) throw new UsageError("exec needs a command: hotboot exec -- CMD [ARG…]");
    const emulator = await emulatorOf(context);
    const reads = !switches.has("no-stdin") && !Deno.stdin.isTerminal();
    const input = reads ? Deno.stdin.readable : undefined;
    if (!switches.has("json")) {
      return await exec(emulator, { command: operands, input, stdout: print, stderr: printError });
    }

    const [stdout, stderr] = [new TextDecoder(), new TextDecoder()];
    const result = { exitCode: 0, stdout: "", stderr: "" };
    result.exitCode = await exec(emulator, {
      command: operands,
      input,
      stdout: (bytes) => void (result.stdout += stdout.decode(bytes, { stream: true })),
      stderr: (bytes) => void (result.stderr += stderr.decode(bytes, { stream: true })),
    });
    await printJson(result);
    return result.exitCode;
  },
};
