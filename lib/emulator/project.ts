/** From a config file on the host to a project in the guest's services, and its keys. */

import { HotbootError, messageOf } from "../base/error.ts";
import { fill } from "../base/fill.ts";
import { getAnswer, type GuestAnswer } from "../guest/http.ts";
import type { ProjectRequest } from "../profile/profile.ts";
import { redact, type Secrets } from "../profile/secrets.ts";
import type { Emulator } from "../instance/emulator.ts";
import { runningValues } from "./running_values.ts";

/** What a service has answered of a project, by the names of the answer's fields. Some of it is secret. */
export type ProjectAnswer = Record<string, string | number | boolean>;

const DEFAULT_TIMEOUT_S = 30;
const LONGEST_SHOWN = 500;

/**
 * Has the running guest make a project of a config file, as the profile's `project` says, and gives what it answers.
 *
 * Needs read permission for the file and the home, and net permission for the instance's sockets and the profile's ports
 * on 127.0.0.1.
 *
 * @param emulator Which, from {@linkcode openEmulator}.
 * @param configFile The file's path on the host. The guest is told the absolute one, with symbolic links followed: those
 * lead elsewhere where the guest has the host's files.
 * @returns The fields that the profile names. Keys are among them, so they should go nowhere but where they are used.
 * @throws {HotbootError} when the profile has no `project`, there is no such file, the instance does not run, or the
 * service refuses. What it said is in the message, without the instance's secrets; the instance runs on.
 * @throws The reason of the emulator's signal, when that aborts.
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
 * @throws {HotbootError} when there is none, or the profile can do nothing with it.
 */
export async function requireConfigFile({ profile }: Emulator, path: string): Promise<string> {
  if (!profile.project) {
    throw new HotbootError(`profile '${profile.name}' makes no projects of config files: it has no 'project'`);
  }
  try {
    const { isFile } = await Deno.stat(path);
    if (!isFile) throw new HotbootError(`the config file ${path} is no file`);
    return await Deno.realPath(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new HotbootError(`there is no config file at ${path}`);
    throw error;
  }
}

function failure(file: string, why: string): HotbootError {
  return new HotbootError(`no project was made of ${file}: ${why}`);
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
    throw failure(file, `what '${port}' answered is no JSON`);
  }
  return Object.fromEntries(fields.map((field) => {
    const found = Object.hasOwn(Object(value), field) ? (value as Record<string, unknown>)[field] : undefined;
    if (!["string", "number", "boolean"].includes(typeof found)) {
      throw failure(file, `what '${port}' answered lacks '${field}'`);
    }
    return [field, found as string | number | boolean];
  }));
}
