/** What a program of Node's does with the client, and what it finds, as JSON. */

import { exec, fork as forkAs, HotbootError, openEmulator, restart, saveCheckpoint, start, status, stop } from "hotboot";
import { fork, stackPool, withStack } from "hotboot/testing";

const failure = (work) => Promise.resolve().then(work).then(() => undefined, (error) => error);
const warnings = [];
console.warn = (text) => warnings.push(text);
const mark = async (stack) => (await stack.exec("cat", "/run/mark")).stdout;
const write = (emulator, text) => exec(emulator, { command: ["sh", "-c", "echo $MARK >/run/mark"], env: { MARK: text } });

const third = await openEmulator({ instance: "third" });
const error = await failure(() => exec(third, { command: ["true"] }));
const usage = await failure(() => start(third, { engine: "steam" }));
const states = [(await status(third)).state];
const { urls } = await start(third, { noFallback: true });
states.push((await status(third)).state);
await write(third, "checkpoint");
await saveCheckpoint(third, "seeded");
await write(third, "instance");

const marks = [];
const tokens = [];
let noPort;
{
  const stack = await fork({ source: "seeded", noFallback: true });
  marks.push(await mark(stack));
  tokens.push((await stack.credentials()).TOKEN);
  noPort = (await failure(() => stack.url("api"))).message;
  await stack[Symbol.asyncDispose]();
}
const pool = await stackPool({ source: "third" });
for (const _ of [1, 2]) {
  await withStack(pool, async (stack) => {
    if (marks.length === 1) marks.push(await mark(stack));
    tokens.push((await stack.env()).WEB_TOKEN);
  });
}
await pool[Symbol.asyncDispose]();

const stack = await fork();
const before = stack.url("web");
await stack.exec("touch", "/run/mark");
await stack.reset();
marks.push(await mark(stack));
tokens.push((await stack.env()).WEB_TOKEN);
const sameUrl = stack.url("web") === before;
await stack[Symbol.asyncDispose]();

let kept;
await failure(() => withStack({ keep: "failed" }, async (stack) => {
  kept = stack.instance;
  marks.push(await mark(stack));
  throw new Error("as it was to");
}));

const end = new AbortController();
const report = { step: () => end.abort("enough") };
const aborted = await failure(() => fork({ signal: end.signal, report }));
const stopped = await stop(third);

console.log(JSON.stringify({
  error: [error instanceof HotbootError && error.name, error.exitCode, error.message],
  usage: [usage.exitCode, usage.message],
  noPort, states, stopped, marks, tokens, sameUrl, kept, aborted,
  warning: warnings.at(-1),
}));
