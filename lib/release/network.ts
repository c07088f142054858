/** What the environment says about the way to servers: proxies, and companies' own certificate authorities. */

import { messageOf } from "../base/error.ts";
import { isExempt, plainExemptions } from "./no_proxy.ts";

/** The way to servers, as the environment describes it. */
export interface Network {
  /** The variables about proxies that are set. Deno itself obeys them; here they are for messages. */
  variables: Record<string, string>;
  /** Certificates of authorities to trust besides Deno's own, as PEM. */
  caCerts: string[];
  /** What is wrong with the variables about certificates, each as a part of a sentence. */
  faults: string[];
}

/** A proxy, and the variable that names it. */
export interface Proxy {
  /** The variable. */
  variable: string;
  /** Its address; may contain a password. */
  url: URL;
}

/** Variables that name a proxy: Deno's order. */
const PROXIES = ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"];
const CA_FILES = ["NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"];
const CA_DIRECTORY = "SSL_CERT_DIR";

/** The variables about proxies; curl and others began with lower case, and Deno takes that, too. */
export const PROXY_VARIABLES = [...PROXIES, "NO_PROXY"].flatMap((name) => [name, name.toLowerCase()]);
/** The variables about certificates. */
export const CA_VARIABLES = [...CA_FILES, CA_DIRECTORY, "DENO_TLS_CA_STORE"];

/**
 * What the environment says. Deno obeys `NODE_EXTRA_CA_CERTS` only from 2.8 on, and `SSL_CERT_DIR` never, so the certificates
 * that they name are read here.
 *
 * Uses env permission for {@linkcode PROXY_VARIABLES}, `NODE_EXTRA_CA_CERTS`, `SSL_CERT_FILE` and `SSL_CERT_DIR`, and read
 * permission for what the last three name. A variable that may not be read counts as not set.
 */
export async function findNetwork(): Promise<Network> {
  const network: Network = { variables: proxyVariables(), caCerts: [], faults: [] };
  for (const name of [...CA_FILES, CA_DIRECTORY]) {
    const path = variable(name);
    if (!path) continue;
    try {
      const certificates = name === CA_DIRECTORY ? await certificatesBelow(path) : [await certificatesOf(path)];
      if (name === "SSL_CERT_FILE") continue; // Deno reads it if it uses the system's authorities
      Deno.createHttpClient({ caCerts: certificates }).close();
      network.caCerts.push(...certificates);
    } catch (error) {
      network.faults.push(`${name} is '${path}', which cannot be used (${messageOf(error)})`);
    }
  }
  return network;
}

async function certificatesOf(path: string): Promise<string> {
  const pem = await Deno.readTextFile(path);
  if (!pem.includes("-----BEGIN CERTIFICATE-----")) throw new Error("it has no certificate in PEM form");
  return pem;
}

/** The certificates that OpenSSL finds in directories, which are separated by colons: those named by a hash of the subject. */
async function certificatesBelow(directories: string): Promise<string[]> {
  const found: string[] = [];
  for (const directory of directories.split(":").filter((each) => each !== "")) {
    for await (const { name } of Deno.readDir(directory)) {
      if (/^[0-9a-f]{8}\.\d+$/.test(name)) found.push(await certificatesOf(`${directory}/${name}`));
    }
  }
  if (found.length === 0) throw new Error("it has no certificate that 'openssl rehash' has named");
  return found;
}

function variable(name: string): string | undefined {
  try {
    return Deno.env.get(name);
  } catch {
    return undefined; // it may not be read
  }
}

/** The variables about proxies that are set. */
export function proxyVariables(): Record<string, string> {
  const all = PROXY_VARIABLES.map((name) => [name, variable(name)] as const);
  return Object.fromEntries(all.filter((each): each is [string, string] => each[1] !== undefined));
}

/**
 * Writes the variables about proxies that are set in the way that Deno reads them, of which it ignores the rest in silence:
 * {@linkcode plainExemptions}; a user without a password; an empty one in upper case hides the one in lower case.
 */
export function plainProxies(variables: Record<string, string>): Record<string, string> {
  const exempt = variables.NO_PROXY || variables.no_proxy;
  const plain = Object.entries(variables).map(([name, text]) => {
    if (name.toUpperCase() === "NO_PROXY") return [name, plainExemptions(exempt ?? "")];
    return [name, text.replace(/^([a-z][a-z0-9]*:\/\/)?([^/:@]+)@/i, "$1$2:@")];
  });
  return Object.fromEntries(plain);
}

/** All proxies that the variables name. */
export function proxiesOf(variables: Record<string, string>): Proxy[] {
  return PROXIES.flatMap((name) => {
    const variable = variables[name] ? name : name.toLowerCase();
    const text = variables[variable];
    if (!text) return [];
    const url = URL.parse(/^[a-z][a-z0-9]*:\/\//i.test(text) ? text : `http://${text}`);
    return url ? [{ variable, url }] : []; // Deno ignores what is not an address
  });
}

/** The proxy that requests for an address go through, as Deno chooses it. */
export function proxyFor(url: string, variables: Record<string, string>): Proxy | undefined {
  const { protocol, hostname } = new URL(url);
  if (isExempt(hostname, variables.NO_PROXY ?? variables.no_proxy ?? "")) return undefined;
  const names = ["all_proxy", protocol === "https:" ? "https_proxy" : "http_proxy"];
  return proxiesOf(variables).find(({ variable }) => names.includes(variable.toLowerCase()));
}

/** Whether the traffic of a host never leaves this machine. */
export function isLoopback(hostname: string): boolean {
  return /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname);
}

/** The hosts that the user has added to those that are known, each with or without a port: `HOTBOOT_DOWNLOAD_HOSTS`. */
export function furtherHosts(): string[] {
  const hosts = (variable("HOTBOOT_DOWNLOAD_HOSTS") ?? "").split(",").map((host) => host.trim());
  return hosts.filter((host) => host !== "");
}

/** Host and port of an address, without a user's name and password. */
export function peerOf({ protocol, hostname, port }: URL): string {
  return `${hostname}:${port || ({ "http:": 80, "https:": 443 }[protocol] ?? 1080)}`;
}
