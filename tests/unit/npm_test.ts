/** The client for Node agrees with the commands' schemas, and with the library that it is like. */

import { assertEquals } from "@std/assert";
import { resultTypes, TYPES } from "../../dev/npm_types.ts";
import * as library from "../../mod.ts";
import type { RestartOptions, StartOptions, StopOptions } from "../../mod.ts";
import type * as libraryTesting from "../../testing.ts";
import type { CaptureResult, CheckpointResult, StartResult, Status, StopResult } from "../../mod.ts";
import * as client from "../../npm/index.ts";
import type * as testing from "../../npm/testing.ts";

/** Two types are one. The type check fails below where they are not. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : never;

/** What is one is the other, too. */
type Is<A, B> = [A] extends [B] ? true : never;

/** What is either is the other, too. */
type Fits<A, B> = Is<A, B> & Is<B, A>;

const AGREE: Record<string, true> = {
  "start": true satisfies Fits<client.StartResult, StartResult>,
  "status": true satisfies Is<client.Status, Status>, // the library says less of an accelerator's name
  "status's fields": true satisfies Same<keyof client.Status, keyof Status>,
  "stop": true satisfies Fits<client.StopResult, StopResult>,
  "capture": true satisfies Fits<client.CaptureResult, CaptureResult>,
  "saveCheckpoint": true satisfies Fits<client.CheckpointResult, CheckpointResult>,
  "StartOptions": true satisfies Same<keyof client.StartOptions, keyof StartOptions>,
  "RestartOptions": true satisfies Same<keyof client.RestartOptions, keyof RestartOptions>,
  "StopOptions": true satisfies Same<keyof client.StopOptions, keyof StopOptions>,
  "Stack": true satisfies Same<keyof testing.Stack, keyof libraryTesting.Stack>,
  "StackExecResult": true satisfies Same<testing.StackExecResult, libraryTesting.StackExecResult>,
  "PoolOptions.size": true satisfies Fits<testing.PoolOptions["size"], libraryTesting.PoolOptions["size"]>,
};

Deno.test("npm: the client's functions are the library's", () => {
  assertEquals(Object.keys(client).filter((name) => !Object.hasOwn(library, name)), []);
  assertEquals(Object.values(AGREE).every(Boolean), true);
});

Deno.test("npm: the types of the results are those of the schemas", async () => {
  const made = await resultTypes();
  const bare = (types: string) => types.replaceAll(/\s+/g, " "); // `deno fmt` has its own lines
  assertEquals(bare(await Deno.readTextFile(TYPES)), bare(made), "run 'deno run -A dev/npm_types.ts'");
});
