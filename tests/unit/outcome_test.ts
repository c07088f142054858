import { assertEquals } from "@std/assert";
import { HostError, HotbootError } from "../../lib/base/error.ts";
import { NoAnswerError } from "../../lib/base/wait.ts";
import { failureText } from "../../lib/cli/commands/outcome.ts";

Deno.test("failures: the system's own errors get what to do, hotboot's have it", () => {
  const full = (words: string, code: number) => failureText(new Error(`${words} (os error ${code}): open '/h/x'`));
  for (const [words, code] of [["No space left on device", 28], ["Disk quota exceeded", 122]] as const) {
    assertEquals(
      full(words, code),
      `the disk is full (${words} (os error ${code}): open '/h/x'): free some space, and try again`,
    );
  }
  assertEquals(
    failureText(new Deno.errors.PermissionDenied("Permission denied (os error 13): readfile '/h/instance.json'")),
    "Permission denied (os error 13): readfile '/h/instance.json': get access to it; if 'sudo hotboot' has made it, " +
      `'sudo chown -R "$USER"' gives you hotboot's home back`,
  );
  assertEquals(failureText(new HotbootError("no space left on it: do this")), "no space left on it: do this");
  assertEquals(
    failureText(new HostError("no QEMU", "install it"), "start"),
    "no QEMU: install it; run 'hotboot doctor'",
  );
  assertEquals(failureText(new HostError("no QEMU", "install it"), "doctor"), "no QEMU: install it");
  assertEquals(
    failureText(new NoAnswerError("the guest agent did not answer within 10 s")),
    "the guest agent did not answer within 10 s: try again; 'hotboot logs' shows what the guest prints",
  );
});
