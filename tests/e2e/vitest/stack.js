import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { test as base } from "vitest";

/** A test whose file has a stack of its own: hotboot drops it when this process closes the pipe, or dies. */
export const test = base.extend({
  // deno-lint-ignore no-empty-pattern -- vitest reads it
  stack: [async ({}, use) => {
    const hotboot = spawn("hotboot", ["run", "--fresh", "--json"], { stdio: ["pipe", "pipe", "inherit"] });
    const ended = once(hotboot, "exit");
    const [line] = await Promise.race([once(createInterface(hotboot.stdout), "line"), ended]);
    await use(JSON.parse(line)); // instance, urls, ports, env
    hotboot.stdin.end();
    await ended;
  }, { scope: "file" }],
});

/** The same stack, back at its beginning: with the same ports, and new secrets. */
export function reset({ instance }) {
  return JSON.parse(execFileSync("hotboot", ["restart", "--discard", "--json", "--quiet", "--instance", instance]));
}
