import { assertEquals, assertRejects } from "@std/assert";
import { HotbootError } from "../../lib/base/error.ts";
import { getAnswer, getStatus } from "../../lib/guest/http.ts";

/** A server that answers every request with these pieces, and records the requests. */
function serve(...pieces: string[]) {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const asked: string[] = [];
  let [atOnce, most] = [0, 0];
  const served = (async () => {
    for await (const connection of listener) {
      most = Math.max(most, ++atOnce);
      (async () => {
        const buffer = new Uint8Array(4096);
        asked.push(new TextDecoder().decode(buffer.subarray(0, await connection.read(buffer) ?? 0)));
        for (const piece of pieces) {
          await new Promise((resolve) => setTimeout(resolve, 2));
          await connection.write(new TextEncoder().encode(piece)).catch(() => {});
        }
        atOnce--;
        connection.close();
      })();
    }
  })();
  return {
    port: (listener.addr as Deno.NetAddr).port,
    asked,
    most: () => most,
    async [Symbol.asyncDispose]() {
      listener.close();
      await served.catch(() => {});
    },
  };
}

const signal = AbortSignal.timeout(10_000);

Deno.test("guest http: the status arrives without waiting for the body", async () => {
  await using server = serve("HTTP/1.1 20", "4 No Content\r\nx: y\r\n\r\n");
  assertEquals(await getStatus({ port: server.port, path: "/health?db=1" }, signal), 204);
  assertEquals(server.asked[0].split("\r\n").slice(0, 2), [
    "GET /health?db=1 HTTP/1.1",
    `Host: 127.0.0.1:${server.port}`,
  ]);
});

for (
  const [title, pieces, body] of [
    ["with a length", ["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", "llo"], "hello"],
    ["until the end of the connection", ["HTTP/1.0 200 OK\r\n\r\n", "hel", "lo"], "hello"],
    [
      "in chunks",
      ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nh", "el\r\n2;x=y\r\nlo\r\n0\r\n\r\n"],
      "hello",
    ],
    ["that is empty", ["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"], ""],
  ] as const
) {
  Deno.test(`guest http: a body ${title}`, async () => {
    await using server = serve(...pieces);
    const request = { port: server.port, path: "/", method: "POST", headers: { "x-key": "a b" } };
    assertEquals(await getAnswer(request, signal), { status: 200, body });
    assertEquals(/^POST \/ HTTP\/1\.1\r\n[^]*Content-Length: 0\r\n[^]*x-key: a b\r\n/.test(server.asked[0]), true);
  });
}

for (
  const [title, pieces, why] of [
    ["nothing", [], "closed the connection without an answer"],
    ["another protocol", ["SSH-2.0-OpenSSH_9.2\r\n"], "the answer is not HTTP"],
    ["a short body", ["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"], "ended after 5 of 9 bytes"],
    ["half a chunk", ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello"], "ended within a chunk"],
    [
      "a chunk that would go back",
      ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\nhello"],
      "ended within a chunk",
    ],
    ["no last chunk", ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"], "ended within a chunk"],
  ] as const
) {
  Deno.test(`guest http: ${title} is an error`, async () => {
    await using server = serve(...pieces);
    await assertRejects(() => getAnswer({ port: server.port, path: "/" }, signal), Error, why);
  });
}

Deno.test("guest http: a request states its body's length in bytes, whatever the method", async () => {
  await using server = serve("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  for (const method of ["POST", "PUT", "GET"]) {
    await getAnswer({ port: server.port, path: "/", method, headers: { "content-type": "x/y" }, body: "ä\n" }, signal);
  }
  await getAnswer({ port: server.port, path: "/" }, signal);
  const sent = (method: string) =>
    `${method} / HTTP/1.1\r\nHost: 127.0.0.1:${server.port}\r\nAccept: */*\r\nConnection: close\r\n`;
  assertEquals(server.asked, [
    ...["POST", "PUT", "GET"].map((method) => `${sent(method)}Content-Length: 3\r\ncontent-type: x/y\r\n\r\nä\n`),
    `${sent("GET")}\r\n`,
  ]);
});

Deno.test("guest http: a port gets two requests at a time, and an abort ends them all", async () => {
  await using server = serve("HTTP/1.1 200 OK\r\n", "\r\n");
  const request = { port: server.port, path: "/" };
  const statuses = await Promise.all(Array.from({ length: 7 }, () => getStatus(request, signal)));
  assertEquals(statuses, Array(7).fill(200));
  assertEquals(server.most(), 2);
  const abort = new AbortController();
  const requests = Array.from({ length: 5 }, () => getStatus(request, abort.signal));
  abort.abort(new Error("enough"));
  for (const each of requests) await assertRejects(() => each, Error, "enough");
  assertEquals(await getStatus(request, signal), 200);
});

Deno.test("guest http: informational responses are not taken for the answer", async () => {
  const early = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 1";
  await using server = serve(early, "00 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  assertEquals(await getAnswer({ port: server.port, path: "/" }, signal), { status: 200, body: "ok" });
  assertEquals(await getStatus({ port: server.port, path: "/" }, signal), 200);
});

Deno.test("guest http: a timeout and an interrupt end a request at any point", async (t) => {
  const full = Deno.listen({ hostname: "127.0.0.1", port: 0 }); // nothing accepts
  try {
    await t.step("there is no answer", async () => {
      const request = { port: full.addr.port, path: "/", timeoutMs: 50 };
      await assertRejects(() => getStatus(request, signal), HotbootError, "no answer within 0.05 s");
    });
    await t.step("an interrupt comes while others wait their turn", async () => {
      const end = new AbortController();
      const request = { port: full.addr.port, path: "/", timeoutMs: 60_000 };
      const waiting = [1, 2, 3, 4].map(() => assertRejects(() => getStatus(request, end.signal), Error, "enough"));
      await new Promise((resolve) => setTimeout(resolve, 10));
      end.abort(new Error("enough"));
      await Promise.all(waiting);
      // The next one gets its turn.
      await assertRejects(() => getStatus({ ...request, timeoutMs: 50 }, signal), HotbootError, "no answer within");
    });
  } finally {
    full.close();
  }
});
