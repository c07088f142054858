/** Makes a project in the guest's services from a config file on the host, and gets its keys. */

import { HotbootError, messageOf } from "../base/error.ts";
import { fill } from "../base/fill.ts";
import { getAnswer, type GuestAnswer } from "../guest/http.ts";
import type { ProjectRequest } from "../profile/profile.ts";
import { redact, type Secrets } from "../profile/secrets.ts";
import { isWithin } from "../instance/shared_part.ts";
import type { Emulator } from "../instance/emulator.ts";
import { runningValues } from "./running_values.ts";

/** A service's answer about a project, by field name. Some of it is secret. */
export type ProjectAnswer = Record<string, string | number | boolean>;

const DEFAULT_TIMEOUT_S = 30;
const LONGEST_SHOWN = 500;

/**
 * Makes the running guest create a project from a config file, as the profile's `project` says, and returns the answer.
 *
 * Needs read permission for the file and the home, and net permission for the instance's sockets and the profile's ports
 * on 127.0.0.1.
 *
 * @param emulator The emulator, from {@linkcode openEmulator}.
 * @param configFile The file's path on the host. The guest gets the absolute path, with symbolic links resolved, because
 * links lead elsewhere where the guest has the host's files.
 * @returns The fields that the profile names. They include keys, so pass them on only to where they are used.
 * @throws {HotbootError} if the profile has no `project`, there is no such file, the instance does not run, or the service
 * refuses. The message contains its answer, without the instance's secrets; the instance keeps running.
 * @throws The reason of the emulator's signal, if it aborts.
 *
 * @example
 * ```ts
 * import { openEmulator, openProject, start } from "@hotboot/hotboot";
 *
 * const emulator = await openEmulator({ profile: "./profile.json" });
 * await start(emulator);
 * const { project_id } = await openProject(emulator, "./shop.config.ts");
 * console.log(project_id);
 * ```
 */
export async function openProject(emulator: Emulator, configFile: string): Promise<ProjectAnswer> {
  const file = await requireConfigFile(emulator, configFile);
  const request = emulator.profile.project!;
  const { record, secrets, value } = await runningValues(emulator);
  const filled = (texts: Record<string, string> = {}) =>
    Object.fromEntries(
      Object.entries(texts).map(([name, text]) => [
        name,
        fill(text, (variable) => variable === "config.file" ? file : value(variable)),
      ]),
    );
  const { path, port, method = "POST", headers, body, timeout = DEFAULT_TIMEOUT_S } = request;
  const hasType = Object.keys(headers ?? {}).some((name) => name.toLowerCase() === "content-type");
  let answer: GuestAnswer;
  try {
    answer = await getAnswer({
      port: record.ports[port],
      path,
      method,
      headers: { ...(body && !hasType && { "content-type": "application/json" }), ...filled(headers) },
      ...(body && { body: JSON.stringify(filled(body)) }),
      timeoutMs: timeout * 1000,
    }, emulator.signal);
  } catch (error) {
    emulator.signal.throwIfAborted();
    throw failure(file, `'${port}': ${messageOf(error)}`);
  }
  return readAnswer(answer, request, secrets, file);
}

/**
 * The absolute path of a config file.
 *
 * @throws {HotbootError} if there is no such file, or the profile has no use for it.
 */
export async function requireConfigFile({ profile }: Emulator, path: string): Promise<string> {
  if (!profile.project) {
    throw new HotbootError(
      `profile '${profile.name}' cannot use a config file: it has no 'project'; leave out --config-file`,
    );
  }
  try {
    const { isFile } = await Deno.stat(path);
    if (!isFile) throw new HotbootError(`${path} is not a file: name a config file`);
    const file = await Deno.realPath(path);
    const { share } = profile;
    if (share?.part !== undefined && !isWithin(file, share.part)) {
      throw new HotbootError(
        `the guest cannot see ${file}: it gets ${share.part}, the file system of your home, and nothing of others; move the project there`,
      );
    }
    return file;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new HotbootError(`the config file ${path} does not exist: name one that does`);
    }
    throw error;
  }
}

function failure(file: string, why: string): HotbootError {
  return new HotbootError(
    `could not make a project from ${file}: ${why}; correct that file, or 'project' in the profile`,
  );
}

function readAnswer(
  { status, body }: GuestAnswer,
  { port, answer: fields }: ProjectRequest,
  secrets: Secrets,
  file: string,
): ProjectAnswer {
  if (status < 200 || status > 299) {
    const said = messageOf(redact(body, secrets)).slice(0, LONGEST_SHOWN);
    throw failure(file, `'${port}' answered ${status}: ${said || "it said nothing"}`);
  }
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    throw failure(file, `the answer of '${port}' is not JSON`);
  }
  return Object.fromEntries(fields.map((field) => {
    const found = Object.hasOwn(Object(value), field) ? (value as Record<string, unknown>)[field] : undefined;
    if (!["string", "number", "boolean"].includes(typeof found)) {
      throw failure(file, `the answer of '${port}' lacks '${field}'`);
    }
    return [field, found as string | number | boolean];
  }));
}
