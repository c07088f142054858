/**
 * hotboot as its users run it, in its own process.
 *
 * HOTBOOT_TEST_BINARY names a compiled hotboot to use instead of the source.
 */

import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path/from-file-url";
import { toText } from "@std/streams/to-text";
import { importArguments } from "../../dev/deno.ts";
import { shellCommand } from "../../lib/base/shell.ts";
import { qemuEnv, TEST_QEMU } from "./qemu.ts";

const ROOT = fromFileUrl(new URL("../../", import.meta.url));
/** The program and first arguments that run hotboot. */
const BINARY = Deno.env.get("HOTBOOT_TEST_BINARY");
export const HOTBOOT = BINARY ? [BINARY] : [
  Deno.execPath(),
  ...["run", "-A", "-q", "--no-prompt", "--unstable-worker-options", ...await importArguments(), `${ROOT}cli.ts`],
];

/** A finished run of hotboot. */
export interface Run {
  code: number;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  env?: Record<string, string>;
  cwd?: string;
  stdin?: Uint8Array;
  /** Standard input is a pipe that the test keeps open. */
  openStdin?: boolean;
}

/** Starts hotboot in its own process group, as a shell does. */
export function spawnHotboot(args: string[], options: RunOptions = {}): Deno.ChildProcess {
  return spawn([...HOTBOOT, ...args], options);
}

/** The same on a terminal: standard input is the keyboard, standard output the screen. */
export function spawnOnTerminal(args: string[], options: RunOptions = {}): Deno.ChildProcess {
  const line = shellCommand([...HOTBOOT, ...args]);
  return spawn(["script", "--quiet", "--return", "--command", `exec ${line}`, "/dev/null"], {
    ...options,
    openStdin: true,
  });
}

/** Text as it arrives. */
export function textReader(stream: ReadableStream<Uint8Array>): ReadableStreamDefaultReader<string> {
  return stream.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
}

/** Reads until `text` has arrived. */
export async function readUntil(reader: ReadableStreamDefaultReader<string>, text: string): Promise<string> {
  let seen = "";
  while (!seen.includes(text)) seen += (await reader.read()).value ?? assert(false, `it ended: ${seen}`);
  return seen;
}

function spawn([program, ...args]: string[], options: RunOptions): Deno.ChildProcess {
  return new Deno.Command(program, {
    args,
    env: { ...(TEST_QEMU && qemuEnv(TEST_QEMU)), ...options.env },
    cwd: options.cwd,
    stdin: options.stdin || options.openStdin ? "piped" : "null",
    stdout: "piped",
    stderr: "piped",
    detached: true,
  }).spawn();
}

/**
 * Says that an emulated guest got stuck while it booted, or missed its timer, and was booted again (see `bootWithin`). That can
 * happen on any machine under load to any boot, so it is printed and no part of a test's output.
 */
const AGAIN =
  /^hotboot: warning: (with tcg, the guest has not printed anything|Kernel panic - not syncing: IO-APIC)[^\n]*; booting again\n/gm;

function withoutAgain(stderr: string): string {
  return stderr.replace(AGAIN, (line) => {
    console.error(line.trimEnd());
    return "";
  });
}

/** Runs hotboot to its end. */
export async function hotboot(args: string[], options: RunOptions = {}): Promise<Run> {
  const child = spawnHotboot(args, options);
  const fed = options.stdin && new Response(options.stdin.slice()).body!.pipeTo(child.stdin).catch(() => {});
  const [{ code }, stdout, stderr] = await Promise.all([
    child.status,
    toText(child.stdout),
    toText(child.stderr),
    fed,
  ]);
  return { code, stdout, stderr: withoutAgain(stderr) };
}

/** Fails with all of hotboot's output, and what else may tell why, if its exit code is not `code`. */
export function assertCode(run: Run, code: number, more = ""): void {
  assertEquals(run.code, code, `stdout: ${run.stdout}\nstderr: ${run.stderr}${more}`);
}

/** Puts hotboot, as the tests run it, at a path. */
export async function placeHotboot(path: string): Promise<void> {
  if (BINARY) await Deno.copyFile(BINARY, path);
  else await Deno.writeTextFile(path, `#!/bin/sh\nexec ${shellCommand(HOTBOOT)} "$@"\n`);
  await Deno.chmod(path, 0o755);
}

/** Deno's cache directory, also for a user with another one. */
export async function denoDirectory(): Promise<Record<string, string>> {
  const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["info", "--json"] }).output();
  return { DENO_DIR: JSON.parse(new TextDecoder().decode(stdout)).denoDir };
}
