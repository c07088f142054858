/**
 * The pages about messages. docs/messages.md has each message of the program; after a change of a message, write it again:
 *
 *     deno test -A --no-check tests/unit/troubleshooting_test.ts -- --update
 *
 * docs/troubleshooting.md explains the messages of each subject, and quotes only messages that exist.
 */

import { assert, assertEquals } from "@std/assert";
import { ROOT } from "../../dev/deno.ts";
import { type Message, shownMessages } from "../messages.ts";

/** Each subject, and the files of lib/ whose messages it has: how their paths begin. The longest beginning decides. */
const SUBJECTS: Record<string, string[]> = {
  "KVM, HVF and emulation": ["vm/accelerator.ts", "vm/firmware.ts", "vm/probe.ts", "instance/acceleration.ts"],
  "Starting": ["emulator/"],
  "Ports": ["emulator/ports.ts"],
  "Stopping": ["emulator/stop.ts", "emulator/suspend.ts", "instance/kill.ts"],
  "Instances and the home": ["doctor/", "instance/"],
  "The guest": ["base/", "emulator/logs.ts", "guest/", "instance/watch.ts"],
  "Programs and projects": ["emulator/project.ts", "emulator/run.ts"],
  "Trust and permissions": ["cli/permissions/", "cli/ui/"],
  "Profiles": ["base/fill.ts", "profile/"],
  "Images": ["emulator/kubevirt.ts", "image/", "sigstore/"],
  "Downloads": ["oci/", "release/"],
  "Snapshots and checkpoints": [
    "emulator/checkpoint.ts",
    "emulator/compatibility.ts",
    "emulator/export",
    "emulator/from.ts",
    "emulator/import",
    "emulator/prune.ts",
    "emulator/rename.ts",
    "emulator/rewind.ts",
    "emulator/snapshots.ts",
    "instance/checkpoints.ts",
    "snapshot/",
  ],
  "Tests": ["testing/"],
  "QEMU": ["vm/"],
  "The command line": ["cli/", "ui/"],
  "ISO images": ["iso/"],
  "zstd": ["zstd/"],
};

function subjectOf({ file }: Message): string {
  const lengthOf = (begins: string[]) =>
    Math.max(0, ...begins.map((begin) => file.startsWith(begin) ? begin.length : 0));
  const [subject, begins] =
    Object.entries(SUBJECTS).toSorted(([, one], [, other]) => lengthOf(other) - lengthOf(one))[0];
  assert(lengthOf(begins) > 0, `${file}: name its subject in ${import.meta.filename}`);
  return subject;
}

/** The messages of each subject, sorted. */
async function bySubject(): Promise<Map<string, string[]>> {
  const found = Map.groupBy(await shownMessages(), subjectOf);
  const texts = (subject: string) => [...new Set(found.get(subject)?.map(({ text }) => text))].sort();
  return new Map(Object.keys(SUBJECTS).map((subject) => [subject, texts(subject)]));
}

/** The page that lists all messages. */
async function messagesPage(): Promise<string> {
  const sections = Array.from(await bySubject(), ([subject, texts]) => {
    return `## ${subject}\n\n\`\`\`text\n${texts.join("\n")}\n\`\`\`\n`;
  });
  return [
    "# Messages\n",
    "These are all messages of errors and warnings, with `…` for what differs from one time to the next. Each says what",
    "happened, why, and what to type. [Troubleshooting](troubleshooting.md) explains those that people meet most often.\n",
    ...sections,
  ].join("\n");
}

Deno.test("troubleshooting: the page of all messages has those of the sources", async () => {
  const path = `${ROOT}docs/messages.md`;
  const page = await messagesPage();
  if (Deno.args.includes("--update")) await Deno.writeTextFile(path, page);
  const how = "write it again: deno test -A --no-check tests/unit/troubleshooting_test.ts -- --update";
  assertEquals(await Deno.readTextFile(path), page, how);
});

/** Whether what a page quotes, with `…` for what it leaves out, is in the text. */
function quotes(quote: string, text: string): boolean {
  const parts = quote.split("…").map((part) => RegExp.escape(part.trim()));
  return new RegExp(parts.join(".*")).test(text);
}

Deno.test("troubleshooting: each subject is explained, by messages that exist", async () => {
  const page = await Deno.readTextFile(`${ROOT}docs/troubleshooting.md`);
  const sections = new Map(page.split(/^## /m).slice(1).map((section) => [section.split("\n")[0], section]));
  const wrong: string[] = [];
  for (const [subject, texts] of await bySubject()) {
    const rows = sections.get(subject)?.matchAll(/^\| `(.+?)` +\| (.+?) +\| (.+?) +\|$/gm).toArray() ?? [];
    if (rows.length === 0) wrong.push(`no message of "${subject}" is explained`);
    for (const [, quote] of rows) {
      const message = quote.replaceAll("\\|", "|");
      if (!texts.some((text) => quotes(message, text))) wrong.push(`${subject}: no message says: ${message}`);
    }
  }
  assertEquals(wrong, []);
});

Deno.test("troubleshooting: a quote is found only where it is", () => {
  assert(quotes("port … would be both", "port … would be both '…' and '…': name another with --port"));
  assert(quotes("it … again", "it fails: try again"));
  assert(!quotes("port … is free", "port … would be both '…' and '…': name another with --port"));
  assert(!quotes("a.c", "abc"));
});
