/**
 * Finds the login for a registry where `docker login` has left it.
 *
 * Source: Docker's documentation, "docker login": "Credential stores", "Credential helper protocol".
 */

import { HotbootError, messageOf } from "../base/error.ts";
import { within } from "../base/wait.ts";
import { furtherHosts } from "../release/network.ts";
import { hostsOf, type Reference } from "./reference.ts";

/** A login for one registry. */
export interface Login {
  /** The user's name; `<token>` if the secret is a token that others are got with. */
  username: string;
  /** The password or token. */
  secret: string;
  /** The hosts that it may be sent to: the registry's own, those that this is known to use, and what the user has added. */
  hosts: string[];
}

/** The parts of Docker's `config.json` that are used. */
interface DockerConfig {
  auths?: Record<string, { auth?: string; identitytoken?: string }>;
  credHelpers?: Record<string, string>;
  credsStore?: string;
}

/** Docker Hub's name in that file. */
const DOCKER_HUB = "https://index.docker.io/v1/";
/** What a helper says if it has none. */
const NONE = /credentials not found|no credentials/i;

/**
 * The login for the reference's registry; `undefined` if there is none.
 *
 * Needs env permission for `DOCKER_CONFIG`, `HOME` and `HOTBOOT_DOWNLOAD_HOSTS`, read permission for `config.json` there, and run permission for the
 * credential helper that this names, if it does.
 *
 * @throws {HotbootError} if the file is damaged, or the helper fails.
 */
export async function findLogin(reference: Reference, signal?: AbortSignal): Promise<Login | undefined> {
  const found = await findSecret(reference, signal);
  return found && { ...found, hosts: [...hostsOf(reference), ...furtherHosts()] };
}

type Secret = Omit<Login, "hosts">;

async function findSecret({ host }: Reference, signal?: AbortSignal): Promise<Secret | undefined> {
  const path = configPath();
  const config = path === undefined ? undefined : await readConfig(path);
  if (!config) return undefined;
  const server = host === "docker.io" ? DOCKER_HUB : host;
  const helper = config.credHelpers?.[server] ?? config.credHelpers?.[host] ?? config.credsStore;
  const kept = helper ? await askHelper(helper, server, signal) : undefined;
  if (kept) return kept;
  const [, found] = Object.entries(config.auths ?? {}).find(([name]) => name === server || hostIn(name) === host) ?? [];
  if (!found) return undefined;
  if (found.identitytoken) return { username: "<token>", secret: found.identitytoken };
  if (!found.auth) return undefined;
  const [username, ...secret] = decode(found.auth, path!, host).split(":");
  return { username, secret: secret.join(":") };
}

function configPath(): string | undefined {
  const directory = Deno.env.get("DOCKER_CONFIG");
  const home = Deno.env.get("HOME");
  if (!directory && !home) return undefined;
  return `${directory || `${home}/.docker`}/config.json`;
}

async function readConfig(path: string): Promise<DockerConfig | undefined> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw new HotbootError(`Docker's logins at ${path} cannot be read (${messageOf(error)}): correct or remove it`);
  }
  try {
    const value = JSON.parse(text);
    if (typeof value === "object" && value !== null) return value;
  } catch {
    // its error would quote the file
  }
  throw new HotbootError(`Docker's logins at ${path} are not JSON: correct it, or run 'docker login' again`);
}

/** An entry's host: some programs write them as addresses. */
function hostIn(name: string): string {
  return name.replace(/^https?:\/\//, "").replace(/\/.*$/, "");
}

function decode(auth: string, path: string, host: string): string {
  try {
    return new TextDecoder().decode(Uint8Array.from(atob(auth), (letter) => letter.charCodeAt(0)));
  } catch {
    throw new HotbootError(`the login for ${host} in ${path} is damaged: run 'docker login ${host}' again`);
  }
}

async function askHelper(name: string, server: string, signal?: AbortSignal): Promise<Secret | undefined> {
  const program = `docker-credential-${name}`;
  const failed = (why: string) =>
    new HotbootError(`${program} gives no login for ${server} (${why}): run 'docker login ${server}' again`);
  if (!/^[\w.-]+$/.test(name)) throw failed("that is no program's name");
  let child: Deno.ChildProcess;
  try {
    child = new Deno.Command(program, { args: ["get"], stdin: "piped", stdout: "piped", stderr: "null" }).spawn();
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) {
      throw failed("hotboot's binary may not run it; use 'deno run -A' with hotboot.js for it");
    }
    throw failed(error instanceof Deno.errors.NotFound ? "it is not installed" : messageOf(error));
  }
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(`${server}\n`)).then(() => writer.close()).catch(() => {}); // it may not read it
  let output: Deno.CommandOutput;
  try {
    // It may ask a keyring that waits to be unlocked.
    output = await within(child.output(), program, { timeoutMs: 30_000, signal });
  } catch {
    child.kill();
    signal?.throwIfAborted();
    throw failed("it does not answer");
  }
  const text = new TextDecoder().decode(output.stdout);
  if (!output.success && NONE.test(text)) return undefined;
  if (!output.success) throw failed("it failed");
  const { username, secret } = parseHelper(text) ?? {};
  if (typeof username !== "string" || typeof secret !== "string") throw failed("what it says makes no sense");
  return secret === "" ? undefined : { username, secret };
}

/** The login in what a helper prints. */
function parseHelper(text: string): { username: unknown; secret: unknown } | undefined {
  try {
    const { Username: username, Secret: secret } = JSON.parse(text);
    return { username, secret };
  } catch {
    return undefined; // its error would quote the secret
  }
}
