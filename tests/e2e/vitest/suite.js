import { execFileSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { reset, test } from "./stack.js";

const shell = ({ instance }, script) =>
  execFileSync("hotboot", ["exec", "--instance", instance, "-n", "--", "sh", "-c", script]).toString().trim();
const token = async ({ urls }) => (await (await fetch(`${urls.web}/token`)).text()).trim();

/** The same tests in each file, whose stacks run at the same time. */
export function suite(name) {
  test("has a stack of its own", async ({ stack }) => {
    expect(stack.env).toEqual({ WEB_URL: stack.urls.web, WEB_TOKEN: await token(stack) });
    expect(stack.urls.web).toBe(`http://127.0.0.1:${stack.ports.web}`);
    shell(stack, `echo ${name} >/data/mark; sync`);
    writeFileSync(`${process.env.PLACE}/${name}`, JSON.stringify(stack));
    while (!["first", "second"].every((each) => existsSync(`${process.env.PLACE}/${each}`))) await sleep(50);
    expect(shell(stack, "cat /data/mark")).toBe(name);
  });

  test("has it back at its beginning", async ({ stack }) => {
    const { instance, ports, env } = reset(stack);
    expect({ instance, ports }).toEqual({ instance: stack.instance, ports: stack.ports });
    expect(env.WEB_TOKEN).toBe(await token(stack));
    expect(env.WEB_TOKEN).not.toBe(stack.env.WEB_TOKEN);
    expect(() => shell(stack, "cat /data/mark")).toThrow();
  });

  test("dies", { skip: process.env.DIES !== name }, () => process.kill(process.pid, "SIGKILL"));
}
