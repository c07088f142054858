import { withStack } from "hotboot/testing";
import { test as base } from "vitest";

/** A test whose file has a stack of its own: hotboot drops it when the file's tests have ended, or their process has. */
export const test = base.extend({
  stack: [({}, use) => withStack({}, use), { scope: "file" }],
});
