/** What a user may write, and what not. */

import { HotbootError, openEmulator, start, type Status, status, stop } from "hotboot";
import { fork, stackPool, withStack } from "hotboot/testing";

const emulator = await openEmulator({ profile: "demo", arch: "arm64", signal: AbortSignal.timeout(1000) });
const { origin, ports, timeline } = await start(emulator, { ports: { web: 1 }, engine: "instant" });
const first: number | undefined = timeline[0]?.endMs;
const { running }: Status = await status(emulator);
const url: string | undefined = running?.urls.web;
const { kept } = await stop(emulator, { how: "shutdown" });
await using stack = await fork({ source: "seeded", noFallback: true });
const token: string = (await stack.env()).TOKEN + (await stack.credentials()).TOKEN + stack.url("web");
const pool = await stackPool({ size: 2 });
const code: number = await withStack(pool, async (stack) => (await stack.exec("true")).code);
console.log(first, url, token, code, ports.web, new HotbootError("x").exitCode, origin === "resume", kept === "crashed");

// @ts-expect-error -- no such engine
await start(emulator, { engine: "flat" });
// @ts-expect-error -- its name is made for it
await fork({ instance: "mine" });
// @ts-expect-error -- no such origin
console.log(origin === "resumed");
