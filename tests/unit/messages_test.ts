/** Every message of lib/ says what to do: with an imperative, a command or a flag. Exceptions have a reason. */

import { assertEquals } from "@std/assert";
import { allMessages, messagesIn } from "../messages.ts";

/** The verbs that advice begins with, behind a punctuation mark or "or". */
const VERBS =
  ("use|type|set|unset|name|choose|try|install|give|correct|free|start|stop|wait|drop|export|put|get|leave|" +
    "write|remove|import|share|add|rename|run|compress|make|say|see|reinstall|check|ask|extract|build|pull|push|move|restart|save|end|change")
    .split("|");
/** Variables that contain the advice. */
const ADVICE = [
  "ASK",
  "HELP",
  "another",
  "around",
  "byHand",
  "change",
  "elsewise",
  "hidden",
  "hint",
  "how",
  "mend",
  "remedy",
  "todo",
];
const DOES = new RegExp(
  `[:;,(] (?:then |or )?(?:${VERBS.join("|")})\\b|'hotboot |--[a-z]|\\$\\{(?:dropUser|${ADVICE.join("|")})\\b|` +
    String.raw` takes | needs an? |contradict|hotboot start \$`,
);

/** Messages without advice, by the reason why that is right: the file, and how they begin. */
const BY_REASON: Record<string, string[]> = {
  "it contains another error's message, or a reason, which has the advice": [
    "base/attempts.ts: ",
    "cli/commands/command.ts: ${variable}: ",
    "cli/permissions/sandbox.ts: ${data.error}",
    "ui/ask.ts: ${last}",
    "cli/permissions/asking.ts: ${data.message}",
    "emulator/capture.ts: ${messageOf(error)}",
    "emulator/checkpoint.ts: instance '${emulator.instance}' is not saved: ",
    "emulator/checkpoint.ts: ${messageOf(error)}",
    "emulator/checkpoint.ts: ${whyPaused(",
    "emulator/export.ts: snapshot ${manifest.id} was not exported: ",
    "emulator/export_checkpoint.ts: a checkpoint cannot be exported since '${since}': ",
    "emulator/import.ts: ${name} was not imported: ",
    "emulator/run.ts: ${messageOf(error)}",
    "emulator/wait.ts: ${why!}",
    "guest/exec_ports.ts: the connection to the program broke: ",
    "image/pull_index.ts: ${name}: ${messageOf(error)}",
    "image/pulling.ts: ${error.message}",
    "instance/config_disk.ts: ",
    "instance/emulator.ts: ${withOptions(text",
    "instance/state.ts: instance '${emulator.instance}' is paused: ",
    "profile/json.ts: ${what} (line ${line}, column ${column}): ",
    "profile/parse.ts: profile ${origin}",
    "release/diagnose.ts: ${message}",
    "testing/fork.ts: hotboot: ${text}",
    "zstd/file.ts: ${from}: ",
    "zstd/pool.ts: ${reply.message}",
  ],
  "hotboot does what is to be done, and says so": [
    "emulator/capture.ts: engine ${engine} does not work here",
    "emulator/capture.ts: ${why}: using engine instant instead",
    "emulator/from_spare.ts: a spare did not work, and is dropped: ",
    "emulator/launch.ts: ${path} was not made by hotboot: renamed to ",
    "emulator/start.ts: the guest crashed (${crash}): booting",
    "emulator/start.ts: QEMU of instance '${emulator.instance}' ended by itself: booting",
    "emulator/stop.ts: the guest crashed (${crash}): only its disk is saved",
    "emulator/stop.ts: ${messageOf(error)}: switching it off",
    "emulator/up.ts: its own secrets were no longer in effect, putting them in again",
    "emulator/start.ts: no snapshot was captured: ",
    "emulator/start.ts: not resumed: ",
    "image/pull_index.ts: the whole image is downloaded, because ",
    "image/pull_index.ts: ${message}, so all of it is downloaded",
    "instance/acceleration.ts: ${why}; booting again",
  ],
  "its callers add the advice": [
    "guest/http.ts: ", // the checks' failure, and the project's
    "guest/proof.ts: ${failure}",
    "guest/proof.ts: its scripts have more than ",
    "instance/watch.ts: with ${accelerator}, the guest", // FailedGuest
    "image/provisioning.ts: ", // provision.ts names the full output
    "snapshot/migration.ts: QEMU could not migrate: ",
    "vm/ask.ts: ", // probe.ts
    "vm/connect.ts: no socket can be made at ", // network_home.ts
    "vm/process.ts: the devices' state and the memory are of two different moments",
    "vm/qcow2.ts: no disk at ",
    "vm/qcow2.ts: ${path} is not a qcow2 disk",
  ],
  "the work that waits or speaks with QEMU knows what it means; nobody can do more here": [
    "base/wait.ts: ${what} did not answer within ",
    "vm/commit.ts: ", // the chain of disks stays as long as it is
    "vm/guest_agent.ts: the guest agent refused ", // in the agent's words
    "vm/guest_agent.ts: QEMU closed the guest agent's channel",
    "vm/json_lines.ts: ",
    "vm/process.ts: QEMU ended at its start: ", // in QEMU's words
    "vm/qmp.ts: QEMU refused ", // in QEMU's words
    "vm/qmp.ts: QEMU closed its monitor during ", // it has ended
  ],
  "the user did it, or it is only a defect's": [
    "cli/commands/run.ts: interrupted by ",
    "cli/interrupts.ts: interrupted by ",
    "cli/permissions/launcher.ts: this command may not ask for '${name}'",
    "cli/permissions/asking.ts: this command may not ask for others",
    "cli/permissions/sandbox.ts: this command may not make symbolic links",
    "cli/permissions/sandbox.ts: ${path} is not below ",
    "guest/rotate.ts: instance '${instance}' has no secrets: its profile defines none",
  ],
};
const REVIEWED = Object.values(BY_REASON).flat();

/** Those without advice. */
async function silentMessages(): Promise<string[]> {
  return (await allMessages()).filter(isSilent);
}

const isSilent = (text: string) => !DOES.test(text.replace(/^\S+ /, ""));

Deno.test("messages: each says what to do, or has a reviewed reason not to", async () => {
  const silent = await silentMessages();
  assertEquals(silent.filter((text) => !REVIEWED.some((begin) => text.startsWith(begin))), []);
});

Deno.test("messages: each exception is still needed", async () => {
  const silent = await silentMessages();
  assertEquals(REVIEWED.filter((begin) => !silent.some((text) => text.startsWith(begin))), []);
});

Deno.test("messages: one without advice is found, however it is written", () => {
  const source = 'report.warn(`it ${why}`); throw new HotbootError(a ? "it broke" : "it broke: try " + "again");';
  const found = messagesIn("x.ts", source).filter(isSilent);
  assertEquals(found.toSorted(), ["x.ts: it ${why}", "x.ts: it broke"].toSorted());
});
