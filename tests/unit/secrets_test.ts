import { assertEquals, assertMatch, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { fromFileUrl } from "@std/path/from-file-url";
import { reseedCommand } from "../../lib/guest/reseed.ts";
import { HotbootError } from "../../lib/base/error.ts";
import { fill } from "../../lib/base/fill.ts";
import { brokenProof, type Proof, proveChecks, proveRotation } from "../../lib/guest/proof.ts";
import type { ProofCheck } from "../../lib/profile/profile.ts";
import { generateSecrets, redact, secretLines } from "../../lib/profile/secrets.ts";
import { shellCommand } from "../../lib/base/shell.ts";

Deno.test("secrets: new each time, of the requested length, in hexadecimal digits", () => {
  const specs = [{ name: "KEY", placeholder: "x" }, { name: "SHORT", placeholder: "y", bytes: 16 }];
  const [one, other] = [generateSecrets(specs), generateSecrets(specs)];
  assertMatch(one.KEY, /^[0-9a-f]{64}$/);
  assertMatch(one.SHORT, /^[0-9a-f]{32}$/);
  assertEquals(new Set([one.KEY, one.SHORT, other.KEY, other.SHORT]).size, 4);
  assertEquals(secretLines({ A: "1", B: "2" }), "A=1\nB=2\n");
});

Deno.test("secrets: a redacted text has none left", () => {
  assertEquals(redact("A=abc B=def abcabc", { ONE: "abc", OTHER: "def" }), "A=<ONE> B=<OTHER> <ONE><ONE>");
});

Deno.test("fill: replaces names and $$, and refuses an undefined name", () => {
  const value = (name: string) => ({ "a.b": "1", "c": "$&" } as Record<string, string>)[name];
  assertEquals(fill("${a.b}-$$-${c}-$x", value), "1-$-$&-$x");
  assertThrows(() => fill("${d}", value), Error, "${d} is not defined");
});

Deno.test("shell: words pass through a shell unchanged", async () => {
  const words = ["it's", "$HOME", "a  b", "", 'q"', "*", "\\", "new\nline"];
  const command = `printf '%s\\0' ${shellCommand(words)}`;
  const { stdout } = await new Deno.Command("sh", { args: ["-c", command] }).output();
  assertEquals(new TextDecoder().decode(stdout), words.map((word) => `${word}\0`).join(""));
});

Deno.test("reseed: the clock's shift is rounded-down seconds plus nanoseconds, also backwards", () => {
  const shift = (ms: number) => reseedCommand("amd64", ms).match(/'228' '227' '(-?\d+)' '(\d+)'$/)!.slice(1);
  assertEquals(shift(0), ["0", "0"]);
  assertEquals(shift(1234.5), ["1", "234500000"]);
  assertEquals(shift(-0.25), ["-1", "999750000"]);
  assertMatch(reseedCommand("arm64", 0), /'113' '112' '0' '0'$/);
});

Deno.test("the guest's Perl is valid", async () => {
  const script = fromFileUrl(new URL("../../qemu/shared/services/usr/local/sbin/rotate-secrets", import.meta.url));
  const reseed = reseedCommand("amd64", 0).match(/'-e' '([^]*?)' '228'/)![1];
  for (const args of [[script], ["-e", reseed]]) {
    const { stderr } = await new Deno.Command("perl", { args: ["-Mstrict", "-Mwarnings", "-c", ...args] }).output();
    assertMatch(new TextDecoder().decode(stderr), /^(-e|\S*rotate-secrets) syntax OK\n$/);
  }
});

/** Serves a dashboard's pages and a backend that accepts this key. */
function serve(key = "new"): { port: number } & AsyncDisposable {
  const pages: Record<string, string> = {
    "/": `<script type="module" src="/a.js?x=1&amp;y=2"></script><link rel=icon href='missing.png'>
      <link href='style.css'><script src="https://elsewhere.test/b.js"></script>`,
    "/a.js?x=1&y=2": "key is new",
    "/style.css": "left: old",
  };
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    const { pathname, search } = new URL(request.url);
    if (pathname === "/key") {
      return new Response(null, {
        status: request.headers.get("x-key") === key && request.method === "PUT" ? 204 : 401,
      });
    }
    const page = pages[pathname + search];
    return new Response(page ?? "", { status: page === undefined ? 404 : 200 });
  });
  return { port: server.addr.port, [Symbol.asyncDispose]: () => server.shutdown() };
}

/** A proof of one check of the server's, whose secret was `old` in the image. */
function proofOf({ port }: { port: number }, check: Partial<ProofCheck>): Proof {
  return {
    checks: [{ name: "it", port: "web", path: "/", ...check }],
    specs: [{ name: "KEY", placeholder: "old" }],
    ports: { web: port },
  };
}

Deno.test("proof: passes or names the check that fails, without a secret", async (t) => {
  await using server = serve();
  const prove = (check: Partial<ProofCheck>) =>
    proveRotation(proofOf(server, check), { KEY: "new" }, 500, AbortSignal.timeout(10_000));
  const key = { path: "/key", method: "PUT", headers: { "x-key": "${secret.KEY}" }, status: 204 };
  await t.step("passes", async () => {
    await prove(key);
    await prove({ ...key, headers: { "x-key": "${placeholder.KEY}" }, status: 401 });
    await prove({ scripts: true, contains: ["key is ${secret.KEY}"], excludes: ["key is ${placeholder.KEY}"] });
  });
  const refuted: [Partial<ProofCheck>, string][] = [
    [{ ...key, status: 200 }, "it (status 204 instead of 200)"],
    [{ contains: ["${secret.KEY}"] }, "it (it lacks ${secret.KEY})"],
    [{ scripts: true, excludes: ["${placeholder.KEY}"] }, "it (it still has ${placeholder.KEY})"],
    [{ path: "/none" }, "it (status 404 instead of 200)"],
  ];
  for (const [check, why] of refuted) {
    await t.step(why, async () => {
      await assertRejects(
        () => prove(check),
        Error,
        `the new secrets are not in effect everywhere within 0.5 s: ${why}`,
      );
    });
  }
});

Deno.test("proof: a check that would pass without a rotation is found while the placeholders are in effect", async (t) => {
  await using server = serve("old");
  const check = (check: Partial<ProofCheck>) => proveChecks(proofOf(server, check), 500, AbortSignal.timeout(10_000));
  const refuses = { path: "/key", method: "PUT", headers: { "x-key": "${placeholder.KEY}" }, status: 401 };
  const accepts = { ...refuses, headers: { "x-key": "${secret.KEY}" }, status: 204 };
  await t.step("useful checks", async () => {
    await check(refuses);
    await check(accepts);
    await check({ scripts: true, excludes: ["left: ${placeholder.KEY}"] });
  });
  const useless: [string, Partial<ProofCheck>, string][] = [
    [
      "a placeholder that the image does not have",
      { ...refuses, headers: { "x-key": "not ${placeholder.KEY}" } },
      "it passes already",
    ],
    ["a page that never has the placeholder", { excludes: ["left: ${placeholder.KEY}"] }, "it passes already"],
    ["a secret that gives no access", { ...accepts, headers: { "x-key": "not ${secret.KEY}" } }, "status 401"],
  ];
  for (const [title, what, why] of useless) {
    await t.step(title, async () => {
      const { message } = await assertRejects(() => check(what), HotbootError);
      assertStringIncludes(message, why);
    });
  }
});

Deno.test("proof: a check that no longer passes is named", async () => {
  await using server = serve("old");
  const key = { path: "/key", method: "PUT", headers: { "x-key": "${placeholder.KEY}" }, status: 401 };
  const signal = AbortSignal.timeout(10_000);
  const broken = (server: { port: number }) => brokenProof(proofOf(server, key), { KEY: "new" }, 500, signal);
  assertEquals(await broken(server), "it (status 204 instead of 401)");
  await using rotated = serve("new");
  assertEquals(await broken(rotated), undefined);
});

Deno.test("proof: no answer, or a server's failure, says nothing about the secrets", async () => {
  const signal = AbortSignal.timeout(20_000);
  const key = { path: "/key", headers: { "x-key": "${placeholder.KEY}" }, status: 401 };
  let busy = 0; // this many of the next answers are failures
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    () => new Response(null, { status: busy-- > 0 ? 503 : 401 }),
  );
  const proof = proofOf(server.addr, key);
  busy = 2;
  assertEquals(await brokenProof(proof, { KEY: "new" }, 10_000, signal), undefined);
  busy = Infinity;
  const silent = () => brokenProof(proof, { KEY: "new" }, 100, signal);
  await assertRejects(silent, HotbootError, "within 0.1 s: it (status 503 instead of 401)");
  const useless = () => proveChecks(proof, 100, signal); // not a 401, but not because the placeholder was accepted
  await assertRejects(useless, HotbootError, "within 0.1 s: it (status 503 instead of 401)");
  await server.shutdown();
  await assertRejects(silent, HotbootError, "within 0.1 s: it (Connection refused");
});
