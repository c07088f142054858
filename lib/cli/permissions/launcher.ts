/** Runs a command with its arguments in its sandbox. */

import { type Arguments, type Command, withVariables } from "../commands/command.ts";
import { isBuiltIn } from "../../image/recipe.ts";
import { makerName } from "../../instance/channels.ts";
import { type Emulator, openEmulator, withInstance } from "../../instance/emulator.ts";
import type { Interrupts } from "../interrupts.ts";
import type { Login } from "../../oci/login.ts";
import { findNetwork, type Network } from "../../release/network.ts";
import type { Token } from "../../release/token.ts";
import { portsNow } from "../../instance/ports.ts";
import { wantedSpares } from "../../instance/spares.ts";
import { resolveArch } from "../../vm/arch.ts";
import { portsOption } from "../commands/starting.ts";
import { type Grants, grantsOf, type Situation, usesRecipe } from "./grants.ts";
import { runInSandbox } from "./sandbox.ts";
import type { Trusting } from "./trust.ts";

/** What resolves the words of the command's row, for these arguments. */
export async function situationOf(command: Command, args: Arguments): Promise<Situation & { emulator?: Emulator }> {
  return {
    ...(!command.standalone && { emulator: await emulatorFor(args) }),
    named: (word) => named(command, args, word),
    switches: args.switches,
  };
}

/** The emulator, with the ports that the command line names. */
async function emulatorFor(args: Arguments): Promise<Emulator> {
  const { profile, home, instance, arch } = args.values;
  const emulator = await openEmulator({ profile, home, instance, arch: resolveArch(arch) });
  return { ...emulator, ports: portsNow(emulator.ports, portsOption(args, emulator.profile)) };
}

/** What the command line names by a word of the command's help; `-` is a stream, which needs no permission. */
function named({ operands = "", flags }: Command, args: Arguments, word: string): string[] {
  const flag = flags.find(({ value }) => value === word);
  const words = operands.split(" "); // optional ones come first: "[ID] FILE"
  if (!flag && !words.includes(word)) return [];
  const given = flag
    ? [args.values[flag.name]]
    : word.endsWith("…")
    ? args.operands
    : [args.operands.at(words.indexOf(word) - words.length)];
  return given.filter((path): path is string => path !== undefined && path !== "-");
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
  let situation = await situationOf(command, args);
  if (situation.emulator && (name === "trust" || isFound(situation.emulator, args))) {
    const { requireTrust } = await import("./trust.ts");
    await requireTrust(situation.emulator, {
      args,
      needs: command.trust,
      usesRecipe: await usesRecipe(name, situation),
      typed: typedTrust(name, args),
      signal: interrupts.signal,
    });
  }
  if (situation.emulator && await preparePorts(situation.emulator, command, args)) {
    situation = await situationOf(command, args);
  }
  const grants: Grants = await grantsOf(name, situation);
  const { emulator } = situation;
  const network = await networkFor(grants);
  const token = await tokenFor(grants, interrupts.signal);
  const login = await loginFor(grants, interrupts.signal);
  const work = {
    command: name,
    args,
    ...(emulator && {
      emulator: { profile: emulator.profile, url: emulator.profileUrl.href, home: emulator.home.root },
    }),
    ...(token !== undefined && { token }),
    ...(login !== undefined && { login }),
    ...(network && { network }),
  };
  const linksBelow = name === "iso extract" ? grants.write[0] : undefined;
  return await runInSandbox(module, grants, work, interrupts, linksBelow);
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
async function networkFor({ downloads }: Grants): Promise<Network | undefined> {
  if (!downloads) return undefined;
  trustSystem();
  return await findNetwork();
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
