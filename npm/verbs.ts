/** What can be done with an emulator. Each function runs the command of its name. */

import { answer } from "./command.ts";
import type { Emulator } from "./emulator.ts";
import type {
  CaptureResult,
  CheckpointResult,
  Engine,
  ExecAnswer,
  ForkResult,
  ResetResult,
  RestartResult,
  StartResult,
  Status,
  StopResult,
} from "./results.ts";

/** How to start. */
export interface StartOptions {
  /** Boot from the image, or from the instance's own disk, and neither use nor make a snapshot. */
  cold?: boolean;
  /** Fail if a snapshot cannot be resumed or captured, or hardware acceleration does not work, instead of booting. */
  noFallback?: boolean;
  /** Make no snapshot if there is none that can be resumed. */
  noCapture?: boolean;
  /** How to save RAM; the profile's engine by default. */
  engine?: Exclude<Engine, "flat">;
  /** Start from this checkpoint. The instance must be stopped. */
  from?: string;
  /** With `from`: keep the checkpoint's secrets instead of making new ones. */
  keepSecrets?: boolean;
  /** Ports of 127.0.0.1 for the instance, by the names of the profile's ports, until it is reset. */
  ports?: Record<string, number>;
  /** Make no new secrets: a fresh instance has the image's placeholders, which are public. */
  noRotation?: boolean;
}

/** How to restart. */
export interface RestartOptions extends Omit<StartOptions, "from"> {
  /** Drop disk and memory, and begin where the instance began. It keeps its ports, and gets new secrets. */
  discard?: boolean;
}

/** How to fork. */
export interface ForkOptions extends Pick<StartOptions, "keepSecrets" | "noFallback" | "ports"> {
  /** An instance that runs or is suspended, or a checkpoint; by default the profile's own instance, else the newest snapshot. */
  source?: string;
}

/** How to stop. */
export interface StopOptions {
  /** Suspend, shut down and keep the disk, or drop everything; `suspend` by default. */
  how?: "suspend" | "shutdown" | "discard";
}

/** What to run in the guest. */
export interface ExecOptions {
  /** The program, and its arguments. */
  command: string[];
  /** Variables for it. */
  env?: Record<string, string>;
  /** The directory to run it in. */
  workdir?: string;
  /** The user to run it as; root by default. */
  user?: string;
}

/** Starts the instance, and returns when it is healthy. @throws {HotbootError} if that is impossible. */
export async function start(emulator: Emulator, options: StartOptions = {}): Promise<StartResult> {
  return await ask(emulator, "start", startFlags(options));
}

/** Boots the instance's disk anew or, with `discard`, begins where it began. @throws {HotbootError} if that is impossible. */
export async function restart(emulator: Emulator, options: RestartOptions = {}): Promise<RestartResult> {
  return await ask(emulator, "restart", [...flag("discard", options.discard), ...startFlags(options)]);
}

/** Starts a new instance, the emulator's, that continues where another one is. @throws {HotbootError} if that is impossible. */
export async function fork(emulator: Emulator, options: ForkOptions = {}): Promise<ForkResult> {
  const { source, ...starting } = options;
  const names = [...source === undefined ? [] : [source], emulator.instance];
  return await answer(emulator, ["fork", "--json", ...emulator.options, ...startFlags(starting), "--", ...names]);
}

/** Suspends the instance, or as the options say. @throws {HotbootError} if that is impossible. */
export async function stop(emulator: Emulator, { how = "suspend" }: StopOptions = {}): Promise<StopResult> {
  return await ask(emulator, "stop", how === "suspend" ? [] : [`--${how}`]);
}

/** Ends the instance and removes its files. @throws {HotbootError} if that is impossible. */
export async function reset(emulator: Emulator): Promise<ResetResult> {
  return await ask(emulator, "reset");
}

/** The instance's state and health, the image and the snapshot. @throws {HotbootError} if they cannot be read. */
export async function status(emulator: Emulator): Promise<Status> {
  return await ask(emulator, "status");
}

/** Its secrets, by their names. @throws {HotbootError} if it does not run, or its profile has none. */
export async function credentials(emulator: Emulator): Promise<Record<string, string>> {
  return await ask(emulator, "credentials");
}

/** Gets the image, boots it and captures a snapshot, unless there is one. @throws {HotbootError} if that is impossible. */
export async function capture(emulator: Emulator, options: { force?: boolean } = {}): Promise<CaptureResult> {
  return await ask(emulator, "capture", flag("force", options.force));
}

/** Saves a checkpoint of the instance, which runs on. @throws {HotbootError} if the name is taken, or it does not run. */
export async function saveCheckpoint(emulator: Emulator, name?: string): Promise<CheckpointResult> {
  return await ask(emulator, "snapshot save", name === undefined ? [] : ["--", name]);
}

/** Runs a program in the guest, and gives its exit code and its output. @throws {HotbootError} if the guest does not answer. */
export async function exec(emulator: Emulator, options: ExecOptions): Promise<ExecAnswer> {
  const { command, env = {}, workdir, user } = options;
  return await ask(emulator, "exec", [
    ...Object.entries(env).flatMap(([name, value]) => ["--env", `${name}=${value}`]),
    ...value("workdir", workdir),
    ...value("user", user),
    "--",
    ...command,
  ]);
}

/** The options on the command line. */
export function startFlags(options: StartOptions): string[] {
  return [
    ...flag("cold", options.cold),
    ...flag("no-fallback", options.noFallback),
    ...flag("no-capture", options.noCapture),
    ...value("engine", options.engine),
    ...value("from", options.from),
    ...flag("keep-secrets", options.keepSecrets),
    ...Object.entries(options.ports ?? {}).flatMap(([name, port]) => ["--port", `${name}=${port}`]),
    ...flag("no-rotation", options.noRotation),
  ];
}

function ask<T>({ options, instance, ...caller }: Emulator, verb: string, args: string[] = []): Promise<T> {
  return answer(caller, [...verb.split(" "), "--json", ...options, "--instance", instance, ...args]);
}

function flag(name: string, isOn = false): string[] {
  return isOn ? [`--${name}`] : [];
}

function value(name: string, text?: string): string[] {
  return text === undefined ? [] : [`--${name}`, text];
}
