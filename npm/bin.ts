#!/usr/bin/env node
/** `hotboot`, from npm: the platform's binary with the same arguments, streams, signals and exit code. */

import { spawn } from "node:child_process";
import process from "node:process";
import { isatty } from "node:tty";
import { binaryPath, startFailure } from "./binary.ts";

function fail({ message }: Error): never {
  console.error(`hotboot: ${message}`);
  process.exit(1);
}

function find(): string {
  try {
    return binaryPath();
  } catch (error) {
    fail(error as Error);
  }
}

const binary = find();
const child = spawn(binary, process.argv.slice(2), { stdio: "inherit" });
child.on("error", (error) => fail(startFailure(binary, error)));

/** A terminal sends SIGINT (Ctrl-C) and SIGHUP to both, and once is enough. */
const isOnTerminal = [0, 1, 2].some((stream) => isatty(stream));
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(name, () => void (isOnTerminal && name !== "SIGTERM" || child.kill(name)));
}

child.on("exit", (code, signal) => {
  if (signal === null) process.exit(code!);
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
});
