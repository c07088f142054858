/** The chaos tests' own tools: seeds mean the same again, and nothing is counted as survived that was not. */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { concat } from "@std/bytes/concat";
import { addressBytes, frame } from "../chaos/frames.ts";
import { mutate, mutateJson } from "../chaos/mutate.ts";
import { combine, type Results, table } from "../chaos/report.ts";
import { lastMessage, Tally } from "../chaos/subject.ts";
import { random } from "./random.ts";

const SAMPLES = ['{"a": [1, {"b": "c"}], "d": null}', '{"x": 7}'].map((text) => new TextEncoder().encode(text));

Deno.test("chaos: a seed gives the same input again, and others give others", () => {
  for (const how of [mutate, mutateJson]) {
    const all = Array.from({ length: 300 }, (_, seed) => new TextDecoder("latin1").decode(how(SAMPLES, random(seed))));
    assertEquals(new TextDecoder("latin1").decode(how(SAMPLES, random(17))), all[17]);
    assert(new Set(all).size > 200, String(new Set(all).size));
    assertNotEquals(all[1], all[2]);
  }
});

Deno.test("chaos: a run that fails is counted, with its seed, and not as survived", async () => {
  const tally = new Tally("subject");
  const print = console.error;
  console.error = () => {};
  try {
    assert(await tally.run("fault", 1, () => "it works"));
    assert(!await tally.run("fault", 2, () => Promise.reject(new Error("lost"))));
    assert(
      !await tally.run("fault", 3, () => Promise.reject(new SuppressedError(new Error("later"), new Error("first")))),
    );
  } finally {
    console.error = print;
  }
  assertEquals(tally.rows, [{ subject: "subject", fault: "fault", runs: 3, survived: 1, seen: { "it works": 1 } }]);
  assertEquals(tally.failures.map(({ seed }) => seed), [2, 3]);
  assert(/first[^]*and then[^]*later/.test(tally.failures[1].what));
  assertEquals(table(tally.rows), "fault        1/3  it works");
});

Deno.test("chaos: several runs are added up, and their failures stay", () => {
  const row = { subject: "s", fault: "f", runs: 2, survived: 1, seen: { a: 1 } };
  const failure = { subject: "s", fault: "f", seed: 4, what: "lost" };
  const results = {
    date: "",
    program: "the source",
    rows: [row],
    failures: [failure],
    skipped: [],
  } as unknown as Results;
  const sum = combine([results, results]);
  assertEquals(sum.rows, [{ ...row, runs: 4, survived: 2, seen: { a: 2 } }]);
  assertEquals(sum.failures.length, 2);
});

Deno.test("chaos: what a user saw is the last message, without what differs from run to run", () => {
  assertEquals(
    lastMessage("hotboot: one\nhotboot: /tmp/x/y.json has 8192 bytes instead of 5 MB in 20261127T221345Z-ae96\n"),
    "…/y.json has N bytes instead of N MB in ID",
  );
  assertEquals(lastMessage(""), "");
});

/** The sum that is in a header, taken with it: nothing is left (RFC 1071). */
function rest(...parts: Uint8Array[]): number {
  const bytes = concat(parts);
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes[at] << 8 | (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return sum ^ 0xffff;
}

Deno.test("chaos: frames of any source are whole: their sums are right, so that nobody drops them for that", () => {
  for (const kind of ["TCP", "UDP", "ICMP"] as const) {
    const v4 = frame({ kind, to: "10.0.2.2", from: "192.0.2.1", port: 53 });
    const length = v4[17] - 20;
    assertEquals(rest(v4.subarray(14, 34)), 0);
    const pseudo = kind === "ICMP"
      ? new Uint8Array()
      : concat([v4.subarray(26, 34), Uint8Array.of(0, v4[23], 0, length)]);
    assertEquals(rest(pseudo, v4.subarray(34, 34 + length)), 0);
    const v6 = frame({ kind, to: "fec0::2", from: "::ffff:127.0.0.1", port: 53 });
    const { length: long } = v6.subarray(54, 54 + v6[19]);
    assertEquals(rest(v6.subarray(22, 54), Uint8Array.of(0, long, 0, v6[20]), v6.subarray(54, 54 + long)), 0);
  }
  assertEquals(
    [...addressBytes("fe80::2:1")].map((byte) => byte.toString(16)).join(" "),
    "fe 80 0 0 0 0 0 0 0 0 0 0 0 2 0 1",
  );
  assertEquals([...addressBytes("::ffff:127.0.0.1")].slice(10), [255, 255, 127, 0, 0, 1]);
});
