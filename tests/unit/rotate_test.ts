import { assertEquals } from "@std/assert";
import { exists } from "@std/fs/exists";
import { keepSecrets, secretsInEffect } from "../../lib/guest/rotate.ts";
import { instancePath } from "../../lib/instance/channels.ts";
import { privateDirectory } from "../../lib/instance/home.ts";
import { testEmulator, testRecord } from "./emulators.ts";
import { withDirectory } from "./temporary.ts";

Deno.test("secrets: a start without rotation keeps the only copy of those that the disk knows, else the placeholders", () =>
  withDirectory(async (directory) => {
    const plain = await testEmulator(directory);
    const secrets = [{ name: "TOKEN", placeholder: "0".repeat(32) }];
    const emulator = { ...plain, profile: { ...plain.profile, secrets } };
    await privateDirectory(emulator.home.instance(emulator.instance));

    const record = testRecord();
    await keepSecrets(emulator, record, { TOKEN: "own" });
    assertEquals(record.secrets, "rotated");
    await keepSecrets(emulator, record); // its disk is booted again, without rotation
    assertEquals(record.secrets, "rotated");
    assertEquals(await secretsInEffect(emulator, record), { TOKEN: "own" });

    const fresh = testRecord();
    await keepSecrets(emulator, fresh);
    assertEquals(fresh.secrets, "placeholders");
    assertEquals(await secretsInEffect(emulator, fresh), { TOKEN: "0".repeat(32) });
    assertEquals(await exists(instancePath(emulator, "credentials")), false);
  }));
