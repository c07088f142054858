/** hotboot without its sandbox, to measure what that adds. Not a program for use. */

import { readArguments } from "../../lib/cli/commands/command.ts";
import { findCommand } from "../../lib/cli/commands/verbs.ts";
import { work } from "../../lib/cli/commands/work.ts";
import { openEmulator } from "../../lib/instance/emulator.ts";
import { Interrupts } from "../../lib/cli/interrupts.ts";

const [name, ...rest] = Deno.args;
const args = readArguments(name, await findCommand(name), rest);
const { profile, home } = args.values;
const emulator = await openEmulator({ profile, home });
const found = { profile: emulator.profile, url: emulator.profileUrl.href, home: emulator.home.root };
const noAsker = () => Promise.reject(new Error("there is no launcher here"));
const services = { interrupts: new Interrupts(), symlink: Deno.symlink, ask: noAsker, output: noAsker };
Deno.exit(await work({ command: name, args, display: { color: "auto" }, emulator: found }, services));
