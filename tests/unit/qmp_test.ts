import { assertEquals, assertRejects } from "@std/assert";
import { HotbootError } from "../../lib/base/error.ts";
import { JsonLines } from "../../lib/vm/json_lines.ts";
import { QmpClient, QmpError } from "../../lib/vm/qmp.ts";
import { fakePeer } from "./duplex.ts";

const GREETING =
  '{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"}, "capabilities": ["oob"]}}\r\n';

/** A client that has been greeted, with a peer that answers only `qmp_capabilities`. */
async function greeted() {
  const peer = fakePeer();
  peer.onSent = (text) => {
    const { execute, id } = JSON.parse(text);
    if (execute === "qmp_capabilities") peer.send(`{"return": {}, "id": ${id}}\r\n`);
  };
  peer.send(GREETING);
  const qmp = await QmpClient.open(peer);
  const lastId = () => JSON.parse(peer.sent.at(-1)!).id;
  /** Waits until the client's next command has been sent. */
  const commandSent = () => new Promise<void>((resolve) => void (peer.onSent = () => resolve()));
  return { peer, qmp, lastId, commandSent };
}

Deno.test("qmp: the greeting gives QEMU's version, and capabilities are negotiated first", async () => {
  const { peer, qmp } = await greeted();
  assertEquals(qmp.version, "7.2.22");
  assertEquals(JSON.parse(peer.sent[0]).execute, "qmp_capabilities");
  await qmp.close();
});

Deno.test("qmp: a greeting and replies that arrive byte by byte are read whole", async () => {
  const peer = fakePeer();
  const bytes = (text: string) => {
    for (const byte of new TextEncoder().encode(text)) peer.send(new Uint8Array([byte]));
  };
  peer.onSent = (text) => bytes(`{"return": {"text": "grüße"}, "id": ${JSON.parse(text).id}}\r\n`);
  bytes(GREETING);
  const qmp = await QmpClient.open(peer);
  assertEquals(await qmp.execute("query-status"), { text: "grüße" });
  await qmp.close();
});

Deno.test("qmp: events between a command and its reply, in one chunk with both, reach their waiters", async () => {
  const { peer, qmp } = await greeted();
  peer.onSent = (text) => {
    const { id } = JSON.parse(text);
    peer.send(
      '{"event": "STOP", "timestamp": {}}\r\n{"event": "MIGRATION", "data": {"status": "setup"}}\r\n' +
        `{"return": 1, "id": ${id}}\r\n{"event": "MIGRATION", "data": {"status": "completed"}}\r\n`,
    );
  };
  const stopped = qmp.waitForEvent(({ event }) => event === "STOP", "the stop");
  const completed = qmp.waitForEvent(({ data }) => data.status === "completed", "the migration");
  assertEquals(await qmp.execute("stop"), 1);
  assertEquals((await stopped).event, "STOP");
  assertEquals((await completed).data.status, "completed");
  await qmp.close();
});

Deno.test("qmp: replies out of order go to the commands with their ids", async () => {
  const { peer, qmp } = await greeted();
  const ids: Record<string, number> = {};
  peer.onSent = (text) => {
    const { execute, id } = JSON.parse(text);
    ids[execute] = id;
    if (Object.keys(ids).length < 2) return;
    peer.send(`{"return": "second", "id": ${ids.second}}\r\n{"return": "first", "id": ${ids.first}}\r\n`);
  };
  assertEquals(await Promise.all([qmp.execute("first"), qmp.execute("second")]), ["first", "second"]);
  await qmp.close();
});

Deno.test("qmp: a refusal has the command, QEMU's error class and its message", async () => {
  const { peer, qmp } = await greeted();
  peer.onSent = (text) => {
    const { id } = JSON.parse(text);
    peer.send(`{"error": {"class": "CommandNotFound", "desc": "The command x has not been found"}, "id": ${id}}\r\n`);
  };
  const error = await assertRejects(() => qmp.execute("x"), QmpError, "'x': The command x has not been found");
  assertEquals(error.errorClass, "CommandNotFound");
  await qmp.close();
});

Deno.test("qmp: if the monitor dies in the middle of a reply, the command and all waiters fail", async () => {
  const { peer, qmp } = await greeted();
  peer.onSent = () => {
    peer.send('{"return": {"status": "run');
    peer.end();
  };
  const event = qmp.waitForEvent(() => true, "anything");
  await assertRejects(() => qmp.execute("query-status"), HotbootError, "closed its monitor during 'query-status'");
  await assertRejects(() => event, HotbootError, "closed its monitor during 'anything'");
  await qmp.closed;
  await assertRejects(() => qmp.execute("query-status"), HotbootError, "closed its monitor");
});

Deno.test("qmp: a monitor that does not send JSON is closed at once", async () => {
  const { peer, qmp } = await greeted();
  peer.onSent = () => peer.send("Segmentation fault\r\n");
  await assertRejects(() => qmp.execute("query-status"), HotbootError, "closed its monitor");
});

Deno.test("qmp: the error says that the monitor ended before the greeting", async () => {
  const peer = fakePeer();
  peer.end();
  await assertRejects(() => QmpClient.open(peer), Deno.errors.UnexpectedEof, "before greeting");
});

Deno.test("qmp: every wait has a limit, and an abort ends it with the abort's reason", async () => {
  const { qmp, commandSent } = await greeted();
  await assertRejects(
    () => qmp.execute("cont", {}, { timeoutMs: 10 }),
    HotbootError,
    "QEMU ('cont') did not answer within 0.01 s",
  );
  await assertRejects(
    () => qmp.waitForEvent(() => true, "the event", { timeoutMs: 10 }),
    HotbootError,
    "the event did",
  );
  const abort = new AbortController();
  const sent = commandSent();
  const command = qmp.execute("cont", {}, { signal: abort.signal });
  await sent;
  abort.abort(new Error("enough"));
  await assertRejects(() => command, Error, "enough");
  await qmp.close();
});

Deno.test("qmp: a greeting that is none is a clear error, and odd messages are passed over", async () => {
  for (const greeting of ['{"QMP": {}}', "null", "7", '{"QMP": {"version": {"qemu": {"major": "7"}}}}']) {
    const peer = fakePeer();
    peer.send(`${greeting}\r\n`);
    await assertRejects(() => QmpClient.open(peer), HotbootError, "not QEMU's monitor");
  }
  const { peer, qmp } = await greeted();
  peer.onSent = (text) => peer.send(`null\r\n7\r\n[]\r\n{"return": 1, "id": ${JSON.parse(text).id}}\r\n`);
  assertEquals(await qmp.execute("query-status"), 1);
  await qmp.close();
});

Deno.test("qmp: a late reply to an abandoned command is dropped", async () => {
  const { peer, qmp, lastId } = await greeted();
  peer.onSent = () => {};
  await assertRejects(() => qmp.execute("slow", {}, { timeoutMs: 10 }), HotbootError);
  const late = lastId();
  peer.onSent = (text) => {
    peer.send(`{"return": "late", "id": ${late}}\r\n{"return": "right", "id": ${JSON.parse(text).id}}\r\n`);
  };
  assertEquals(await qmp.execute("next"), "right");
  await qmp.close();
});

Deno.test("json lines: an endless line is an error, and takes bounded memory", async () => {
  const peer = fakePeer();
  const lines = new JsonLines(peer);
  const reading = lines.read();
  const piece = new Uint8Array(1 << 20).fill(0x20);
  for (let count = 0; count <= 64; count++) peer.send(piece);
  await assertRejects(() => reading, HotbootError, "has no end after 64 MiB");
  await lines.close();
});
