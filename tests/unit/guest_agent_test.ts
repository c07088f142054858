import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { HotbootError } from "../../lib/base/error.ts";
import { GuestAgent } from "../../lib/vm/guest_agent.ts";
import { type FakePeer, fakePeer } from "./duplex.ts";

/** An agent's answers, by command. It answers `guest-sync-delimited` as qga does. */
function play(peer: FakePeer, answers: Record<string, (args: Record<string, unknown>) => unknown>) {
  peer.onSent = (text) => {
    const { execute, arguments: args } = JSON.parse(text.replace("\xff", ""));
    if (execute === "guest-sync-delimited") {
      peer.send(new Uint8Array([0xff]));
      peer.send(`{"return": ${args.id}}\n`);
    } else {
      peer.send(JSON.stringify(answers[execute](args)) + "\n");
    }
  };
}

const b64 = (text: string) => btoa(text);
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

Deno.test("agent: the delimiter is sent first, and an earlier client's unread bytes are dropped", async () => {
  const peer = fakePeer();
  peer.send('{"return": {"pid": 7}}\n{"return": 3}\n');
  play(peer, { "guest-ping": () => ({ return: {} }) });
  const agent = await GuestAgent.open(peer);
  assertEquals(peer.sent[0].charCodeAt(0), 0xff);
  await agent.ping();
  await agent.close();
});

Deno.test("agent: the answer to an earlier client's synchronisation is ignored", async () => {
  const peer = fakePeer();
  peer.send(new Uint8Array([0xff]));
  peer.send('{"return": -1}\n');
  play(peer, { "guest-ping": () => ({ return: {} }) });
  const agent = await GuestAgent.open(peer);
  await agent.ping();
  await agent.close();
});

Deno.test("agent: a silent agent gives an error within the limit", async () => {
  await assertRejects(
    () => GuestAgent.open(fakePeer(), { timeoutMs: 10 }),
    HotbootError,
    "the guest agent did not answer within 0.01 s",
  );
});

Deno.test("agent: the error says that the machine stopped during synchronisation", async () => {
  const peer = fakePeer();
  peer.onSent = () => peer.end();
  await assertRejects(() => GuestAgent.open(peer), HotbootError, "the machine has stopped");
});

Deno.test("agent: exec returns the exit code and both outputs", async () => {
  const peer = fakePeer();
  let asked = 0;
  play(peer, {
    "guest-exec": (args) => {
      assertEquals(args, { path: "sh", arg: ["-c", "x"], "input-data": b64("in"), "capture-output": true });
      return { return: { pid: 42 } };
    },
    "guest-exec-status": ({ pid }) => {
      assertEquals(pid, 42);
      if (++asked < 3) return { return: { exited: false } };
      return { return: { exited: true, exitcode: 3, "out-data": b64("out"), "err-data": b64("err") } };
    },
  });
  const agent = await GuestAgent.open(peer);
  const result = await agent.exec({ path: "sh", args: ["-c", "x"], input: new TextEncoder().encode("in") });
  assertEquals([result.exitCode, text(result.stdout), text(result.stderr)], [3, "out", "err"]);
  await agent.close();
});

Deno.test("agent: the exit code is 128 + n after signal n", async () => {
  const peer = fakePeer();
  play(peer, {
    "guest-exec": () => ({ return: { pid: 1 } }),
    "guest-exec-status": () => ({ return: { exited: true, signal: 9 } }),
  });
  const agent = await GuestAgent.open(peer);
  assertEquals((await agent.exec({ path: "x" })).exitCode, 137);
  await agent.close();
});

Deno.test("agent: a refusal has the command and the agent's message", async () => {
  const peer = fakePeer();
  play(peer, { "guest-exec": () => ({ error: { class: "GenericError", desc: "no such program" } }) });
  const agent = await GuestAgent.open(peer);
  await assertRejects(() => agent.exec({ path: "x" }), HotbootError, "refused 'guest-exec': no such program");
  await agent.close();
});

Deno.test("agent: a file is written in pieces, each starting where the agent's last write ended", async () => {
  const peer = fakePeer();
  let written = "";
  play(peer, {
    "guest-file-open": () => ({ return: 5 }),
    "guest-file-write": ({ "buf-b64": data }) => {
      const taken = atob(String(data)).slice(0, 100_000);
      written += taken;
      return { return: { count: taken.length, eof: false } };
    },
    "guest-file-close": ({ handle }) => {
      assertEquals(handle, 5);
      return { return: {} };
    },
  });
  const agent = await GuestAgent.open(peer);
  const data = new Uint8Array(300_000).map((_, index) => index % 251);
  await agent.writeFile("/tmp/x", data);
  assertEquals(Uint8Array.from(written, (char) => char.charCodeAt(0)), data);
  await agent.close();
});

Deno.test("agent: a guest without hwclock still gets its clock set; any other refusal is an error", async () => {
  const peer = fakePeer();
  let desc = "hwclock failed to set hardware clock to system time";
  const times: unknown[] = [];
  play(peer, {
    "guest-set-time": ({ time }) => {
      times.push(time);
      return { error: { class: "GenericError", desc } };
    },
    "guest-exec": () => ({ error: { class: "GenericError", desc: "no such program" } }),
  });
  const agent = await GuestAgent.open(peer);
  await agent.setTime(1_700_000_000_123.4);
  assertEquals(times, [1_700_000_000_123_400_000]); // nanoseconds
  desc = "Failed to set time to system: Operation not permitted";
  await assertRejects(() => agent.setTime(), HotbootError, "Operation not permitted");
  await agent.close();
});

Deno.test("agent: a year that the guest agent refuses is set with date, in whole seconds", async () => {
  const peer = fakePeer();
  const seen: unknown[] = [];
  let [exitcode, stderr] = [0, ""];
  play(peer, {
    "guest-set-time": () => ({ error: { class: "GenericError", desc: "Invalid time" } }),
    "guest-exec": ({ path, arg }) => {
      seen.push([path, ...arg as string[]].join(" "));
      return { return: { pid: 1 } };
    },
    "guest-exec-status": () => ({ return: { exited: true, exitcode, "err-data": stderr } }),
  });
  const agent = await GuestAgent.open(peer);
  await agent.setTime(Date.parse("2107-01-01T00:00:00.520Z"));
  assertEquals(seen, ["date -u -s @4323283201"]);
  exitcode = 1;
  await assertRejects(() => agent.setTime(Date.parse("2107-01-01T00:00:00Z")), HotbootError, "Invalid time");
  [exitcode, stderr] = [0, btoa("date: can't set date: Invalid argument")]; // busybox
  await assertRejects(() => agent.setTime(Date.parse("2107-01-01T00:00:00Z")), HotbootError, "Invalid time");
  await agent.close();
});

Deno.test("agent: date gets the time with milliseconds, and a missing or failing date is noticed", async () => {
  const replies = [
    { return: { pid: 1 } },
    { return: { pid: 1 } },
    { error: { class: "GenericError", desc: "Failed to execute child process" } },
  ];
  const seen: string[] = [];
  const peer = fakePeer();
  let exitcode = 0;
  play(peer, {
    "guest-exec": ({ path, arg }) => {
      seen.push([path, ...arg as string[]].join(" "));
      return replies.shift()!;
    },
    "guest-exec-status": () => ({ return: { exited: true, exitcode: exitcode++ } }),
  });
  const agent = await GuestAgent.open(peer);
  for (const expected of [true, false, false]) {
    assertEquals(await agent.setTimeWithDate(1_700_000_000_123.4), expected);
    assertEquals(seen.pop(), "date -u -s @1700000000.123");
  }
  await agent.close();
});

/** What each of the agent's answers must not be; the first calls of a longer talk are answered well. */
const WRONG: [what: string, use: (agent: GuestAgent) => Promise<unknown>, answers: Record<string, unknown>][] = [
  ["no process", (agent) => agent.spawn({ path: "x" }), { "guest-exec": 5 }],
  ["a process id that is text", (agent) => agent.spawn({ path: "x" }), { "guest-exec": { pid: "1" } }],
  ["no status", (agent) => agent.status(1), { "guest-exec-status": null }],
  ["a broken exit code", (agent) => agent.status(1), { "guest-exec-status": { exited: true, exitcode: 1.5 } }],
  ["a signal that is none", (agent) => agent.status(1), { "guest-exec-status": { exited: true, signal: "KILL" } }],
  ["output that is a list", (agent) => agent.status(1), { "guest-exec-status": { exited: true, "out-data": [1] } }],
  ["output that is not base64", (agent) => agent.status(1), { "guest-exec-status": { exited: true, "err-data": "!" } }],
  ["a handle that is none", (agent) => agent.openFile("/x"), { "guest-file-open": {} }],
  ["a file that is a number", (agent) => agent.read(1), { "guest-file-read": { "buf-b64": 1 } }],
  ...[{}, { count: "9" }, { count: 0.5 }, { count: 1e9 }].map((written) =>
    [
      `${JSON.stringify(written)} bytes written`,
      (agent: GuestAgent) => agent.writeFile("/x", new Uint8Array(9)),
      { "guest-file-open": 1, "guest-file-write": written, "guest-file-close": {} },
    ] as (typeof WRONG)[number]
  ),
];

for (const [what, use, answers] of WRONG) {
  Deno.test(`agent: ${what} is an error that says so`, async () => {
    const peer = fakePeer();
    play(peer, Object.fromEntries(Object.entries(answers).map(([name, value]) => [name, () => ({ return: value })])));
    const agent = await GuestAgent.open(peer);
    const error = await assertRejects(() => use(agent), HotbootError);
    assertMatch(error.message, /^the guest agent's answer to 'guest-[a-z-]+' is not of its kind: /);
    await agent.close();
  });
}

Deno.test("agent: a file that takes no bytes is an error, and no loop", async () => {
  const peer = fakePeer();
  play(peer, {
    "guest-file-open": () => ({ return: 1 }),
    "guest-file-write": () => ({ return: { count: 0 } }),
    "guest-file-close": () => ({ return: {} }),
  });
  const agent = await GuestAgent.open(peer);
  await assertRejects(() => agent.writeFile("/x", new Uint8Array(9)), HotbootError, "it wrote nothing");
  await agent.close();
});

for (const answer of ["5", "null", '"text"', '{"error": 5}', '{"error": null}', "{", "\x00"]) {
  Deno.test(`agent: the answer ${JSON.stringify(answer)} is an error that says so`, async () => {
    const peer = fakePeer();
    play(peer, {});
    const agent = await GuestAgent.open(peer);
    peer.onSent = () => peer.send(answer + "\n");
    const error = await assertRejects(() => agent.ping(), HotbootError);
    assertMatch(error.message, /is not of its kind|is not JSON/);
    await agent.close();
  });
}
