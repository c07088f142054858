/** Runs a command with its arguments in its sandbox. */

import { type Arguments, type Command, readArguments, withVariables } from "../commands/command.ts";
import { HotbootError } from "../../base/error.ts";
import { isBuiltIn } from "../../image/recipe.ts";
import { makerName } from "../../instance/channels.ts";
import { type Emulator, openEmulator, withInstance } from "../../instance/emulator.ts";
import type { Interrupts } from "../interrupts.ts";
import type { Login } from "../../oci/login.ts";
import { findNetwork, type Network, plainProxies, proxyVariables } from "../../release/network.ts";
import type { Token } from "../../release/token.ts";
import { portsNow } from "../../instance/ports.ts";
import { instanceNames } from "../../instance/users.ts";
import { wantedSpares } from "../../instance/spares.ts";
import type { Asked } from "../../ui/ask.ts";
import type { LoadedProfile } from "../../profile/profile.ts";
import { resolveArch } from "../../vm/arch.ts";
import { portsOption } from "../commands/starting.ts";
import { displayOf } from "../ui/display.ts";
import { type Grants, grantsOf, type Situation, usesRecipe } from "./grants.ts";
import { runInSandbox, type SandboxOptions } from "./sandbox.ts";
import { type Row, TABLE } from "./table.ts";
import type { Trusting } from "./trust.ts";

/** What resolves the words of the command's row, for these arguments. `loaded`: the profile, if it was found before. */
export async function situationOf(
  command: Command,
  args: Arguments,
  loaded?: LoadedProfile,
): Promise<Situation & { emulator?: Emulator }> {
  return {
    ...(!command.standalone && { emulator: await emulatorFor(args, loaded) }),
    named: (word) => named(command, args, word),
    switches: args.switches,
  };
}

/** The emulator, with the ports that the command line names. */
async function emulatorFor(args: Arguments, loaded?: LoadedProfile): Promise<Emulator> {
  const { profile, home, instance, arch } = args.values;
  const emulator = await openEmulator({ profile: loaded ?? profile, home, instance, arch: resolveArch(arch) });
  return { ...emulator, ports: portsNow(emulator.ports, portsOption(args, emulator.profile)) };
}

/** What the command line names by a word of the command's help; `-` is a stream, which needs no permission. */
function named({ operands = "", flags }: Command, args: Arguments, word: string): string[] {
  const named = flags.filter(({ value }) => value === word);
  const words = operands.split(" "); // optional ones come first: "[ID] FILE"
  if (named.length === 0 && !words.includes(word)) return [];
  const given = named.length > 0
    ? named.map(({ name }) => args.values[name])
    : word.endsWith("…")
    ? args.operands
    : [args.operands.at(words.indexOf(word) - words.length)];
  return given.filter((path): path is string => path !== undefined && path !== "-");
}

/** A command that is to run. */
interface Launch {
  /** The program's main module. */
  module: URL;
  name: string;
  command: Command;
  args: Arguments;
  /** The profile, if it was found before. */
  loaded: LoadedProfile | undefined;
}

/** Runs the command in its sandbox and returns the exit code. `module` is the program's main module. */
export async function launch(
  module: URL,
  name: string,
  command: Command,
  given: Arguments,
  interrupts: Interrupts,
): Promise<number> {
  const args = withVariables(command, given);
  const situation = await situationOf(command, args);
  const { emulator } = situation;
  if (emulator && (name === "trust" || isFound(emulator, args))) {
    const { requireTrust } = await import("./trust.ts");
    const uses = await Promise.all([name, ...command.asksFor ?? []].map((each) => usesRecipe(each, situation)));
    await requireTrust(emulator, {
      args,
      needs: command.trust,
      usesRecipe: uses.some(Boolean),
      typed: typedTrust(name, args),
      signal: interrupts.signal,
    });
  }
  const loaded = emulator && { profile: emulator.profile, url: emulator.profileUrl };
  const launched = { module, name, command, args, loaded };
  return await run(launched, situation, interrupts, {
    ...(command.asksFor && { runAsked: (asked, interrupts) => runAsked(launched, asked, interrupts) }),
  });
}

/** Runs a command that another one asks for: as if the user had typed it, with the home and the profile of the other one. */
async function runAsked({ module, command: asker, args: own, loaded }: Launch, asked: Asked, interrupts: Interrupts) {
  const { name, output } = asked;
  if (!asker.asksFor!.includes(name)) throw new HotbootError(`this command may not ask for '${name}'`);
  const { findCommand } = await import("../commands/verbs.ts");
  const command = await findCommand(name);
  const { values: { profile: _, home: __, ...values }, ...given } = readArguments(name, command, asked.args);
  const same = ["profile", "home", "arch"].filter((option) => option in own.values);
  const ofAsker = Object.fromEntries(same.map((option) => [option, own.values[option]]));
  const args = withVariables(command, { ...given, values: { ...ofAsker, ...values } });
  const situation = await situationOf(command, args, loaded);
  return await run({ module, name, command, args, loaded }, situation, interrupts, { output });
}

async function run(
  { module, name, command, args, loaded }: Launch,
  situation: Situation,
  interrupts: Interrupts,
  options: SandboxOptions,
): Promise<number> {
  if (situation.emulator && await preparePorts(situation.emulator, command, args)) {
    situation = await situationOf(command, args, loaded);
  }
  const grants: Grants = await grantsOf(name, situation);
  const { emulator } = situation;
  if (emulator) await linkSockets(emulator, TABLE[name]);
  const network = grants.downloads || command.showsNetwork ? await networkHere() : undefined;
  const token = await tokenFor(grants, interrupts.signal);
  const prepared = await command.prepare?.(args);
  const login = await loginFor(grants, interrupts.signal);
  const work = {
    command: name,
    args,
    display: displayOf(args.values.color),
    ...(emulator && {
      emulator: { profile: emulator.profile, url: emulator.profileUrl.href, home: emulator.home.root },
    }),
    ...(prepared !== undefined && { prepared }),
    ...(token !== undefined && { token }),
    ...(login !== undefined && { login }),
    ...(network && { network }),
    ...(options.output && { isAskedFor: true }),
  };
  const linksBelow = name === "iso extract" ? grants.write[0] : undefined;
  return await runInSandbox(module, grants, work, interrupts, {
    ...options,
    ...(linksBelow !== undefined && { linksBelow }),
  });
}

/** Gives short names to the instances that run, and to the one that the command may start. */
async function linkSockets(emulator: Emulator, { net, run }: Row): Promise<void> {
  if (!net?.includes("qemu")) return;
  const own = run?.includes("qemu") ? [emulator.instance] : [];
  for (const name of new Set([...own, ...await instanceNames(emulator)])) await emulator.home.linkSockets(name);
}

/** How the command line speaks of trust. */
function typedTrust(name: string, { switches }: Arguments): Trusting["typed"] {
  if (name === "trust") return switches.has("remove") ? "remove" : "trust";
  return switches.has("trust") ? "option" : undefined;
}

/** Whether the profile is one that the user has not named: a project's. */
function isFound({ profileUrl }: Emulator, { values: { profile } }: Arguments): boolean {
  return profile === undefined && !isBuiltIn(profileUrl);
}

/** Chooses the ports here, so that the command may use those, and no others. Gives whether it has chosen some. */
async function preparePorts(emulator: Emulator, command: Command, args: Arguments): Promise<boolean> {
  const instances: string[] = [];
  if (command.usesPorts && args.values.instance !== undefined) instances.push(emulator.instance); // not the profile's own
  if ((command.spares?.(args, await wantedSpares(emulator)) ?? 0) > 0) instances.push(makerName(emulator));
  if (instances.length === 0) return false;
  const { preparePorts } = await import("../../emulator/ports.ts");
  for (const instance of instances) await preparePorts(await withInstance(emulator, instance));
  return true;
}

/** Gets the token here, so that commands that talk to GitHub need not run other programs. */
async function tokenFor({ env, registry }: Grants, signal: AbortSignal): Promise<Token | null | undefined> {
  if (registry || !env.includes("HOTBOOT_GITHUB_API")) return undefined; // it does not talk to GitHub
  const { findToken } = await import("../../release/token.ts");
  return await findToken(Deno.env.get("HOTBOOT_GITHUB_API") || undefined, signal) ?? null;
}

/** Gets the login here, so that commands that talk to a registry need not read Docker's logins, or run its helpers. */
async function loginFor({ registry }: Grants, signal: AbortSignal): Promise<Login | null | undefined> {
  if (!registry) return undefined;
  const { findLogin } = await import("../../oci/login.ts");
  return await findLogin(registry, signal) ?? null;
}

/** The way to servers, found here, so that commands that download need not read those variables and files. */
async function networkHere(): Promise<Network> {
  trustSystem();
  for (const [name, value] of Object.entries(plainProxies(proxyVariables()))) setVariable(name, value);
  return await findNetwork();
}

/** For this process, unless it may not. Deno reads those about proxies when a thread sends its first request. */
function setVariable(variable: string, value: string): void {
  const isAllowed = Deno.permissions.querySync({ name: "env", variable }).state === "granted";
  if (isAllowed && Deno.env.get(variable) !== value) Deno.env.set(variable, value);
}

/** From now on, this process also trusts the system's certificate authorities, as curl and git do. */
function trustSystem(): void {
  const variable = "DENO_TLS_CA_STORE";
  const mayChoose = Deno.permissions.querySync({ name: "env", variable }).state === "granted";
  if (!mayChoose || Deno.env.get(variable)) return; // the user has chosen
  if (Deno.env.get("SSL_CERT_FILE") === "") Deno.env.delete("SSL_CERT_FILE"); // to Deno, it would be a wrong path
  Deno.env.set(variable, "system,mozilla");
  try {
    Deno.createHttpClient({}).close(); // Deno reads the variables when the first client is made
  } catch {
    // SSL_CERT_FILE is wrong, which findNetwork() tells
  } finally {
    Deno.env.delete(variable); // not for the programs that hotboot starts
  }
}
