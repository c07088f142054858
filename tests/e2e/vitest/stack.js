import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { test as base } from "vitest";

/** A test whose file has a stack of its own: hotboot drops it when this process closes the pipe, or dies. */
export const test = base.extend({
  stack: [async ({}, use) => {
    const hotboot = spawn("hotboot", ["run", "--fresh", "--json"], { stdio: ["pipe", "pipe", "inherit"] });
    const ended = once(hotboot, "exit");
    const failed = ended.then(() => Promise.reject(new Error("there is no stack: hotboot has said why")));
    const [line] = await Promise.race([once(createInterface(hotboot.stdout), "line"), failed]);
    await use(JSON.parse(line)); // instance, urls, ports, env
    hotboot.stdin.end();
    await ended;
  }, { scope: "file" }],
});

/** The same stack, back at its beginning: with the same ports, and new secrets. */
export function reset({ instance }) {
  return JSON.parse(execFileSync("hotboot", ["restart", "--discard", "--json", "--quiet", "--instance", instance]));
}
