/**
 * What a profile needs to know of a compose file: the ports that it publishes, and whether it refers to other files.
 *
 * Source: the Compose Specification, "services": `ports`, `build`, `env_file`, `volumes`; "Interpolation".
 */

import { parse } from "@std/yaml/parse";
import { HotbootError, messageOf } from "../../base/error.ts";

/** A published port. */
export interface Published {
  /** A name for the profile. */
  name: string;
  /** Its number in the guest. */
  port: number;
  /** Whether a web server may be behind it. */
  isHttp: boolean;
}

/** A compose file. */
export interface ComposeFile {
  /** The ports that it publishes; one at least may be a web server's. */
  ports: Published[];
  /** Whether it refers to other files of the project. */
  usesFiles: boolean;
  /** What is left out, and why: a sentence each. */
  notes: string[];
}

/** The usual ports of servers that do not speak HTTP: SSH, mail, databases, caches, queues. */
const NO_HTTP = new Set([
  ...[22, 25, 110, 143, 389, 465, 587, 993, 995, 1025, 1433, 1521, 1883, 2181, 2500, 3306, 4222],
  ...[5432, 5433, 5671, 5672, 6379, 6380, 9042, 9092, 11211, 26257, 27017, 33060],
]);

type Fields = Record<string, unknown>;

/** Reads a compose file. @throws {HotbootError} if it cannot be read, or publishes nothing that can be asked for. */
export function readComposeFile(text: string, path: string): ComposeFile {
  let file: { services?: Record<string, Fields | null>; configs?: Fields; secrets?: Fields } | null;
  try {
    file = parse(text) as typeof file;
  } catch (error) {
    throw new HotbootError(`${path} is not YAML (${messageOf(error)}): correct it`);
  }
  const services = Object.entries(fieldsOf(file?.services));
  if (services.length === 0) throw new HotbootError(`${path} has no services: add one`);
  const notes: string[] = [];
  const ports: Published[] = [];
  for (const [service, fields] of services) {
    const numbers = listOf(fieldsOf(fields).ports).flatMap((entry) => publishedPorts(entry, service, path, notes));
    for (const { port, target } of numbers) {
      if (ports.some((other) => other.port === port)) continue;
      const name = service.toLowerCase().replaceAll(/[^a-z0-9-]+/g, "-").replace(/^-+/, "") || "port";
      const isTaken = ports.some((other) => other.name === name);
      ports.push({ name: isTaken ? `${name}-${port}` : name, port, isHttp: !NO_HTTP.has(target) });
    }
  }
  if (!ports.some(({ isHttp }) => isHttp)) {
    const more = notes.length > 0 ? ` (${notes.join("; ")})` : "";
    throw new HotbootError(
      `${path} publishes no port of a web server, and hotboot asks one whether all is well${more}: add one to a service's ports, such as "8080:80"`,
    );
  }
  const usesFiles = services.some(([, fields]) => refersToFiles(fieldsOf(fields))) ||
    [file?.configs, file?.secrets].some((each) =>
      Object.values(fieldsOf(each)).some((one) => fieldsOf(one).file !== undefined)
    );
  return { ports, usesFiles, notes };
}

/** The ports of an entry of `ports`: on the guest, and in the container. */
function publishedPorts(
  entry: unknown,
  service: string,
  path: string,
  notes: string[],
): { port: number; target: number }[] {
  const skip = (why: string) => {
    notes.push(`of ${path}, the port ${JSON.stringify(entry)} of '${service}' is left out, because ${why}`);
    return [];
  };
  const fields = fieldsOf(entry);
  const isLong = typeof entry === "object" && entry !== null;
  const [text, protocol = "tcp"] = interpolated(
    isLong
      ? `${fields.host_ip ? `${fields.host_ip}:` : ""}${fields.published ?? ""}:${fields.target}/${
        fields.protocol ?? "tcp"
      }`
      : String(entry),
  ).split("/");
  if (protocol !== "tcp") return skip("hotboot forwards only TCP");
  const [, address, published, target] = text.match(/^(?:(.+):)?(\d[\d-]*)?:(\d[\d-]*)$/) ?? [];
  if (published === undefined) return skip('it has no fixed number outside of the container, as "8080:80" has');
  if (address !== undefined && !/^(0\.0\.0\.0|\[?::\]?)$/.test(address)) {
    return skip(`it is published for ${address} only: leave the address out`);
  }
  const [numbers, targets] = [rangeOf(published), rangeOf(target)];
  return numbers.map((port, index) => ({ port, target: targets[index] ?? targets[0] }));
}

/** The numbers of `8000` or `8000-8002`. */
function rangeOf(text: string): number[] {
  const [first, last = first] = text.split("-").map(Number);
  return Array.from({ length: Math.min(100, last - first + 1) }, (_, index) => first + index);
}

/** With the defaults of variables in their places: `${PORT:-8080}`. */
function interpolated(text: string): string {
  return text.replaceAll(/\$\{\w+:?-([^}]*)\}/g, "$1");
}

function refersToFiles({ build, env_file, volumes, develop, extends: other }: Fields): boolean {
  const isLocal = (source: unknown) => typeof source === "string" && /^\.{1,2}(\/|$|:)/.test(source);
  return build !== undefined || env_file !== undefined || develop !== undefined || fieldsOf(other).file !== undefined ||
    listOf(volumes).some((volume) => isLocal(volume) || isLocal(fieldsOf(volume).source));
}

function fieldsOf(value: unknown): Fields {
  return typeof value === "object" && value !== null ? value as Fields : {};
}

function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}
