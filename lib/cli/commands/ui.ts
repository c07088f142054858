import { onPath } from "../../base/on_path.ts";
import { isPort } from "../../instance/ports.ts";
import { print, printError, printJson } from "../ui/console.ts";
import { type Command, UsageError, wholeNumber } from "./command.ts";

export const command: Command = {
  about:
    "Serve a page on this machine, and print its address: instances, snapshots and consoles, with buttons to start, stop,\n" +
    "fork, save and reset. Only who has the address can use it. It ends with Ctrl-C; the guests run on. Each thing that it\n" +
    "does is a command, with the permissions of that one.",
  asksFor: [
    "list",
    "snapshot ls",
    "start",
    "stop",
    "reset",
    "fork",
    "snapshot save",
    "logs",
    "credentials",
    "timeline",
  ],
  examples: ["hotboot ui", "hotboot ui --open", "hotboot ui --port 8000"],
  flags: [
    { name: "port", value: "PORT", summary: "the page's port (default: any that is free)" },
    { name: "open", summary: "open the page in the browser" },
  ],
  implied(args) {
    const port = wholeNumber(args, "port");
    if (port === undefined || isPort(port)) return args;
    throw new UsageError(`--port takes a number from 1 to 65535, not ${port}`);
  },
  async run(context) {
    const { serveUi } = await import("../../ui/server.ts");
    const { args, ask, signal } = context;
    const port = wholeNumber(args, "port") ?? 0;
    const { home, profile: { profile } } = context.emulator!;
    const instance = args.values.instance ?? profile.home?.instance ?? profile.name;
    const ui = serveUi({ port, profile: profile.name, home, instance, ask, signal });
    if (args.switches.has("json")) await printJson({ url: ui.url });
    else await print(ui.url);
    if (args.switches.has("open")) void open(ui.ticketUrl());
    await ui.ended;
  },
};

/** Bash finds the program that the desktop opens addresses with. */
async function open(url: string): Promise<void> {
  const script = 'for each in xdg-open open; do command -v $each >/dev/null && exec $each "$1"; done; exit 1';
  const bash = await onPath("bash");
  if (bash) {
    const options = { stdin: "null", stdout: "null", stderr: "null" } as const;
    const opened = new Deno.Command(bash, { args: ["-p", "-c", script, "hotboot", url], ...options }).spawn();
    opened.unref(); // it may be the browser itself
    if ((await opened.status).success) return;
  }
  await printError("hotboot: no browser could be opened: open the address yourself");
}
