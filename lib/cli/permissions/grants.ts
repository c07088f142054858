/** Resolves a row of the table to exact grants, here and now. */

import { type Emulator, withInstance } from "../../instance/emulator.ts";
import { readImageRecord } from "../../image/image.ts";
import { builderOf, channelsOf, instancePath, makerName } from "../../instance/channels.ts";
import { rememberedPorts } from "../../instance/ports.ts";
import { readRecord } from "../../instance/record.ts";
import { instanceNames } from "../../instance/users.ts";
import { recipePath } from "../../image/recipe.ts";
import { HotbootError } from "../../base/error.ts";
import { onPath } from "../../base/on_path.ts";
import { growingPath, replacedPaths } from "../../base/files.ts";
import { type CloudInit, isPublished, type ScriptRecipe } from "../../profile/profile.ts";
import { hostsOf, parseReference, type Reference } from "../../oci/reference.ts";
import { furtherHosts, peerOf, proxiesOf, proxyVariables } from "../../release/network.ts";
import { firmwarePlaces } from "../../vm/firmware.ts";
import { portSockets } from "../../vm/ports.ts";
import { qemuProgram } from "../../vm/probe.ts";
import { COMPOSE_FILES, WRITTEN } from "../init/places.ts";
import { type Condition, type Program, type Row, TABLE } from "./table.ts";

/** What a command may access, exactly: paths including everything below them, `host:port`, `unix:/path`, programs, variables. */
export interface Grants {
  read: string[];
  write: string[];
  net: string[];
  run: string[];
  env: string[];
  sys: string[];
  /** It connects to hosts elsewhere. */
  downloads: boolean;
  /** The repository of images that it uses. */
  registry?: Reference;
}

/** What resolves the words of a row. */
export interface Situation {
  /** The emulator that the command works on; absent for commands without one. */
  emulator?: Emulator;
  /** What the command line names, by the word in the command's help: `IMAGE`, `PATH…`. */
  named(word: string): string[];
  /** The switches that were given. */
  switches: Set<string>;
}

/** What Deno limits. */
const KINDS = ["read", "write", "net", "run", "env", "sys"] as const;

/** GitHub's API, and where it redirects to for the files of releases and of workflow runs. */
const GITHUB = ["api.github.com:443", "*.githubusercontent.com:443", "*.blob.core.windows.net:443"];

/** The grants of the command `name` by its row of the table. @throws {HotbootError} if a setting that they depend on is wrong. */
export async function grantsOf(name: string, situation: Situation, row: Row = TABLE[name]): Promise<Grants> {
  const grants: Grants = { read: [], write: [], net: [], run: [], env: [], sys: [], downloads: false };
  await addRow(grants, row, situation);
  for (const kind of KINDS) grants[kind] = [...new Set(grants[kind])];
  const isCovered = (path: string, by: string[]) => by.some((other) => path.startsWith(`${other}/`));
  grants.write = grants.write.filter((path) => !isCovered(path, grants.write));
  const { write } = grants;
  grants.read = grants.read.filter((path) => !write.includes(path) && !isCovered(path, [...grants.read, ...write]));
  return grants;
}

async function addRow(grants: Grants, row: Row, situation: Situation): Promise<void> {
  const { emulator, named } = situation;
  const find = (program: Program) => onPath(program === "qemu" ? qemuProgram(emulator!.arch) : program);
  const programs = async (list: Program[]) => (await Promise.all(list.map(find))).filter((path) => path !== undefined);
  const own = async (word: string): Promise<string[]> => {
    if (word === "home") return emulator!.home.places;
    if (word === "cache") return [emulator!.home.cache];
    if (word === "console") return [instancePath(emulator!, "serial")];
    if (word === "recipe") return recipe(emulator!);
    if (word === "config files") return configFiles(emulator!);
    if (word === "firmware") return await firmware(emulator!);
    if (word === "compose files") return COMPOSE_FILES.map(here);
    if (word === "project files") return WRITTEN.map(here).flatMap((path) => [path, growingPath(path)]);
    if (word === "programs") return await programs(["qemu", "bash"]);
    return named(word);
  };
  for (const word of row.read ?? []) grants.read.push(...await own(word));
  for (const word of row.write ?? []) grants.write.push(...await own(word));
  for (const path of (row.replace ?? []).flatMap(named)) grants.write.push(...await replacedPaths(path));
  if (row.net?.includes("services")) grants.net.push(...await services(emulator!));
  if (row.net?.includes("all services")) grants.net.push(...await allServices(emulator!));
  if (row.net?.includes("page")) grants.net.push(`127.0.0.1:${named("PORT")[0] ?? 0}`); // 0: the system chooses one
  if (row.net?.includes("spares")) grants.net.push(...await makerPorts(emulator!));
  const ofQemu = [
    ...row.net?.includes("qemu") ? await sockets(emulator!) : [],
    ...row.net?.includes("streams") ? portSockets((await channelsOf(emulator!)).directory) : [],
  ];
  grants.net.push(...ofQemu.map((path) => `unix:${path}`));
  grants.write.push(...ofQemu);
  const hosts = [
    ...row.net?.includes("github") ? gitHubHosts() : [],
    ...row.net?.includes("registry") ? registryHosts(grants, situation) : [],
    ...row.net?.includes("publisher")
      ? emulator!.profile.image.oci === undefined ? gitHubHosts() : registryHosts(grants, situation)
      : [],
    ...row.net?.includes("base image") ? baseHosts(emulator!) : [],
  ];
  grants.downloads ||= hosts.length > 0;
  if (hosts.length > 0) grants.net.push(...hosts, ...proxiesOf(proxyVariables()).map(({ url }) => peerOf(url)));
  const found = await programs(row.run ?? []); // the command itself reports a missing program when it needs it
  grants.run.push(...found);
  grants.read.push(...found);
  grants.env.push(...row.env ?? []);
  grants.sys.push(...row.sys ?? []);
  for (const [condition, addition] of Object.entries(row.more ?? {})) {
    if (await holds(condition as Condition, situation)) await addRow(grants, addition, situation);
  }
}

/** The path of a file in the working directory. */
function here(name: string): string {
  return `${Deno.cwd()}/${name}`;
}

async function holds(condition: Condition, { emulator, switches }: Situation): Promise<boolean> {
  if (condition === "unless --skip-snapshot") return !switches.has("skip-snapshot");
  if (condition === "with --fix") return switches.has("fix");
  if (condition === "with --online") return switches.has("online");
  if (condition === "with --details") return switches.has("details");
  if (condition === "with --open") return switches.has("open");
  const { script, cloudInit } = recipeOf(emulator!);
  if (condition === "with a script") return script !== undefined;
  if (condition === "with cloud-init") return cloudInit !== undefined;
  if (condition === "with cloud-init and a published base image") {
    return cloudInit !== undefined && "url" in cloudInit.base;
  }
  if (await readImageRecord(emulator!).catch(() => true)) return false;
  return (condition === "if it pulls the image") === isPublished(emulator!.profile);
}

/** Whether the command may use the recipe. */
export async function usesRecipe(name: string, situation: Situation): Promise<boolean> {
  const { read = [], more = {} } = TABLE[name];
  const condition = "if it builds the image";
  return read.includes("recipe") || (condition in more && await holds(condition, situation));
}

/** The files that the recipe consists of. */
export function recipe(emulator: Emulator): string[] {
  if (emulator.profileUrl.protocol !== "file:") return []; // the command itself reports what is wrong
  const { script, cloudInit } = recipeOf(emulator);
  const paths = script ? [script.script, ...script.inputs] : [];
  if (cloudInit) paths.push(cloudInit.userData, ...cloudInit.bundle?.paths ?? []);
  if (cloudInit && "file" in cloudInit.base) paths.push(cloudInit.base.file.replaceAll("{arch}", emulator.arch));
  return paths.map((path) => recipePath(emulator, path));
}

/** The files that are copied to the config disk, and the one with the trusted root. */
export function configFiles({ profile }: Emulator): string[] {
  const contents = Object.values(profile.config?.files ?? {});
  const { trustedRoot } = profile.image.attestation ?? {};
  return contents.flatMap((content) => "file" in content && content.file !== "" ? [content.file] : [])
    .concat(trustedRoot ?? []);
}

/** The recipe's parts by kind: a cloud-init recipe may begin with a script. */
export function recipeOf({ profile }: Emulator): { script?: ScriptRecipe; cloudInit?: CloudInit } {
  const { build } = profile.image;
  if (!build) return {};
  if ("script" in build) return { script: build };
  const { cloudInit } = build;
  return { cloudInit, ...("script" in cloudInit.base && { script: cloudInit.base }) };
}

/** Of the registry that the command line or the profile names; the command itself reports if they name none. */
function registryHosts(grants: Grants, { emulator, named }: Situation): string[] {
  const word = "[REF]";
  const name = named(word)[0] ?? emulator!.profile.image.oci;
  if (name === undefined) return [];
  if (name === word) return ["the registry of REF"]; // 'hotboot permissions' has no operands of the command
  grants.registry = parseReference(name);
  return [...hostsOf(grants.registry), ...furtherHosts()];
}

/** The base image's host, and the hosts that it may redirect to. */
function baseHosts(emulator: Emulator): string[] {
  const { base } = recipeOf(emulator).cloudInit!;
  return "url" in base
    ? [hostAndPort(base.url.replaceAll("{arch}", emulator.arch), "image.build.cloudInit.base.url"), ...furtherHosts()]
    : [];
}

/** The directories of the guest's firmware; amd64 has its own. */
async function firmware({ arch }: Emulator): Promise<string[]> {
  const qemu = arch === "arm64" ? await onPath(qemuProgram(arch)) : undefined;
  return qemu ? firmwarePlaces(qemu) : [];
}

/** Those of all instances of the home, likewise. */
async function allServices(emulator: Emulator): Promise<string[]> {
  const all = (await instanceNames(emulator)).map(async (name) => services(await withInstance(emulator, name)));
  return (await Promise.all(all)).flat();
}

/** The services' ports, as the instance will have them, and as it was started with them. */
async function services(emulator: Emulator): Promise<string[]> {
  const record = await readRecord(emulator);
  const ports = [
    ...Object.values(emulator.ports).map(({ host }) => host),
    ...Object.values(record && "ports" in record ? record.ports : {}),
  ];
  return ports.flatMap((port) => [`127.0.0.1:${port}`, `[::1]:${port}`]);
}

/** The ports with which spares are made, if they have been chosen. */
async function makerPorts(emulator: Emulator): Promise<string[]> {
  const remembered = await rememberedPorts(emulator.home, makerName(emulator));
  return Object.values(remembered).map(({ port }) => `127.0.0.1:${port}`);
}

/**
 * The sockets of all of the home's instances: before something is removed, each is asked whether it uses it. If the home's
 * path is too long for sockets, their short names too.
 */
async function sockets(emulator: Emulator): Promise<string[]> {
  const ofHotboot = [builderOf(emulator).instance, makerName(emulator)];
  const names = new Set([emulator.instance, ...ofHotboot, ...await instanceNames(emulator)]);
  const all = await Promise.all([...names].map((instance) => channelsOf({ home: emulator.home, instance })));
  const isInHome = (path: string) => emulator.home.places.some((place) => path.startsWith(`${place}/`));
  const own = all.filter(({ directory }) => !isInHome(directory));
  return own.flatMap(({ directory }) => directory).concat(
    all.flatMap(({ monitor, agent, launcher, migration }) => [monitor, agent, launcher, migration]),
  );
}

function gitHubHosts(): string[] {
  const api = Deno.env.get("HOTBOOT_GITHUB_API");
  return [...api ? [hostAndPort(api, "HOTBOOT_GITHUB_API")] : GITHUB, ...furtherHosts()];
}

function hostAndPort(text: string, what: string): string {
  const url = URL.parse(text);
  if (!url) throw new HotbootError(`${what} is '${text}', which is not a URL: correct it`);
  return `${url.hostname}:${url.port || (url.protocol === "http:" ? 80 : 443)}`;
}
