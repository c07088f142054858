/** Where the suite's files meet: each says what its stack is like, and waits until all of them run. */

import type { Stack } from "@hotboot/hotboot/testing";

/** What is to differ from stack to stack. */
export interface Said {
  instance: string;
  port: number;
  token: string;
  random: string;
}

/** Files here are what the suite says, and whom it waits for is in MEET. */
const PLACE = Deno.env.get("PLACE")!;
const MEET = (Deno.env.get("MEET") ?? "").split(",").filter((name) => name !== "");

/** Whoever has not come by then has failed. */
const LIMIT_MS = 120_000;

/** What it is like; the token is what its service serves. */
export async function describe(stack: Stack): Promise<Said> {
  const { instance, ports: { web: port } } = stack;
  const token = (await (await fetch(`${stack.url("web")}/token`)).text()).trim();
  return { instance, port, token, random: await shell(stack, "cat /proc/sys/kernel/random/uuid") };
}

/** Says it, and waits until the others have said theirs. */
export async function meet(name: string, stack: Stack): Promise<void> {
  await say(name, await describe(stack));
  const end = Date.now() + LIMIT_MS;
  for (const other of MEET) {
    while (!await Deno.stat(`${PLACE}/${other}`).catch(() => undefined)) {
      if (Date.now() > end) throw new Error(`${other} does not come`);
      await sleep(50);
    }
  }
}

/** Says something to whoever runs the suite. */
export async function say(name: string, what: unknown): Promise<void> {
  await Deno.writeTextFile(`${PLACE}/${name}.tmp`, JSON.stringify(what));
  await Deno.rename(`${PLACE}/${name}.tmp`, `${PLACE}/${name}`);
}

/** What a shell in the guest prints. @throws when it fails. */
export async function shell(stack: Stack, script: string): Promise<string> {
  const { code, stdout, stderr } = await stack.exec("sh", "-c", script);
  if (code !== 0) throw new Error(`${script}: ${code}, ${stderr}`);
  return stdout.trim();
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
