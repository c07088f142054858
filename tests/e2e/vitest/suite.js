import { readdirSync, renameSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { test } from "./stack.js";

const { PLACE, FILES, DIES } = process.env;
const token = async (stack) => (await (await fetch(`${stack.url("web")}/token`)).text()).trim();

/** The same tests in each file, whose stacks run at the same time. */
export function suite(name) {
  test("has a stack of its own", async ({ stack }) => {
    const env = await stack.env();
    expect(env).toEqual({ WEB_URL: stack.urls.web, WEB_TOKEN: await token(stack) });
    expect(stack.urls.web).toBe(`http://127.0.0.1:${stack.ports.web}`);
    expect(await stack.exec("sh", "-c", `echo ${name} >/data/mark; sync; echo said >&2; exit 3`))
      .toEqual({ code: 3, stdout: "", stderr: "said\n" });
    writeFileSync(`${PLACE}/${name}.tmp`, JSON.stringify([stack.instance, stack.ports.web, ...Object.values(env)]));
    renameSync(`${PLACE}/${name}.tmp`, `${PLACE}/${name}`);
    while (readdirSync(PLACE).filter((each) => !each.includes(".")).length < Number(FILES)) await sleep(50);
    expect((await stack.exec("cat", "/data/mark")).stdout).toBe(`${name}\n`);
  });

  test("dies", { skip: DIES !== name }, () => process.kill(process.pid, "SIGKILL"));
}
