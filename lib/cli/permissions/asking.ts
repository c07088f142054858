/** How a command in its sandbox has the launcher run another one, in a sandbox of its own: the messages between the two. */

import { HotbootError, messageOf } from "../../base/error.ts";
import type { Asked } from "../../ui/ask.ts";
import { Interrupts } from "../interrupts.ts";

/** Runs a command, and gives its exit code. */
export type RunAsked = (asked: Asked, interrupts: Interrupts) => Promise<number>;

/** Asks the launcher; it answers by the port. */
export interface AskMessage {
  kind: "ask";
  name: string;
  args: string[];
  port: MessagePort;
}

type ToAsker = { kind: "output"; to: "stdout" | "stderr"; bytes: Uint8Array } | { kind: "exit"; code: number } | {
  kind: "error";
  message: string;
};
type FromAsker = { kind: "taken" } | { kind: "interrupt" };

/** In the sandbox: asks for a command, and gives its exit code. @throws {HotbootError} if it cannot begin. */
export function ask(
  { name, args, signal, output }: Asked,
  post: (message: AskMessage, port: MessagePort) => void,
): Promise<number> {
  const { port1, port2 } = new MessageChannel();
  const tell = (message: FromAsker) => port1.postMessage(message);
  const end = () => tell({ kind: "interrupt" });
  const exit = new Promise<number>((resolve, reject) => {
    port1.onmessage = async ({ data }: MessageEvent<ToAsker>) => {
      if (data.kind === "exit") return resolve(data.code);
      if (data.kind === "error") return reject(new HotbootError(data.message));
      await output(data.to, data.bytes);
      tell({ kind: "taken" });
    };
  });
  post({ kind: "ask", name, args, port: port2 }, port2);
  if (signal?.aborted) end();
  else signal?.addEventListener("abort", end);
  return exit.finally(() => {
    signal?.removeEventListener("abort", end);
    port1.close();
  });
}

/** In the launcher: runs it, and tells that one by its port how it goes. */
export async function answer(
  { name, args, port }: AskMessage,
  runAsked: RunAsked | undefined,
): Promise<void> {
  const tell = (message: ToAsker) => port.postMessage(message);
  const taken: (() => void)[] = [];
  const interrupts = new Interrupts();
  port.onmessage = ({ data }: MessageEvent<FromAsker>) => {
    if (data.kind === "interrupt") interrupts.raise("SIGINT");
    else taken.shift()?.();
  };
  const output: Asked["output"] = (to, bytes) => {
    tell({ kind: "output", to, bytes });
    return new Promise<void>((resolve) => taken.push(resolve));
  };
  try {
    if (!runAsked) throw new HotbootError("this command may not ask for others");
    tell({ kind: "exit", code: await runAsked({ name, args, output }, interrupts) });
  } catch (error) {
    tell({ kind: "error", message: messageOf(error) });
  } finally {
    port.close();
  }
}
