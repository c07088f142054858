/** A start's secrets: a rotation that restarts services, and which secrets are kept. */

import { assertEquals } from "@std/assert";
import { exists } from "@std/fs/exists";
import { Timeline } from "../../lib/base/timeline.ts";
import { keepSecrets, secretsInEffect, wakeAndProve } from "../../lib/guest/rotate.ts";
import { instancePath } from "../../lib/instance/channels.ts";
import { privateDirectory } from "../../lib/instance/home.ts";
import { play, testEmulator, testRecord } from "./emulators.ts";
import { withDirectory } from "./temporary.ts";

Deno.test("rotation: health does not count while a service's old process is still ending", async () => {
  await withDirectory(async (directory) => {
    const { profile, ...emulator } = await testEmulator(directory);
    const { machine, record } = await play({ ...emulator, profile });
    using _machine = machine;
    const answered: string[] = [];
    let proven = false;
    let [old, down] = [3, 2]; // for this many answers the backend is the old one, and then the service is down
    await using server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, ({ url, headers }) => {
      const isProof = new URL(url).pathname === "/key";
      const isAccepted = headers.get("x-key") === "new" && old-- <= 0;
      const status = isProof ? (isAccepted ? 200 : 401) : (proven && down-- > 0 ? 503 : 200);
      proven ||= isProof && isAccepted;
      answered.push(`${isProof ? "key" : "health"} ${status}`);
      return new Response(null, { status });
    });
    const rotated = {
      ...profile,
      health: [{ name: "web", port: "web", path: "/health" }],
      secrets: [{ name: "KEY", placeholder: "old" }],
      rotation: {
        command: ["true"],
        proof: [{ name: "the new key", port: "web", path: "/key", headers: { "x-key": "${secret.KEY}" } }],
      },
    };
    const ports = { web: server.addr.port };
    await wakeAndProve(
      { ...emulator, profile: rotated },
      { ...record, ports },
      { secrets: { KEY: "new" } },
      new Timeline(),
      5,
    );
    assertEquals(answered.slice(answered.indexOf("key 200")), ["key 200", "health 503", "health 503", "health 200"]);
  });
});

Deno.test("secrets: a start without rotation keeps the only copy of the disk's secrets, else the placeholders", () =>
  withDirectory(async (directory) => {
    const plain = await testEmulator(directory);
    const secrets = [{ name: "TOKEN", placeholder: "0".repeat(32) }];
    const emulator = { ...plain, profile: { ...plain.profile, secrets } };
    await privateDirectory(emulator.home.instance(emulator.instance));

    const record = testRecord();
    await keepSecrets(emulator, record, { TOKEN: "own" });
    assertEquals(record.secrets, "rotated");
    await keepSecrets(emulator, record); // its disk boots again, without rotation
    assertEquals(record.secrets, "rotated");
    assertEquals(await secretsInEffect(emulator, record), { TOKEN: "own" });

    const fresh = testRecord();
    await keepSecrets(emulator, fresh);
    assertEquals(fresh.secrets, "placeholders");
    assertEquals(await secretsInEffect(emulator, fresh), { TOKEN: "0".repeat(32) });
    assertEquals(await exists(instancePath(emulator, "credentials")), false);
  }));
