/** Where a token goes, and where it does not. */

import { assertEquals, assertRejects } from "@std/assert";
import { HotbootError } from "../../lib/base/error.ts";
import { get, type HttpRequest } from "../../lib/release/http.ts";
import { findToken } from "../../lib/release/token.ts";

Deno.test("http: the token goes only by https, or to this machine without a proxy", async () => {
  const seen: (string | null)[] = [];
  await using server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    seen.push(request.headers.get("authorization"));
    return new Response();
  });
  const port = server.addr.port;
  const network = { variables: { HTTP_PROXY: `http://127.0.0.1:${port}` }, caCerts: [], faults: [] };
  const there: HttpRequest = { url: `http://127.0.0.1:${port}`, token: "secret" };
  for (const host of ["mirror.example", "127.0.0.1.mirror.example", "192.168.1.1", "localhost.mirror.example"]) {
    const why = await assertRejects(() => get({ ...there, url: `http://${host}` }), HotbootError);
    assertEquals(
      why.message,
      `the token is not sent to ${host}, because http is not encrypted: use an https address, or unset the token`,
    );
  }
  await assertRejects(() => get({ ...there, network }), HotbootError, "the token is not sent");
  assertEquals(seen, []);
  await (await get(there)).body?.cancel();
  assertEquals(seen, ["Bearer secret"]);
});

Deno.test("http: only http and https are fetched, at first and after a redirect", async () => {
  const file = await Deno.makeTempFile();
  try {
    const others = [`file://${file}`, "data:text/plain,x", "ftp://127.0.0.1/x", "blob:null/x"];
    for (const url of [...others, "no address"]) {
      await assertRejects(() => get({ url }), HotbootError, "only http and https are fetched");
    }
    for (const location of others) {
      await using server = Deno.serve(
        { hostname: "127.0.0.1", port: 0, onListen: () => {} },
        () => new Response(null, { status: 302, headers: { location } }),
      );
      await assertRejects(() => get({ url: `http://127.0.0.1:${server.addr.port}` }), HotbootError, "to nowhere");
    }
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("http: a redirect to another origin does not carry the token", async () => {
  const seen: string[] = [];
  const serve = (name: string, answer: () => Response) =>
    Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
      seen.push(`${name} ${request.headers.get("authorization")}`);
      return answer();
    });
  await using other = serve("other", () => new Response());
  const location = `http://127.0.0.1:${other.addr.port}`;
  await using first = serve("first", () => new Response(null, { status: 307, headers: { location } }));
  await (await get({ url: `http://127.0.0.1:${first.addr.port}`, token: "secret" })).body?.cancel();
  assertEquals(seen, ["first Bearer secret", "other null"]);
});

Deno.test("github: another API than GitHub's own has a token of its own", async () => {
  const env = { GITHUB_TOKEN: "own", GH_TOKEN: "own", GITHUB_ENTERPRISE_TOKEN: "theirs", GH_ENTERPRISE_TOKEN: "" };
  const before = Object.keys(env).map((name) => [name, Deno.env.get(name)] as const);
  try {
    for (const [name, value] of Object.entries(env)) Deno.env.set(name, value);
    for (const api of [undefined, "https://api.github.com", "https://api.github.com/"]) {
      assertEquals(await findToken(api), { value: "own", from: "GITHUB_TOKEN" });
    }
    const others = [
      "https://ghe.example/api/v3",
      "http://api.github.com",
      "https://api.github.com.example",
      "no address",
    ];
    for (const api of others) {
      assertEquals(await findToken(api), { value: "theirs", from: "GITHUB_ENTERPRISE_TOKEN" }, api);
    }
  } finally {
    for (const [name, value] of before) value === undefined ? Deno.env.delete(name) : Deno.env.set(name, value);
  }
});
